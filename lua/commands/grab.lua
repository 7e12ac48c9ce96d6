#!lua
--[[
  grab: decide a batch of grabs for one campaign: who wins, which unit, which code; and log it, in one step.

  KEYS[1] cell       hash    epoch, seq, nonce
  KEYS[2] campaign   hash    the fields that the rules name, and the counters
  KEYS[3] claims     hash    member_id -> claim records that hold a unit, one a line
  KEYS[4] bindings   hash    member_id TAB idempotency_key -> claim record, for good
  KEYS[5] free       zset    unit numbers that came back, lowest first
  KEYS[6] codes      list    the campaign's free codes (benefit_kind code_pool)
  KEYS[7] members    hash    member_id -> member record
  KEYS[8] log        stream  one {type=granted} entry per batch that has a winner, id <last_seq>-0

  ARGV[1] epoch            ARGV[2] seen_seq: the highest seq the caller has seen
  ARGV[3] batch_id: echoed ARGV[4] campaign_id
  ARGV[5..] triples        member_id, idempotency_key or '', candidate code or '' (benefit_kind generated_code); at most 512

  Returns {'went_back', batch_id, epoch, seq}, or
  {'decided', batch_id, now_ms, seq, available, opens_at_ms, next_release_at_ms or '', answer...} with one answer per
  triple, in their order; fields of an answer are separated by TAB; the first that applies:
    campaign_not_found
    idempotency_key_missing    the limit is above one, so a repeat could not be told from a new wish
    held TAB record            the claim held already, or the one this idempotency_key was bound to; its state is in the record.
                               Where the limit is above one: the member's records, if one of them is of an unknown version
    the refusals of the rules, in the order of lua/plan.lua; the header of each rule names its words and what follows them
    won TAB record

  Records are those of lua/records/. The entry `granted` has version, campaign_id, state, fields (names, by comma) and claims
  (JSON: for each claim its values in the order of fields).

  Clock: Redis TIME, read once.   Cost: O(members in the batch).
  Writes: all after the last refusal; the log first, so that a full disk or a wrong type leaves nothing half done.
]]
--@use cell/guard
if went_back or tonumber(cell[2]) < tonumber(ARGV[2]) then
  return {'went_back', ARGV[3], cell[1] or '', cell[2] or ''}
end
--@use cell/clock
--@use records/*
--@use rules/*
--@use plan
--@use cell/campaign
--@use cell/batch
--@use cell/log

local answers = {'decided', ARGV[3], now_ms, cell[2], 0, '', ''}
local HEADER = #answers
if not campaign then
  for i = 1, batch do
    answers[HEADER + i] = 'campaign_not_found'
  end
  return answers
end

local first_seq = cell[2] + 1
for i = 1, batch do
  local at = 2 + 3 * i
  answers[HEADER + i] = plan_answer(campaign, first_seq + wins, cell[1], now_text, ARGV[at], ARGV[at + 1], ARGV[at + 2],
    holding_of[i], bound_to[i], record_of[i])
end
answers[5] = campaign.available
answers[6] = string.format('%.0f', campaign.opens_at_ms)
answers[7] = campaign.next_release_at_ms and string.format('%.0f', campaign.next_release_at_ms) or ''

if wins > 0 then
  local last_seq = string.format('%.0f', first_seq + wins - 1)
  local holdings, bound = {}, {}
  for member_id, record in pairs(planned_holdings) do
    holdings[#holdings + 1] = member_id
    holdings[#holdings + 1] = record
  end
  for binding, record in pairs(planned_bound) do
    bound[#bound + 1] = binding
    bound[#bound + 1] = record
  end
  --@counters
  answers[4] = last_seq

  log_append(KEYS[8], 'granted', string.format('%.0f', first_seq), last_seq, 'version', '1', 'campaign_id', ARGV[4],
    'state', 'fulfilled', 'fields', 'member_id,unit_no,ordinal,code,key', 'claims', cjson.encode(planned_claims))
  redis.call('HSET', KEYS[3], unpack(holdings))
  if #bound > 0 then
    redis.call('HSET', KEYS[4], unpack(bound))
  end
  if campaign.units_reused > 0 then
    redis.call('ZREM', KEYS[5], unpack(campaign.free_units, 1, campaign.units_reused))
  end
  if campaign.codes_taken > 0 then
    redis.call('LTRIM', KEYS[6], campaign.codes_taken, -1)
  end
  redis.call('HSET', KEYS[2], unpack(counters))
end
return answers
