--[[
  releases: the one place in Lua that knows how the stock of a campaign is written. Pure.

  opens_at_ms:quantity, by comma, in order of time. The stock is a step function of time: nothing opens a release, it is there
  from its moment on.
]]
local RELEASES_FORM = '(%d+):(%d+)'
