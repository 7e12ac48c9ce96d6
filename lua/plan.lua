--[[
  plan: the rules in their order of precedence, and what they answer to the wishes of a batch. Pure.

  A rule is a file under lua/rules/. Its header names, by comma:
    outcomes    the words it refuses with, in their order
    fields      the fields of the campaign's hash that it reads; the campaign is published with them
    counters    the fields of that hash that it counts in, from 0; the audit compares each
  It defines a table of these functions, of which it may leave out any but refuse:
    applies(campaign)             whether the campaign uses the rule
    prepare(campaign, now_ms)     once a batch, before anything is decided
    refuse(campaign, wish)        a word with its details after TABs, or nil
    take(campaign, wish)          counts the win into `campaign`; returns the rule's named part of the record, or nil
    give_back(campaign, given)    the reverse, from the fields of the claim's record alone
  and says of_the_moment = true if it is about the hour or the stock, not about the member.

  Nothing is written here. plan.wins, plan.claims, plan.holdings and plan.bound are what `grab` commits.
]]
local RULES = {window, member, eligibility, limit, stock}

local plan = {wins = 0, claims = {}, holdings = {}, bound = {}}
local wish, refusals, takers = {}, {}, {}
-- Written here by the loader, from the headers of the rules: plan.FIELDS, all that is read of the campaign's hash;
-- plan.campaign_of(values), a table of these by name, counters as numbers, or false; plan.counters_of(campaign), names and values
-- of the counters as they are written back; plan.counters() and plan.published(), the names of the counters, and of the fields that a
-- campaign is published with.
--@collect

function plan.prepare(campaign, now_ms)
  campaign.now_ms = now_ms
  for r = 1, #RULES do
    local rule = RULES[r]
    if rule.prepare then
      rule.prepare(campaign, now_ms)
    end
    if not (plan.asks_member_only and rule.of_the_moment) and not (rule.applies and not rule.applies(campaign)) then
      refusals[#refusals + 1] = rule.refuse
      takers[#takers + 1] = rule.take
    end
  end
end

-- Every rule takes back what it took for a claim; `given` are the fields of its record.
function plan.give_back(campaign, given)
  for r = 1, #RULES do
    if RULES[r].give_back then
      RULES[r].give_back(campaign, given)
    end
  end
end

-- The answer to one wish. `holding`, `bound` and `record` are what the cell held before the batch: the member's claim records,
-- the record that the idempotency_key is bound to, and the member's own record; false or nil where there is none. Wins of
-- earlier wishes of the batch count for later ones: the same member may be in it twice.
function plan.answer(campaign, seq, epoch, at_text, member_id, key, candidate, holding, bound, record)
  local binding = key ~= '' and member_id .. '\t' .. key
  holding = plan.holdings[member_id] or holding
  local held = holding and 'held\t' .. holding
  bound = binding and (plan.bound[binding] or bound)
  if not plan.asks_member_only then
    if campaign.limit_per_member > 1 and key == '' then
      return 'idempotency_key_missing'
    elseif bound then
      return 'held\t' .. bound
    elseif campaign.limit_per_member == 1 and holding then
      return held
    end
  end
  if holding and not claim.readable(holding) then
    return held -- the rules would stop the whole batch; so only this member's answer cannot be read
  end
  wish.holding, wish.record, wish.candidate, wish.seq = holding, record, candidate, seq
  for r = 1, #refusals do
    local word = refusals[r](campaign, wish)
    if word then
      return word
    end
  end
  if plan.asks_member_only then
    return 'eligible'
  end
  local parts = ''
  for r = 1, #takers do
    local part = takers[r](campaign, wish)
    if part then
      parts = parts .. '\t' .. part
    end
  end
  local taken = claim.encode(string.format('%.0f', seq), epoch, at_text, 'fulfilled', wish.unit_no, wish.ordinal, wish.code, key, parts)
  plan.wins = plan.wins + 1
  plan.claims[plan.wins] = {member_id, wish.unit_no, wish.ordinal, wish.code, key}
  plan.holdings[member_id] = holding and (holding .. '\n' .. taken) or taken
  if binding then
    plan.bound[binding] = taken
  end
  return 'won\t' .. taken
end
