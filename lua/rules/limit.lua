--[[
  limit: nobody wins who holds limit_per_member claims of the campaign, also those that ops have made good. Reads what the member holds.

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
  local ordinal, used = claim_next_ordinal(wish.holding)
  if used >= campaign.limit_per_member then
    return 'per_member_limit\t' .. campaign.limit_per_member .. '\t' .. used
  end
  wish.ordinal = ordinal
  return nil
end
