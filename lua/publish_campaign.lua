#!lua
--[[
  publish_campaign: put a scheduled campaign into the cell, once; from then on members can ask for it.

  KEYS[1] cell       hash    epoch, seq, nonce
  KEYS[2] campaigns  set     ids of the campaigns in the cell
  KEYS[3] campaign   hash    codes_loaded (code_pool: loaded beforehand); all other fields are written here
  KEYS[4] log        stream  one {type=published}

  ARGV[1] epoch                ARGV[2] campaign_id        ARGV[3] version: of the configuration, from Postgres
  ARGV[4] releases             opens_at_ms:quantity, by comma, in order of time, at most 50
  ARGV[5] closes_at_ms         ARGV[6] limit_per_member   ARGV[7] benefit_kind: generated_code | code_pool | none
  ARGV[8] orgs                 ARGV[9] tags_any           ARGV[10] birthday_months: ,a,b, or '' for everybody
  ARGV[11] joined_before       YYYY-MM-DD or ''           ARGV[12] display: JSON, shown to members, not read by the rules

  Returns {outcome, seq}; the first that applies:
    went_back           the caller speaks of another life of this cell
    already             this version is published; nothing changed
    published_before    another version is published
    too_few_codes TAB loaded TAB total
    published

  Clock: Redis TIME, read once.   Cost: O(releases).   Writes: all after the last refusal, the log first.
]]
local NONCE = '@nonce@'
local BENEFIT_KINDS = {generated_code = true, code_pool = true, none = true}

local cell = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'nonce')
if cell[3] ~= NONCE or cell[1] ~= ARGV[1] or not cell[2] then
  return {'went_back', cell[2] or ''}
end
local facts = redis.call('HMGET', KEYS[3], 'version', 'codes_loaded')
if facts[1] then
  return {facts[1] == ARGV[3] and 'already' or 'published_before', cell[2]}
end
-- Whatever the rules cannot read would stop every later grab of the campaign, and every reader of the cell.
local releases, total, latest_ms = {}, 0, -1
for opens_at_ms, quantity in string.gmatch(ARGV[4], '(%d+):([1-9]%d*)') do
  assert(tonumber(opens_at_ms) > latest_ms, 'releases stand in order of time')
  latest_ms, total = tonumber(opens_at_ms), total + quantity
  releases[#releases + 1] = opens_at_ms .. ':' .. quantity
end
assert(#releases >= 1 and #releases <= 50 and table.concat(releases, ',') == ARGV[4], 'opens_at_ms:quantity, by comma')
for _, number in ipairs({ARGV[3], ARGV[5], ARGV[6]}) do
  assert(string.find(number, '^[1-9]%d*$') and #number <= 15, 'a whole number')
end
assert(BENEFIT_KINDS[ARGV[7]], 'a kind of benefit')
local codes_loaded = tonumber(facts[2] or 0)
if ARGV[7] == 'code_pool' and codes_loaded < total then
  return {'too_few_codes\t' .. codes_loaded .. '\t' .. total, cell[2]}
end

local time = redis.call('TIME')
local now_ms = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('SISMEMBER', KEYS[2], ARGV[2]) -- a wrong type shows here, before anything is written
local seq = string.format('%.0f', cell[2] + 1)
redis.call('XADD', KEYS[4], seq .. '-0', 'type', 'published', 'epoch', cell[1], 'seq', seq, 'last_seq', seq,
  'at_ms', now_ms, 'campaign_id', ARGV[2], 'version', ARGV[3], 'releases', ARGV[4])
redis.call('HSET', KEYS[1], 'seq', seq)
redis.call('HSET', KEYS[3], 'state', 'scheduled', 'version', ARGV[3], 'releases', ARGV[4], 'closes_at_ms', ARGV[5],
  'limit_per_member', ARGV[6], 'benefit_kind', ARGV[7], 'orgs', ARGV[8], 'tags_any', ARGV[9],
  'birthday_months', ARGV[10], 'joined_before', ARGV[11], 'display', ARGV[12],
  'active', '0', 'issued', '0', 'unit_sum', '0', 'seq_sum', '0', 'codes_loaded', codes_loaded)
redis.call('SADD', KEYS[2], ARGV[2])
return {'published', seq}
