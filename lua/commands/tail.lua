#!lua flags=no-writes
--[[
  tail: the log's entries after a seq, and the cell's clock; by these a worker keeps its view of the campaigns.

  KEYS[1] cell  hash    epoch, seq, nonce, recorded
  KEYS[2] log   stream  read

  ARGV[1] epoch     ARGV[2] after_seq     ARGV[3] entries_max

  Returns {outcome, now_ms, seq, entries, recorded}; the first that applies:
    went_back    the cell is another life, or behind after_seq
    tailed       entries as XRANGE gives them; fewer than entries_max means complete up to seq;
                 recorded is epoch:seq:head, how far the log is on record, or ''

  Clock: Redis TIME, read once.   Cost: O(entries).   Writes: none.
]]
--@use cell/clock
--@use cell/guard
if went_back or tonumber(cell[2]) < tonumber(ARGV[2]) then
  return {'went_back', now_ms, cell[2] or '', {}, ''}
end
--@use cell/recorded
local entries = {}
if cell[2] ~= ARGV[2] then
  entries = redis.call('XRANGE', KEYS[2], '(' .. ARGV[2] .. '-0', '+', 'COUNT', ARGV[3])
end
return {'tailed', now_ms, cell[2], entries, recorded}
