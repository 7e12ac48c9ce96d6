#!lua
--[[
  grab: decide a batch of grabs for one campaign: who wins, which unit, which code; and log it, in one step.

  KEYS[1] cell       hash    epoch, seq, nonce
  KEYS[2] campaign   hash    state, releases, closes_at_ms, limit_per_member, benefit_kind, eligibility, counters
  KEYS[3] claims     hash    member_id -> claim records that hold a unit, one a line
  KEYS[4] bindings   hash    member_id TAB idempotency_key -> claim record, for good
  KEYS[5] free       zset    unit numbers that came back, lowest first
  KEYS[6] returns    hash    seq of a claim given back -> seq of its return
  KEYS[7] codes      list    the campaign's free codes (benefit_kind code_pool)
  KEYS[8] members    hash    member_id -> member record
  KEYS[9] log        stream  one {type=granted} entry per batch that has a winner, id <last_seq>-0

  ARGV[1] epoch            ARGV[2] seen_seq: the highest seq the caller has seen
  ARGV[3] batch_id: echoed ARGV[4] campaign_id
  ARGV[5..] triples        member_id, idempotency_key or '', candidate code or '' (benefit_kind generated_code); at most 512

  Returns {'went_back', batch_id, epoch, seq}, or
  {'decided', batch_id, now_ms, seq, available, opens_at_ms, next_release_at_ms or '', answer...} with one answer per
  triple, in their order; fields of an answer are separated by TAB; the first that applies:
    campaign_not_found
    idempotency_key_missing    the limit is above one, so a repeat could not be told from a new wish
    held TAB state TAB record  the claim held already, or the one this idempotency_key was bound to
    cancelled
    ended
    not_open_yet
    paused
    member_unknown
    member_blocked TAB until_ms (or empty: no end is set)
    not_eligible TAB names of the failed rules, by comma
    per_member_limit TAB limit TAB used
    sold_out
    won TAB record

  A claim record: seq, epoch, unit_no, slot, granted_at_ms, code, idempotency_key; separated by TAB.
  A member record: version|status|org_id|blocked_until_ms|birthday_month|joined_on|,tag,tag,

  Clock: Redis TIME, read once.   Cost: O(members in the batch).
  Writes: all after the last refusal; the log first, so that a full disk or a wrong type leaves nothing half done.
]]
local NONCE = '@nonce@'

local cell = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'nonce')
local seq = tonumber(cell[2])
if cell[3] ~= NONCE or cell[1] ~= ARGV[1] or not seq or seq < tonumber(ARGV[2]) then
  return {'went_back', ARGV[3], cell[1] or '', cell[2] or ''}
end
local epoch = cell[1]

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local batch = (#ARGV - 4) / 3
assert(batch >= 1 and batch <= 512 and batch % 1 == 0, 'one to 512 triples a call')
local answers = {'decided', ARGV[3], now_ms, cell[2], 0, '', ''}
local HEADER = #answers

local facts = redis.call('HMGET', KEYS[2], 'state', 'releases', 'closes_at_ms', 'limit_per_member', 'benefit_kind',
  'orgs', 'tags_any', 'birthday_months', 'joined_before', 'active', 'issued', 'unit_sum', 'seq_sum')
local state = facts[1]
if not state then
  for i = 1, batch do
    answers[HEADER + i] = 'campaign_not_found'
  end
  return answers
end
local closes_at_ms = tonumber(facts[3])
local limit = tonumber(facts[4])
local benefit_kind = facts[5]
local orgs, tags_any, birthday_months, joined_before = facts[6], facts[7], facts[8], facts[9]
local active, issued = tonumber(facts[10]), tonumber(facts[11])

-- The stock is a step function of time: nothing opens a release, it is there from its moment on.
local released, total, opens_at_ms, next_release_at_ms = 0, 0, nil, nil
for at_ms, quantity in string.gmatch(facts[2], '(%d+):(%d+)') do
  at_ms, quantity = tonumber(at_ms), tonumber(quantity)
  total = total + quantity
  opens_at_ms = opens_at_ms or at_ms
  if at_ms <= now_ms then
    released = released + quantity
  elseif not next_release_at_ms and at_ms < closes_at_ms and quantity > 0 then
    next_release_at_ms = at_ms
  end
end
local available = released - active

-- What the campaign says to everybody who holds nothing; nil while it is open.
local phase
if state == 'cancelled' then
  phase = 'cancelled'
elseif state == 'closed' or now_ms >= closes_at_ms then
  phase = 'ended'
elseif now_ms < opens_at_ms then
  phase = 'not_open_yet'
elseif state == 'paused' then
  phase = 'paused'
end

local wanted, keyed, keyed_at = {}, {}, {}
for i = 1, batch do
  local at = 2 + 3 * i
  wanted[i] = ARGV[at]
  if ARGV[at + 1] ~= '' then
    keyed[#keyed + 1] = ARGV[at] .. '\t' .. ARGV[at + 1]
    keyed_at[i] = #keyed
  end
end
local holdings = redis.call('HMGET', KEYS[3], unpack(wanted))
local bound = #keyed > 0 and redis.call('HMGET', KEYS[4], unpack(keyed)) or {}
local members = not phase and redis.call('HMGET', KEYS[8], unpack(wanted)) or {}
local free_units = tonumber(issued) > active and redis.call('ZRANGE', KEYS[5], 0, batch - 1) or {}
local codes = not phase and benefit_kind == 'code_pool' and redis.call('LRANGE', KEYS[7], 0, batch - 1) or {}

local function refusal_of_member(record)
  if not record then
    return 'member_unknown'
  end
  local status, org_id, blocked_until_ms, birthday_month, joined_on, tags =
    string.match(record, '^%d+|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|(.*)$')
  if status == 'left' then
    return 'member_unknown'
  elseif status ~= 'active' then
    return 'member_blocked\t'
  elseif blocked_until_ms ~= '' and tonumber(blocked_until_ms) > now_ms then
    return 'member_blocked\t' .. blocked_until_ms
  end
  local failed = {}
  if orgs ~= '' and not string.find(orgs, ',' .. org_id .. ',', 1, true) then
    failed[#failed + 1] = 'orgs'
  end
  if tags_any ~= '' then
    local found = false
    for tag in string.gmatch(tags_any, '[^,]+') do
      found = found or string.find(tags, ',' .. tag .. ',', 1, true)
    end
    if not found then
      failed[#failed + 1] = 'tags_any'
    end
  end
  if birthday_months ~= '' and not string.find(birthday_months, ',' .. birthday_month .. ',', 1, true) then
    failed[#failed + 1] = 'birthday_months'
  end
  if joined_before ~= '' and (joined_on == '' or joined_on >= joined_before) then
    failed[#failed + 1] = 'joined_before'
  end
  if #failed > 0 then
    return 'not_eligible\t' .. table.concat(failed, ',')
  end
  return nil
end

-- The lowest slot of 1..limit that none of the member's claims has, and how many are taken.
local function free_slot(holding)
  if not holding then
    return 1, 0
  end
  local taken, used = {}, 0
  for slot in string.gmatch(holding, '[^\n\t]+\t[^\t]+\t[^\t]+\t(%d+)\t[^\n]*') do
    taken[tonumber(slot)] = true
    used = used + 1
  end
  for slot = 1, limit do
    if not taken[slot] then
      return slot, used
    end
  end
  return nil, used
end

-- The plan: nothing is written until every member of the batch has an answer. The same member may be in it twice.
local planned_holdings, planned_bound = {}, {}
local claims_logged, wins, reused_units = {}, 0, 0
local unit_sum, seq_sum = tonumber(facts[12]), tonumber(facts[13])
local first_seq = seq + 1
for i = 1, batch do
  local at = 2 + 3 * i
  local member_id, key = ARGV[at], ARGV[at + 1]
  local binding = keyed_at[i] and keyed[keyed_at[i]]
  local holding = planned_holdings[member_id] or holdings[i]
  local bound_record = binding and (planned_bound[binding] or bound[keyed_at[i]])
  local answer
  if limit > 1 and key == '' then
    answer = 'idempotency_key_missing'
  elseif bound_record then
    local returned = redis.call('HEXISTS', KEYS[6], string.match(bound_record, '^%d+')) == 1
    answer = 'held\t' .. (returned and 'returned' or 'fulfilled') .. '\t' .. bound_record
  elseif limit == 1 and holding then
    answer = 'held\tfulfilled\t' .. holding
  else
    answer = phase or refusal_of_member(members[i])
    if not answer then
      local slot, used = free_slot(holding)
      if not slot then
        answer = 'per_member_limit\t' .. limit .. '\t' .. used
      elseif available < 1 or (benefit_kind == 'code_pool' and not codes[wins + 1]) then
        answer = 'sold_out'
      else
        wins = wins + 1
        seq = seq + 1
        available = available - 1
        active = active + 1
        local unit_no = tonumber(free_units[reused_units + 1])
        if unit_no then
          reused_units = reused_units + 1
        else
          issued = issued + 1
          unit_no = issued
        end
        local code = ''
        if benefit_kind == 'code_pool' then
          code = codes[wins]
        elseif benefit_kind == 'generated_code' then
          code = ARGV[at + 2]
        end
        unit_sum = unit_sum + unit_no
        seq_sum = seq_sum + seq
        local record = string.format('%.0f\t%s\t%.0f\t%d\t%.0f\t%s\t%s', seq, epoch, unit_no, slot, now_ms, code, key)
        planned_holdings[member_id] = holding and (holding .. '\n' .. record) or record
        if binding then
          planned_bound[binding] = record
        end
        claims_logged[wins] = {member_id, unit_no, slot, code, key}
        answer = 'won\t' .. record
      end
    end
  end
  answers[HEADER + i] = answer
end

if wins > 0 then
  local last_seq = string.format('%.0f', seq)
  redis.call('XADD', KEYS[9], last_seq .. '-0', 'type', 'granted', 'epoch', epoch,
    'seq', string.format('%.0f', first_seq), 'last_seq', last_seq, 'at_ms', string.format('%.0f', now_ms),
    'campaign_id', ARGV[4], 'claims', cjson.encode(claims_logged))
  redis.call('HSET', KEYS[1], 'seq', last_seq)
  local fields = {}
  for member_id, record in pairs(planned_holdings) do
    fields[#fields + 1] = member_id
    fields[#fields + 1] = record
  end
  redis.call('HSET', KEYS[3], unpack(fields))
  fields = {}
  for binding, record in pairs(planned_bound) do
    fields[#fields + 1] = binding
    fields[#fields + 1] = record
  end
  if #fields > 0 then
    redis.call('HSET', KEYS[4], unpack(fields))
  end
  if reused_units > 0 then
    redis.call('ZREM', KEYS[5], unpack(free_units, 1, reused_units))
  end
  if benefit_kind == 'code_pool' then
    redis.call('LTRIM', KEYS[7], wins, -1)
  end
  redis.call('HSET', KEYS[2], 'active', string.format('%.0f', active), 'issued', string.format('%.0f', issued),
    'unit_sum', string.format('%.0f', unit_sum), 'seq_sum', string.format('%.0f', seq_sum))
  answers[4] = last_seq
end
answers[5] = available
answers[6] = string.format('%.0f', opens_at_ms)
answers[7] = next_release_at_ms and string.format('%.0f', next_release_at_ms) or ''
return answers
