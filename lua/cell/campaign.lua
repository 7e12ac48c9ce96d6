--[[
  campaign: the fields of one campaign that the rules name, read in one call from KEYS[2].

  Gives `campaign`, a table by name: counters as numbers, all other fields as text; false if the cell has no such campaign.
]]
--@campaign
