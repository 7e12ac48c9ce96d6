#!lua flags=no-writes
--[[
  snapshot: the counters of some campaigns at one seq, for the audit.

  KEYS[1] cell   hash  epoch, seq, nonce, members_version
  KEYS[2..]      groups of five for each campaign: campaign hash, claims hash, free zset, returns hash, codes list

  ARGV[1] epoch

  Returns {outcome, now_ms, epoch, seq, members_version, snapshots}; the first that applies:
    went_back    the caller speaks of another life of this cell
    read         one snapshot per group: {state or '', releases, active, issued, unit_sum, seq_sum, codes_loaded,
                 holders (HLEN of claims), free_units, returns, free_codes}

  Clock: Redis TIME, read once.   Cost: O(campaigns).   Writes: none.
]]
local NONCE = '@nonce@'

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local cell = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'nonce', 'members_version')
if cell[3] ~= NONCE or cell[1] ~= ARGV[1] or not cell[2] then
  return {'went_back', now_ms, cell[1] or '', cell[2] or '', cell[4] or '0', {}}
end
local snapshots = {}
for at = 2, #KEYS, 5 do
  local facts = redis.call('HMGET', KEYS[at], 'state', 'releases', 'active', 'issued', 'unit_sum', 'seq_sum', 'codes_loaded')
  for i = 1, 7 do
    facts[i] = facts[i] or ''
  end
  facts[8] = redis.call('HLEN', KEYS[at + 1])
  facts[9] = redis.call('ZCARD', KEYS[at + 2])
  facts[10] = redis.call('HLEN', KEYS[at + 3])
  facts[11] = redis.call('LLEN', KEYS[at + 4])
  snapshots[#snapshots + 1] = facts
end
return {'read', now_ms, cell[1], cell[2], cell[4] or '0', snapshots}
