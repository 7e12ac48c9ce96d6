#!lua
--[[
  publish_campaign: put a scheduled campaign into the cell, once; from then on members can ask for it.

  KEYS[1] cell       hash    epoch, seq, nonce
  KEYS[2] campaigns  set     ids of the campaigns in the cell
  KEYS[3] campaign   hash    codes_loaded (code_pool: loaded beforehand); all other fields are written here
  KEYS[4] log        stream  one {type=published}

  ARGV[1] epoch     ARGV[2] campaign_id
  ARGV[3..] pairs   name and value of every field, each once: version (of the configuration, from Postgres), display (JSON, shown
                    to members, not read by the rules), and the fields that the rules name: releases (opens_at_ms:quantity, by
                    comma, in order of time, at most 50), closes_at_ms, limit_per_member, benefit_kind (generated_code, code_pool
                    or none), orgs, tags_any and birthday_months (,a,b, or '' for everybody), joined_before (YYYY-MM-DD or '')

  Returns {outcome, seq}; the first that applies:
    went_back           the caller speaks of another life of this cell
    already             this version is published; nothing changed
    published_before    another version is published
    too_few_codes TAB loaded TAB total
    published

  Clock: Redis TIME, read once.   Cost: O(releases + fields).   Writes: all after the last refusal, the log first.
]]
--@use cell/guard
if went_back then
  return {'went_back', cell[2] or ''}
end
--@use records/*
--@use rules/*
--@use plan
local BENEFIT_KINDS = {generated_code = true, code_pool = true, none = true}

local given = {}
for at = 3, #ARGV, 2 do
  assert(ARGV[at + 1] and not given[ARGV[at]], 'names and values, each once')
  given[ARGV[at]] = ARGV[at + 1]
end
local facts = redis.call('HMGET', KEYS[3], 'version', 'codes_loaded')
if facts[1] then
  return {facts[1] == given.version and 'already' or 'published_before', cell[2]}
end
-- A value that the rules cannot read would stop every later grab of the campaign, and every reader of the cell.
--@published_fields
fields[#fields + 1], fields[#fields + 2] = 'version', 'display'
for _, name in ipairs(fields) do
  assert(given[name], 'a field that the rules name is missing')
end
assert(#ARGV == 2 + 2 * #fields, 'a field that no rule knows')
local written, total, latest_ms = {}, 0, -1
for opens_at_ms, quantity in string.gmatch(given.releases, '(%d+):([1-9]%d*)') do
  assert(tonumber(opens_at_ms) > latest_ms, 'releases stand in order of time')
  latest_ms, total = tonumber(opens_at_ms), total + quantity
  written[#written + 1] = opens_at_ms .. ':' .. quantity
end
assert(#written >= 1 and #written <= 50 and table.concat(written, ',') == given.releases, 'opens_at_ms:quantity, by comma')
for _, number in ipairs({given.version, given.closes_at_ms, given.limit_per_member}) do
  assert(string.find(number, '^[1-9]%d*$') and #number <= 15, 'a whole number')
end
assert(BENEFIT_KINDS[given.benefit_kind], 'a kind of benefit')
local codes_loaded = tonumber(facts[2] or 0)
if given.benefit_kind == 'code_pool' and codes_loaded < total then
  return {'too_few_codes\t' .. codes_loaded .. '\t' .. total, cell[2]}
end
local changes = {'state', 'scheduled', 'codes_loaded', codes_loaded}
--@counter_names
for _, name in ipairs(names) do
  changes[#changes + 1], changes[#changes + 2] = name, '0'
end
for at = 3, #ARGV do
  changes[#changes + 1] = ARGV[at]
end

--@use cell/clock
redis.call('SISMEMBER', KEYS[2], ARGV[2]) -- a wrong type shows here, before anything is written
--@use cell/log
local seq = log_next_seq()
log_append(KEYS[4], 'published', seq, seq, 'campaign_id', ARGV[2], 'version', given.version, 'releases', given.releases)
redis.call('HSET', KEYS[3], unpack(changes))
redis.call('SADD', KEYS[2], ARGV[2])
return {'published', seq}
