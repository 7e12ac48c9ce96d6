--[[
  member: the one place in Lua that knows a member record. Pure.

  A record is version|status|org_id|blocked_until_ms|birthday_month|joined_on|,tag,tag, as `publish_members` takes it.
]]
local function member_version(record)
  return assert(tonumber(string.match(record, '^(%d+)|')), 'a member record begins with its version')
end

local function member_union(record)
  return string.match(record, '^%d+|[^|]*|([^|]*)')
end

-- status, org_id, blocked_until_ms, birthday_month, joined_on, tags: all as text.
local function member_fields(record)
  return string.match(record, '^%d+|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|(.*)$')
end
