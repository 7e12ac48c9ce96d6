--[[
  clock: Redis TIME, read once. Gives `now_ms`, a number, and `now_text`, the same in digits.
]]
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local now_text = string.format('%.0f', now_ms)
