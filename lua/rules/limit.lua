--[[
  limit: no member holds more than limit_per_member claims of a campaign. Reads what the member holds.

  outcomes: per_member_limit
  fields: limit_per_member

  After per_member_limit stand the limit and how many the member holds.
  Gives `wish.ordinal`, the lowest of 1..limit_per_member that none of the member's claims has.
]]
local function limit_prepare(campaign, now_ms)
  campaign.limit_per_member = tonumber(campaign.limit_per_member)
end

local function limit_refuse(campaign, wish)
  wish.ordinal = 1
  if not wish.holding then
    return nil
  end
  local taken, used, most = {}, 0, campaign.limit_per_member
  for record in string.gmatch(wish.holding, '[^\n]+') do
    taken[tonumber(claim_fields(record).ordinal)] = true
    used = used + 1
  end
  for ordinal = 1, most do
    if not taken[ordinal] then
      wish.ordinal = ordinal
      return nil
    end
  end
  return 'per_member_limit\t' .. most .. '\t' .. used
end
