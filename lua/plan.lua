--[[
  plan: the rules in their order of precedence, and what they answer to the wishes of a batch. Pure.

  order: window, member, eligibility, limit, stock

  A rule is a file under lua/rules/. Its header names, by comma:
    outcomes    the words it refuses with, in their order
    fields      the fields of the campaign's hash that it reads; the campaign is published with them
    counters    the fields of that hash that it counts in, from 0; the audit compares each
    about       `moment` if it is about the hour or the stock; left out if it is about the member
  It defines local functions, of which it may leave out any but <rule>_refuse:
    <rule>_applies(campaign)             whether the campaign uses the rule
    <rule>_prepare(campaign, now_ms)     once a batch, before anything is decided
    <rule>_refuse(campaign, wish)        a word with its details after TABs, or nil
    <rule>_take(campaign, wish)          counts the win into `campaign`; returns the rule's named part of the record, or nil
    <rule>_give_back(campaign, given)    the reverse, from the fields of the claim's record alone

  The loader makes lines such as --@refuse from the rules, in their order: cell/scripts.py.
  Nothing is written here. `wins`, planned_claims, planned_holdings and planned_bound are what `grab` and `make_good` commit.
]]
local wins, planned_claims, planned_holdings, planned_bound = 0, {}, {}, {}
local asks_member_only = false -- whether the hour, the stock and the repeats are left out: `explain` asks so
-- What is asked about one wish, and what one rule gives the next. All names from the start: a table that grows is made anew.
local wish = {holding = false, record = false, candidate = '', seq = 0, ordinal = 1, org_id = '', birthday_month = '', joined_on = '',
  tags = '', unit_no = 0, code = ''}

-- A win of `wish`, which nothing refuses any more: the rules count it. Gives the claim's record, which ends with `origin`.
local function plan_win(campaign, epoch, at_text, member_id, key, origin)
  --@take
  local taken = claim_encode(wish.seq, epoch, at_text, 'fulfilled', wish.unit_no, wish.ordinal, wish.code, key, parts .. origin)
  wins = wins + 1
  planned_claims[wins] = {member_id, wish.unit_no, wish.ordinal, wish.code, key}
  planned_holdings[member_id] = wish.holding and (wish.holding .. '\n' .. taken) or taken
  if key ~= '' then
    planned_bound[member_id .. '\t' .. key] = taken
  end
  return taken
end

-- The answer to one wish. `holding`, `bound` and `record` are what the cell held before the batch: the member's claim records,
-- the record that the idempotency_key is bound to, and the member's own record; false or nil where there is none. Wins of
-- earlier wishes of the batch count for later ones: the same member may be in it twice.
local function plan_answer(campaign, seq, epoch, at_text, member_id, key, candidate, holding, bound, record)
  local binding = key ~= '' and member_id .. '\t' .. key
  holding = planned_holdings[member_id] or holding
  if not asks_member_only then
    bound = binding and (planned_bound[binding] or bound)
    if campaign.limit_per_member > 1 and key == '' then
      return 'idempotency_key_missing'
    elseif bound then
      return 'held\t' .. bound
    elseif campaign.limit_per_member == 1 and holding then
      return 'held\t' .. string.match(holding, '[^\n]+') -- the first: what ops have made good stands behind it
    end
  end
  if holding and not claim_readable(holding) then
    return 'held\t' .. holding -- the rules would stop the whole batch; so only this member's answer cannot be read
  end
  wish.holding, wish.record, wish.candidate, wish.seq = holding, record, candidate, seq
  --@refuse
  if word then
    return word
  elseif asks_member_only then
    return 'eligible'
  end
  return 'won\t' .. plan_win(campaign, epoch, at_text, member_id, key, '')
end
