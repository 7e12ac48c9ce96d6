--[[
  eligibility: the conditions on a member for taking part. Each condition is '' if the campaign does not set it; all that are set must hold.

  outcomes: not_eligible
  fields: orgs, tags_any, birthday_months, joined_before

  orgs, tags_any and birthday_months are ,a,b, and joined_before is YYYY-MM-DD. After not_eligible stand the names of the conditions
  that failed, by comma.
]]
local function eligibility_applies(campaign)
  return campaign.orgs ~= '' or campaign.tags_any ~= '' or campaign.birthday_months ~= '' or campaign.joined_before ~= ''
end

local function eligibility_refuse(campaign, wish)
  local orgs, tags_any, birthday_months = campaign.orgs, campaign.tags_any, campaign.birthday_months
  local joined_before, joined_on = campaign.joined_before, wish.joined_on
  local failed = {}
  if orgs ~= '' and not string.find(orgs, ',' .. wish.org_id .. ',', 1, true) then
    failed[#failed + 1] = 'orgs'
  end
  if tags_any ~= '' then
    local found = false
    for tag in string.gmatch(tags_any, '[^,]+') do
      found = found or string.find(wish.tags, ',' .. tag .. ',', 1, true)
    end
    if not found then
      failed[#failed + 1] = 'tags_any'
    end
  end
  if birthday_months ~= '' and not string.find(birthday_months, ',' .. wish.birthday_month .. ',', 1, true) then
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
