--[[
  log: the only place that writes to the log. Needs `cell` of the guard and `now_text` of the clock.

  log_append(key, type, first_seq, last_seq, ...) writes one entry with the fields that follow, as names and values, and moves the
  cell on to last_seq. Both seqs are digits. It is the first write of a command: if the disk is full, nothing is half done.
]]
local function log_append(key, type, first_seq, last_seq, ...)
  redis.call('XADD', key, last_seq .. '-0', 'type', type, 'epoch', cell[1], 'seq', first_seq, 'last_seq', last_seq,
    'at_ms', now_text, ...)
  redis.call('HSET', KEYS[1], 'seq', last_seq)
end

-- The digits of the seq that the next entry begins with.
local function log_next_seq()
  return string.format('%.0f', cell[2] + 1)
end
