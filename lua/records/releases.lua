--[[
  releases: the one place in Lua that knows how the stock of a campaign is written. Pure.

  opens_at_ms:quantity, by comma, in order of time. The stock is a step function of time: nothing opens a release, it is there
  from its moment on.
]]
local releases = {}

-- Calls visit(opens_at_ms as text, quantity as a number) for each release, in their order.
function releases.each(text, visit)
  for at_ms, quantity in string.gmatch(text, '(%d+):(%d+)') do
    visit(at_ms, tonumber(quantity))
  end
end
