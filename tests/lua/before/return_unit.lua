#!lua
--[[
  return_unit: give the unit of one claim back to its campaign's stock, at most once per claim.

  Postgres has decided that the claim no longer holds it; this makes it so here. The code of a pool goes back with its unit:
  Postgres lets no claim go whose code somebody has seen. What the idempotency_key is bound to then names the code no longer.

  KEYS[1] cell      hash    epoch, seq, nonce
  KEYS[2] campaign  hash    state, active, unit_sum, seq_sum, benefit_kind
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
    unknown_claim       the member holds no such claim
    returned            seq of this return

  Clock: Redis TIME, read once.   Cost: O(limit_per_member + log units).   Writes: all after the last refusal, the log first.
]]
local NONCE = '@nonce@'

local cell = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'nonce')
if cell[3] ~= NONCE or cell[1] ~= ARGV[1] or not cell[2] then
  return {'went_back', cell[2] or ''}
end
local facts = redis.call('HMGET', KEYS[2], 'state', 'active', 'unit_sum', 'seq_sum', 'benefit_kind')
if not facts[1] then
  return {'campaign_not_found', cell[2]}
end
local returned_seq = redis.call('HGET', KEYS[5], ARGV[4])
if returned_seq then
  return {'already', returned_seq}
end
local kept, given, unit_no = {}, nil, nil
for record in string.gmatch(redis.call('HGET', KEYS[3], ARGV[3]) or '', '[^\n]+') do
  local claim_seq, unit = string.match(record, '^(%d+)\t[^\t]*\t(%d+)\t')
  if claim_seq == ARGV[4] then
    given, unit_no = record, unit
  else
    kept[#kept + 1] = record
  end
end
if not unit_no then
  return {'unknown_claim', cell[2]}
end
local about, code, key = string.match(given, '^(.*\t)([^\t]*)\t([^\t]*)$')
if facts[5] ~= 'code_pool' then
  code = ''
end
local binding = code ~= '' and key ~= '' and ARGV[3] .. '\t' .. key
redis.call('ZSCORE', KEYS[4], unit_no) -- a wrong type shows here, before anything is written
redis.call('LLEN', KEYS[6]) -- the same
redis.call('HEXISTS', KEYS[8], ARGV[3]) -- the same
local unit_sum, seq_sum = string.format('%.0f', facts[3] - unit_no), string.format('%.0f', facts[4] - ARGV[4])
local active = string.format('%.0f', facts[2] - 1)

local time = redis.call('TIME')
local seq = string.format('%.0f', cell[2] + 1)
redis.call('XADD', KEYS[7], seq .. '-0', 'type', 'returned', 'epoch', cell[1], 'seq', seq, 'last_seq', seq,
  'at_ms', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), 'campaign_id', ARGV[2],
  'member_id', ARGV[3], 'claim_seq', ARGV[4], 'unit_no', unit_no, 'reason', ARGV[5], 'code', code)
redis.call('HSET', KEYS[1], 'seq', seq)
if #kept > 0 then
  redis.call('HSET', KEYS[3], ARGV[3], table.concat(kept, '\n'))
else
  redis.call('HDEL', KEYS[3], ARGV[3])
end
redis.call('ZADD', KEYS[4], unit_no, unit_no)
if code ~= '' then
  redis.call('RPUSH', KEYS[6], code)
end
if binding then
  redis.call('HSET', KEYS[8], binding, about .. '\t' .. key)
end
redis.call('HSET', KEYS[5], ARGV[4], seq)
redis.call('HSET', KEYS[2], 'active', active, 'unit_sum', unit_sum, 'seq_sum', seq_sum)
return {'returned', seq}
