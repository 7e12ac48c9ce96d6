#!lua flags=no-writes
--[[
  scan_holders: one page of the members who hold, or by an idempotency key once held, a claim of a campaign.

  KEYS[1] cell      hash  epoch, seq, nonce
  KEYS[2] holders   hash  claims or bindings of the campaign

  ARGV[1] epoch     ARGV[2] cursor, '0' to begin     ARGV[3] count: a hint of the page's size

  Returns {outcome, cursor, fields}; the first that applies:
    went_back    the caller speaks of another life of this cell
    scanned      cursor '0' when done; fields: member_id, or member_id TAB idempotency_key; a field may come twice

  Clock: none.   Cost: O(count).   Writes: none.
]]
--@use cell/guard
if went_back then
  return {'went_back', '0', {}}
end
local page = redis.call('HSCAN', KEYS[2], ARGV[2], 'COUNT', ARGV[3])
local fields = {}
for i = 1, #page[2], 2 do
  fields[#fields + 1] = page[2][i]
end
return {'scanned', page[1], fields}
