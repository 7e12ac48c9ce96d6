--[[
  member: refuses strangers, members who have left, and members who are blocked for a time. Reads the member's record.

  outcomes: member_unknown, member_blocked

  After member_blocked stands until_ms, '' if no end is set.
  Gives the rules after it `wish.org_id`, `wish.birthday_month`, `wish.joined_on` and `wish.tags`.
]]
local function member_refuse(campaign, wish)
  if not wish.record then
    return 'member_unknown'
  end
  local status, org_id, blocked_until_ms, birthday_month, joined_on, tags = member_fields(wish.record)
  if status == 'left' then
    return 'member_unknown'
  elseif status ~= 'active' then
    return 'member_blocked\t'
  elseif blocked_until_ms ~= '' and tonumber(blocked_until_ms) > campaign.now_ms then
    return 'member_blocked\t' .. blocked_until_ms
  end
  wish.org_id, wish.birthday_month, wish.joined_on, wish.tags = org_id, birthday_month, joined_on, tags
  return nil
end
