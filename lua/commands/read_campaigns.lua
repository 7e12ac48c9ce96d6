#!lua flags=no-writes
--[[
  read_campaigns: the published configuration and counters of some campaigns, at one seq.

  KEYS[1] cell       hash  epoch, seq, nonce
  KEYS[2] campaigns  set   ids of the campaigns in the cell
  KEYS[3..] campaign hash  all fields

  ARGV[1] epoch

  Returns {outcome, now_ms, seq, ids, campaigns}; the first that applies:
    went_back    the caller speaks of another life of this cell
    read         ids of all campaigns in the cell; campaigns as HGETALL gives them, in the order of the keys, empty if unknown

  Clock: Redis TIME, read once.   Cost: O(campaigns).   Writes: none.
]]
--@use cell/clock
--@use cell/guard
if went_back then
  return {'went_back', now_ms, cell[2] or '', {}, {}}
end
local campaigns = {}
for i = 3, #KEYS do
  campaigns[i - 2] = redis.call('HGETALL', KEYS[i])
end
return {'read', now_ms, cell[2], redis.call('SMEMBERS', KEYS[2]), campaigns}
