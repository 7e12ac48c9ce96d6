#!lua
--[[
  make_good: give one member a claim because ops say so, such as for one that a loss of Redis took: once for a key of theirs.

  Limit, eligibility, blocks and window are not asked; a unit of a release still to come may be given. `beyond_stock` raises the
  total by one, as `set_stock` does: in the newest release already open, or the first one.

  KEYS[1] cell       hash    epoch, seq, nonce
  KEYS[2] campaign   hash    the fields that the rules name, and the counters
  KEYS[3] claims     hash    member_id -> claim records that hold a unit, one a line
  KEYS[4] bindings   hash    member_id TAB key -> claim record, for good
  KEYS[5] free       zset    unit numbers that came back, lowest first
  KEYS[6] codes      list    the campaign's free codes (benefit_kind code_pool)
  KEYS[7] members    hash    member_id -> member record
  KEYS[8] log        stream  one {type=made_good} entry per claim

  ARGV[1] epoch     ARGV[2] campaign_id     ARGV[3] member_id     ARGV[4] key, which no member's idempotency_key can equal
  ARGV[5] candidate code or '' (benefit_kind generated_code)      ARGV[6] beyond_stock: 1 or 0

  Returns {outcome, seq, record}, record '' in a refusal; the first that applies:
    went_back           the caller speaks of another life of this cell
    campaign_not_found
    already             the claim that this key was bound to; its state is in the record
    wrong_state         cancelled
    member_unknown      there is no such member, or they have left
    sold_out            the whole stock is in members' hands
    too_few_codes       the pool has fewer codes than units still to grant, this one among them
    made_good

  The entry `made_good` is a `granted` of one claim, and has releases: those now in force if the total was raised, else ''.

  Clock: Redis TIME, read once.   Cost: O(releases + claims of the member).   Writes: all after the last refusal, the log first.
]]
--@use cell/guard
if went_back then
  return {'went_back', cell[2] or '', ''}
end
--@use cell/clock
--@use records/*
--@use rules/*
--@use plan
--@use cell/campaign
if not campaign then
  return {'campaign_not_found', cell[2], ''}
end
local bound = redis.call('HGET', KEYS[4], ARGV[3] .. '\t' .. ARGV[4])
if bound then
  return {'already', cell[2], bound}
elseif campaign.state == 'cancelled' then
  return {'wrong_state', cell[2], ''}
end
local member, status, blocked_until_ms = redis.call('HGET', KEYS[7], ARGV[3]), 'left', ''
if member then
  status, wish.org_id, blocked_until_ms, wish.birthday_month, wish.joined_on, wish.tags = member_fields(member)
end
if status == 'left' then
  return {'member_unknown', cell[2], ''}
end

assert(ARGV[6] == '0' or ARGV[6] == '1', 'beyond the stock: 1 or 0')
local beyond, pooled = tonumber(ARGV[6]), campaign.benefit_kind == 'code_pool'
local opens_at_ms, quantities, total, newest_open = releases_read(campaign.releases, now_ms)
local left = total + beyond - campaign.active
if left < 1 then
  return {'sold_out', cell[2], ''}
elseif pooled and redis.call('LLEN', KEYS[6]) < left then
  return {'too_few_codes', cell[2], ''}
end

campaign.now_ms = now_ms
--@prepare
campaign.free_units = campaign.issued > campaign.active and redis.call('ZRANGE', KEYS[5], 0, 0) or {}
campaign.free_codes = pooled and redis.call('LRANGE', KEYS[6], 0, 0) or {}
wish.holding = redis.call('HGET', KEYS[3], ARGV[3])
wish.candidate, wish.seq, wish.ordinal = ARGV[5], cell[2] + 1, claim_next_ordinal(wish.holding or '')
assert(wish.ordinal <= 1000, 'a member holds at most 1000 claims of a campaign')
local record = plan_win(campaign, cell[1], now_text, ARGV[3], ARGV[4], '\tsource=make_good')
local releases = ''
if beyond == 1 then
  quantities[newest_open] = quantities[newest_open] + 1
  releases = releases_encode(opens_at_ms, quantities)
end
--@counters

--@use cell/log
local seq = log_next_seq()
log_append(KEYS[8], 'made_good', seq, seq, 'version', '1', 'campaign_id', ARGV[2], 'state', 'fulfilled',
  'fields', 'member_id,unit_no,ordinal,code,key', 'claims', cjson.encode(planned_claims), 'releases', releases)
redis.call('HSET', KEYS[3], ARGV[3], planned_holdings[ARGV[3]])
redis.call('HSET', KEYS[4], ARGV[3] .. '\t' .. ARGV[4], record)
if campaign.units_reused > 0 then
  redis.call('ZREM', KEYS[5], unpack(campaign.free_units))
end
if campaign.codes_taken > 0 then
  redis.call('LTRIM', KEYS[6], 1, -1)
end
redis.call('HSET', KEYS[2], unpack(counters))
if beyond == 1 then
  redis.call('HSET', KEYS[2], 'releases', releases)
end
return {'made_good', seq, record}
