--[[
  recorded: how far the log is on record in PostgreSQL, as the ledger has noted it after a commit.

  Gives `recorded`, 'epoch:seq:head', or '' while nothing is noted. The note of an earlier life of the cell names its epoch.
]]
local recorded = redis.call('HGET', KEYS[1], 'recorded') or ''
