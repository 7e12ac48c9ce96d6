#!lua
--[[
  set_state: pause, resume, close or cancel a campaign: the intention of ops, beside the phase by the clock.

  KEYS[1] cell      hash    epoch, seq, nonce
  KEYS[2] campaign  hash    state, closes_at_ms, closed_at_ms: when it was closed or cancelled
  KEYS[3] log       stream  one {type=state_set} per change

  ARGV[1] epoch     ARGV[2] campaign_id     ARGV[3] action: pause | resume | close | cancel

  Returns {outcome, seq, state}; the first that applies:
    went_back           the caller speaks of another life of this cell
    campaign_not_found
    already             it is in the state asked for; nothing changed
    wrong_state         a closed or cancelled campaign stays so; after closing time nothing is paused, resumed or cancelled
    state_set           state is the new one

  Clock: Redis TIME, read once.   Cost: O(1).   Writes: all after the last refusal, the log first.
]]
local TARGETS = {pause = 'paused', resume = 'scheduled', close = 'closed', cancel = 'cancelled'}

--@use cell/guard
if went_back then
  return {'went_back', cell[2] or '', ''}
end
local facts = redis.call('HMGET', KEYS[2], 'state', 'closes_at_ms')
local state = facts[1]
if not state then
  return {'campaign_not_found', cell[2], ''}
end
local target = TARGETS[ARGV[3]]
if state == target then
  return {'already', cell[2], state}
end
--@use cell/clock
local ended = now_ms >= tonumber(facts[2])
if state == 'closed' or state == 'cancelled' or not target or (ended and target ~= 'closed') then
  return {'wrong_state', cell[2], state}
end

--@use cell/log
local seq = log_next_seq()
log_append(KEYS[3], 'state_set', seq, seq, 'campaign_id', ARGV[2], 'state', target)
local changes = {'state', target}
if target == 'closed' or target == 'cancelled' then
  changes[3], changes[4] = 'closed_at_ms', string.format('%.0f', now_ms)
end
redis.call('HSET', KEYS[2], unpack(changes))
return {'state_set', seq, target}
