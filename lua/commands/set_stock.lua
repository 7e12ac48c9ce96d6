#!lua
--[[
  set_stock: change the total of a campaign's stock, if it still is what the caller believes.

  Added units are there at once: they join the newest release already open, or the first one. Removed ones come off the last
  release first, so that units already granted always lie below the released total.

  KEYS[1] cell      hash    epoch, seq, nonce
  KEYS[2] campaign  hash    state, releases, closes_at_ms, issued, benefit_kind, codes_loaded
  KEYS[3] free      zset    unit numbers that came back
  KEYS[4] codes     list    free codes
  KEYS[5] log       stream  one {type=stock_set} per change

  ARGV[1] epoch     ARGV[2] campaign_id     ARGV[3] expected_total     ARGV[4] total, at least 1

  Returns {outcome, seq, total, lowest}: total now in force, and the lowest that could be set; the first that applies:
    went_back           the caller speaks of another life of this cell
    campaign_not_found
    wrong_state         closed, cancelled, or past its closing time
    stock_changed       the total is not expected_total
    below_issued        units above the total asked for are in members' hands
    too_few_codes       the pool has fewer codes than units still to grant
    already             total is expected_total
    stock_set

  Clock: Redis TIME, read once.   Cost: O(releases + units given back).   Writes: all after the last refusal, the log first.
]]
--@use cell/guard
if went_back then
  return {'went_back', cell[2] or '', 0, 0}
end
local facts = redis.call('HMGET', KEYS[2], 'state', 'releases', 'closes_at_ms', 'issued', 'active', 'benefit_kind')
local state = facts[1]
if not state then
  return {'campaign_not_found', cell[2], 0, 0}
end
--@use cell/clock

--@use records/*
local opens_at_ms, quantities, total, newest_open = releases_read(facts[2], now_ms)
-- The highest unit number still in a member's hands: numbers on top that came back do not hold the total up.
local issued = tonumber(facts[4])
local lowest = issued
while lowest > 0 and redis.call('ZSCORE', KEYS[3], lowest) do
  lowest = lowest - 1
end
lowest = math.max(lowest, 1)

assert(string.find(ARGV[4], '^[1-9]%d*$'), 'a stock is a whole number of units, at least one')
local expected, wanted = tonumber(ARGV[3]), tonumber(ARGV[4])
if state == 'closed' or state == 'cancelled' or now_ms >= tonumber(facts[3]) then
  return {'wrong_state', cell[2], total, lowest}
elseif total ~= expected then
  return {'stock_changed', cell[2], total, lowest}
elseif wanted < lowest then
  return {'below_issued', cell[2], total, lowest}
elseif facts[6] == 'code_pool' and redis.call('LLEN', KEYS[4]) < wanted - facts[5] then
  return {'too_few_codes', cell[2], total, lowest}
elseif wanted == total then
  return {'already', cell[2], total, lowest}
end

if wanted > total then
  quantities[newest_open] = quantities[newest_open] + wanted - total
else
  local surplus = total - wanted
  for i = #quantities, 1, -1 do
    local cut = math.min(surplus, quantities[i])
    quantities[i] = quantities[i] - cut
    surplus = surplus - cut
  end
end
local written = releases_encode(opens_at_ms, quantities)

--@use cell/log
local seq = log_next_seq()
log_append(KEYS[5], 'stock_set', seq, seq, 'campaign_id', ARGV[2], 'total', ARGV[4], 'releases', written)
redis.call('HSET', KEYS[2], 'releases', written)
while issued > wanted do
  redis.call('ZREM', KEYS[3], issued)
  issued = issued - 1
end
redis.call('HSET', KEYS[2], 'issued', string.format('%.0f', issued))
return {'stock_set', seq, wanted, lowest}
