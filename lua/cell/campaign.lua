--[[
  campaign: the fields of one campaign that the rules name, read in one call from KEYS[2].

  Gives `campaign`, a table by name, every field as text; false if the cell has no such campaign.
]]
local campaign = false
do
  local names = plan.fields()
  local values = redis.call('HMGET', KEYS[2], unpack(names))
  if values[1] then
    campaign = {}
    for n = 1, #names do
      campaign[names[n]] = values[n]
    end
  end
end
