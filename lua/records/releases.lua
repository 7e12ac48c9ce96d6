--[[
  releases: the one place in Lua that knows how the stock of a campaign is written. Pure.

  opens_at_ms:quantity, by comma, in order of time. The stock is a step function of time: nothing opens a release, it is there
  from its moment on.
]]
local RELEASES_FORM = '(%d+):(%d+)'

-- When each opens, as text, and how many units each has; their sum; and the newest that is open, or the first: there units are added.
local function releases_read(text, now_ms)
  local opens_at_ms, quantities, total, newest_open = {}, {}, 0, 1
  for at_ms, quantity in string.gmatch(text, RELEASES_FORM) do
    local i = #quantities + 1
    opens_at_ms[i], quantities[i] = at_ms, tonumber(quantity)
    total = total + quantities[i]
    if tonumber(at_ms) <= now_ms then
      newest_open = i
    end
  end
  return opens_at_ms, quantities, total, newest_open
end

local function releases_encode(opens_at_ms, quantities)
  local written = {}
  for i = 1, #quantities do
    written[i] = string.format('%s:%.0f', opens_at_ms[i], quantities[i])
  end
  return table.concat(written, ',')
end
