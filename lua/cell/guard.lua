--[[
  guard: whether the caller speaks of the life that this cell is in. Every command asks this first.

  Reads KEYS[1], the cell's hash, and ARGV[1], the epoch that the caller knows.
  Gives `cell` {epoch, seq, nonce, members_version} and `went_back`: the scripts are of another arming, the epoch is another, or
  the cell has no seq.
]]
local NONCE = '@nonce@'
local cell = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'nonce', 'members_version')
local went_back = cell[3] ~= NONCE or cell[1] ~= ARGV[1] or not cell[2]
