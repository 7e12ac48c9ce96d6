#!lua flags=no-writes
--[[
  snapshot: the counters of some campaigns at one seq, for the audit.

  KEYS[1] cell     hash  epoch, seq, nonce, members_version
  KEYS[2] workers  hash  worker → at_ms head
  KEYS[3..]        groups of five for each campaign: campaign hash, claims hash, free zset, returns hash, codes list

  ARGV[1] epoch

  Returns {outcome, now_ms, epoch, seq, members_version, workers, snapshots}; the first that applies:
    went_back    the caller speaks of another life of this cell
    read         workers as HGETALL gives them; one snapshot per group, as names and values: state ('' if it is not published), releases, codes_loaded, every
                 counter of a rule, and the sizes holders (of claims), free_units, returns and free_codes

  Clock: Redis TIME, read once.   Cost: O(campaigns).   Writes: none.
]]
--@use cell/clock
--@use cell/guard
if went_back then
  return {'went_back', now_ms, cell[1] or '', cell[2] or '', cell[4] or '0', {}, {}}
end
--@use records/*
--@use rules/*
--@use plan
--@counter_names
for _, name in ipairs({'state', 'releases', 'codes_loaded'}) do
  names[#names + 1] = name
end
local snapshots = {}
for at = 3, #KEYS, 5 do
  local values = redis.call('HMGET', KEYS[at], unpack(names))
  local snapshot = {'holders', redis.call('HLEN', KEYS[at + 1]), 'free_units', redis.call('ZCARD', KEYS[at + 2]),
    'returns', redis.call('HLEN', KEYS[at + 3]), 'free_codes', redis.call('LLEN', KEYS[at + 4])}
  for n = 1, #names do
    snapshot[#snapshot + 1], snapshot[#snapshot + 2] = names[n], values[n] or ''
  end
  snapshots[#snapshots + 1] = snapshot
end
return {'read', now_ms, cell[1], cell[2], cell[4] or '0', redis.call('HGETALL', KEYS[2]), snapshots}
