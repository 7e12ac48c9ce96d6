#!lua
--[[
  note_counts: what a worker has counted since it last said so, for the ledger to add up, and that the worker lives.

  KEYS[1] cell     hash    epoch, seq, nonce
  KEYS[2] counts   stream  one {worker, counts} per call that brings some; the newest 20,000 or a few more stay
  KEYS[3] workers  hash    worker → at_ms head; those that have been silent for a minute are taken out

  ARGV[1] epoch     ARGV[2] worker: a name of the process     ARGV[3] counts: JSON, see `vocabulary/counts.py`; '' for none
  ARGV[4] head: epoch:seq:head of the chain of the log as the worker has folded it, or '' while it does not know it

  Returns {outcome, seq}; the first that applies:
    went_back    the caller speaks of another life of this cell
    noted        a repeat is counted again: who has no answer must not ask twice

  Clock: Redis TIME, read once.   Cost: O(workers).   Writes: all after the last refusal, the counts first.
]]
local SILENT_MS, ENTRIES_MAX, TAKEN_OUT_MAX = 60000, 20000, 1000

--@use cell/guard
if went_back then
  return {'went_back', cell[2] or ''}
end
assert(#ARGV[2] <= 100 and #ARGV[3] <= 2097152 and #ARGV[4] <= 1000, 'a name of 100 bytes, counts of 2 MiB, a head of 1000')
--@use cell/clock
local noted = redis.call('HGETALL', KEYS[3])
local silent = {}
for at = 1, #noted, 2 do
  if #silent < TAKEN_OUT_MAX and now_ms - (tonumber(string.match(noted[at + 1], '^%d+')) or 0) >= SILENT_MS then
    silent[#silent + 1] = noted[at]
  end
end

if ARGV[3] ~= '' then
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ENTRIES_MAX, '*', 'worker', ARGV[2], 'counts', ARGV[3])
end
if #silent > 0 then
  redis.call('HDEL', KEYS[3], unpack(silent))
end
redis.call('HSET', KEYS[3], ARGV[2], now_text .. ' ' .. ARGV[4])
return {'noted', cell[2]}
