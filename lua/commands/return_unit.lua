#!lua
--[[
  return_unit: give the unit of one claim back to its campaign's stock, at most once per claim.

  Postgres has decided that the claim no longer holds it; this makes it so here. The code of a pool goes back with its unit:
  Postgres lets no claim go whose code somebody has seen. The record that the idempotency_key is bound to then has the reason as
  its state, and no longer names a code that went back.

  KEYS[1] cell      hash    epoch, seq, nonce
  KEYS[2] campaign  hash    the fields that the rules name, and the counters
  KEYS[3] claims    hash    member_id -> claim records that hold a unit, one a line
  KEYS[4] free      zset    unit numbers that came back
  KEYS[5] returns   hash    seq of a claim given back -> seq of its return
  KEYS[6] codes     list    free codes
  KEYS[7] log       stream  one {type=returned} per return
  KEYS[8] bindings  hash    member_id TAB idempotency_key -> claim record, for good

  ARGV[1] epoch     ARGV[2] campaign_id     ARGV[3] member_id     ARGV[4] claim_seq     ARGV[5] reason: returned | lapsed

  Returns {outcome, seq}; the first that applies:
    went_back           the caller speaks of another life of this cell
    campaign_not_found
    already             it was given back before; seq is of that time
    unknown_claim       the member holds no such claim, or its record is of an unknown version
    returned            seq of this return

  Clock: Redis TIME, read once.   Cost: O(limit_per_member + log units).   Writes: all after the last refusal, the log first.
]]
--@use cell/guard
if went_back then
  return {'went_back', cell[2] or ''}
end
--@use records/*
--@use rules/*
--@use plan
--@use cell/campaign
if not campaign then
  return {'campaign_not_found', cell[2]}
end
local returned_seq = redis.call('HGET', KEYS[5], ARGV[4])
if returned_seq then
  return {'already', returned_seq}
end
local kept, given = {}, nil
for record in string.gmatch(redis.call('HGET', KEYS[3], ARGV[3]) or '', '[^\n]+') do
  local fields = claim_readable(record) and claim_fields(record)
  if fields and fields.seq == ARGV[4] then
    given = fields
  else
    kept[#kept + 1] = record
  end
end
if not given then
  return {'unknown_claim', cell[2]}
end
assert(ARGV[5] == 'returned' or ARGV[5] == 'lapsed', 'a reason to give back')
--@give_back
local binding = given.key ~= '' and ARGV[3] .. '\t' .. given.key
local code = campaign.code_back ~= '' and '' or given.code
local bound = claim_encode(given.seq, given.epoch, given.at_ms, ARGV[5], given.unit_no, given.ordinal, code, given.key, given.parts)
--@counters
redis.call('ZSCORE', KEYS[4], given.unit_no) -- a wrong type shows here, before anything is written
redis.call('LLEN', KEYS[6]) -- the same
redis.call('HEXISTS', KEYS[8], ARGV[3]) -- the same

--@use cell/clock
--@use cell/log
local seq = log_next_seq()
log_append(KEYS[7], 'returned', seq, seq, 'campaign_id', ARGV[2], 'member_id', ARGV[3], 'claim_seq', ARGV[4],
  'unit_no', given.unit_no, 'reason', ARGV[5], 'code', campaign.code_back)
if #kept > 0 then
  redis.call('HSET', KEYS[3], ARGV[3], table.concat(kept, '\n'))
else
  redis.call('HDEL', KEYS[3], ARGV[3])
end
redis.call('ZADD', KEYS[4], given.unit_no, given.unit_no)
if campaign.code_back ~= '' then
  redis.call('RPUSH', KEYS[6], campaign.code_back)
end
if binding then
  redis.call('HSET', KEYS[8], binding, bound)
end
redis.call('HSET', KEYS[5], ARGV[4], seq)
redis.call('HSET', KEYS[2], unpack(counters))
return {'returned', seq}
