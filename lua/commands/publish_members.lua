#!lua
--[[
  publish_members: put members' records into the cell; a record never replaces a newer one.

  KEYS[1] cell     hash    epoch, seq, nonce, members_version
  KEYS[2] members  hash    member_id -> version|status|org_id|blocked_until_ms|birthday_month|joined_on|,tag,tag,
  KEYS[3] log      stream  one {type=members_published} per call that changes a record

  ARGV[1] epoch     ARGV[2] members_version: all records up to this version are published with this call
  ARGV[3..] pairs   member_id, record; at most 1000 pairs

  Returns {outcome, seq, changed}; the first that applies:
    went_back           the caller speaks of another life of this cell
    already             nothing newer among them
    members_published   changed is the number of records written; the log names the members whose union differs from the one
                        in the record that was there, separated by commas, so that no worker believes an older pass of theirs

  Clock: Redis TIME, read once.   Cost: O(members).   Writes: all after the last refusal, the log first.
]]
--@use cell/guard
if went_back then
  return {'went_back', cell[2] or '', 0}
end
assert(#ARGV % 2 == 0 and #ARGV <= 2002, 'pairs, and at most 1000 a call')
local wanted = {}
for at = 3, #ARGV, 2 do
  wanted[#wanted + 1] = ARGV[at]
end
local held = #wanted > 0 and redis.call('HMGET', KEYS[2], unpack(wanted)) or {}
--@use records/*
local planned, fields, org_changed = {}, {}, {}
for i = 1, #wanted do
  local record = ARGV[2 + 2 * i]
  local version = member_version(record)
  local before = planned[wanted[i]] or (held[i] and member_version(held[i]))
  if not before or before < version then
    planned[wanted[i]] = version
    fields[#fields + 1] = wanted[i]
    fields[#fields + 1] = record
    if held[i] and member_union(held[i]) ~= member_union(record) then
      org_changed[#org_changed + 1] = wanted[i]
    end
  end
end
local members_version = math.max(tonumber(cell[4] or 0), tonumber(ARGV[2]))
if #fields == 0 and members_version == tonumber(cell[4] or 0) then
  return {'already', cell[2], 0}
end

--@use cell/clock
--@use cell/log
local seq = log_next_seq()
log_append(KEYS[3], 'members_published', seq, seq, 'members_version', string.format('%.0f', members_version),
  'changed', #fields / 2, 'org_changed', table.concat(org_changed, ','))
redis.call('HSET', KEYS[1], 'members_version', string.format('%.0f', members_version))
if #fields > 0 then
  redis.call('HSET', KEYS[2], unpack(fields))
end
return {'members_published', seq, #fields / 2}
