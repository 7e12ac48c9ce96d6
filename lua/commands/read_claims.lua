#!lua flags=no-writes
--[[
  read_claims: the claims one member holds in some campaigns, as the cell knows them now.

  KEYS[1] cell      hash  epoch, seq, nonce, recorded
  KEYS[2..] claims  hash  member_id -> claim records that hold a unit, one a line

  ARGV[1] epoch     ARGV[2] member_id

  Returns {outcome, seq, holdings, recorded}; the first that applies:
    went_back    the caller speaks of another life of this cell
    read         holdings in the order of the keys: the records, one a line, or ''; recorded is epoch:seq:head,
                 how far the log is on record, or ''

  Clock: none.   Cost: O(keys).   Writes: none.
]]
--@use cell/guard
if went_back then
  return {'went_back', cell[2] or '', {}, ''}
end
--@use cell/recorded
local holdings = {}
for i = 2, #KEYS do
  holdings[i - 1] = redis.call('HGET', KEYS[i], ARGV[2]) or ''
end
return {'read', cell[2], holdings, recorded}
