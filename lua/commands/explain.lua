#!lua flags=no-writes
--[[
  explain: the answer that a grab would get now, or whether a member may take part at all. The rules are those of `grab`; nothing is
  written.

  KEYS[1] cell       hash    epoch, seq, nonce
  KEYS[2] campaign   hash    the fields that the rules name, and the counters
  KEYS[3] claims     hash    member_id -> claim records that hold a unit, one a line
  KEYS[4] bindings   hash    member_id TAB idempotency_key -> claim record, for good
  KEYS[5] free       zset    unit numbers that came back, lowest first
  KEYS[6] codes      list    the campaign's free codes (benefit_kind code_pool)
  KEYS[7] members    hash    member_id -> member record

  ARGV[1] epoch            ARGV[2] seen_seq: the highest seq the caller has seen
  ARGV[3] question: grab, the answer to a grab; or member, the refusal of the member independent of the hour and the stock
  ARGV[4] campaign_id: echoed
  ARGV[5..] triples        as `grab` takes them; at most 512

  Returns {'went_back', campaign_id, now_ms, seq}, or
  {'explained', campaign_id, now_ms, seq, phase, opens_at_ms, next_release_at_ms or '', answer...} with one answer per triple, in
  their order. phase is cancelled, ended, upcoming, paused, sold_out or open; without a campaign it and both times are '';
  the first that applies:
    campaign_not_found
    every answer of `grab`, in its order and with its details; for question member only those that are about the member
    eligible                   nothing keeps the member out
    won TAB record             the grab would get the claim of this record

  Clock: Redis TIME, read once.   Cost: O(members in the batch).   Writes: none.
]]
--@use cell/clock
--@use cell/guard
if went_back or tonumber(cell[2]) < tonumber(ARGV[2]) then
  return {'went_back', ARGV[4], now_ms, cell[2] or ''}
end
--@use records/*
--@use rules/*
--@use plan
asks_member_only = ARGV[3] == 'member'
--@use cell/campaign
--@use cell/batch

local answers = {'explained', ARGV[4], now_ms, cell[2], '', '', ''}
local HEADER = #answers
if campaign then
  local phase = campaign.window_phase or (campaign.available < 1 and 'sold_out' or 'open')
  answers[5] = phase == 'not_open_yet' and 'upcoming' or phase
  answers[6] = string.format('%.0f', campaign.opens_at_ms)
  answers[7] = campaign.next_release_at_ms and string.format('%.0f', campaign.next_release_at_ms) or ''
end
for i = 1, batch do
  local at = 2 + 3 * i
  answers[HEADER + i] = campaign and plan_answer(campaign, cell[2] + 1 + wins, cell[1], now_text, ARGV[at], ARGV[at + 1],
    ARGV[at + 2], holding_of[i], bound_to[i], record_of[i]) or 'campaign_not_found'
end
return answers
