#!lua
--[[
  load_codes: append codes of a third party to a campaign's pool, each exactly once, in the order of their positions.

  KEYS[1] cell      hash    epoch, seq, nonce
  KEYS[2] campaign  hash    codes_loaded: the position of the last code loaded
  KEYS[3] codes     list    free codes, oldest first
  KEYS[4] log       stream  one {type=codes_loaded} per call that loads

  ARGV[1] epoch     ARGV[2] campaign_id     ARGV[3] first_position, from 1     ARGV[4..] codes, at most 1000

  Returns {outcome, seq, codes_loaded}; the first that applies:
    went_back           the caller speaks of another life of this cell
    gap                 first_position lies beyond codes_loaded + 1: load what is missing first
    already             all of them were loaded before
    codes_loaded

  Clock: Redis TIME, read once.   Cost: O(codes).   Writes: all after the last refusal, the log first.
]]
--@use cell/guard
if went_back then
  return {'went_back', cell[2] or '', 0}
end
local loaded = tonumber(redis.call('HGET', KEYS[2], 'codes_loaded') or 0)
local first_position = tonumber(ARGV[3])
local count = #ARGV - 3
assert(first_position >= 1 and count <= 1000, 'positions from 1, and at most 1000 codes a call')
for at = 4, #ARGV do
  assert(not string.find(ARGV[at], '[\t\n]'), 'a code without TAB and line end: it stands in claim records')
end
if first_position > loaded + 1 then
  return {'gap', cell[2], loaded}
elseif first_position + count - 1 <= loaded then
  return {'already', cell[2], loaded}
end
local now_loaded = first_position + count - 1
redis.call('LLEN', KEYS[3]) -- a wrong type shows here, before anything is written

--@use cell/clock
--@use cell/log
local seq = log_next_seq()
log_append(KEYS[4], 'codes_loaded', seq, seq, 'campaign_id', ARGV[2], 'codes_loaded', string.format('%.0f', now_loaded))
redis.call('RPUSH', KEYS[3], unpack(ARGV, 4 + loaded + 1 - first_position))
redis.call('HSET', KEYS[2], 'codes_loaded', string.format('%.0f', now_loaded))
return {'codes_loaded', seq, now_loaded}
