--[[
  claim: the one place in Lua that knows a claim record. Pure.

  A record is TAB-separated: its version, then name=value of seq, epoch, at_ms (when it was granted), state, unit_no, ordinal (of
  1..limit_per_member), code, key (the idempotency_key), then the named parts of rules, such as points.lots=…,
  and last source=make_good, if ops have given it.
  state is that of the contract: pending_payment, fulfilled, returned, lapsed or revoked. A member's records stand one a line.

  A record of another version, which an older or newer release wrote, is never guessed at: claim_fields stops the command.
]]
local CLAIM_FORM = '^1\tseq=(%d+)\tepoch=(%d+)\tat_ms=(%d+)\tstate=(%l[%l_]*)\tunit_no=(%d+)\tordinal=(%d+)\tcode=([^\t]*)\tkey=([^\t]*)(.*)$'

local function claim_encode(seq, epoch, at_ms, state, unit_no, ordinal, code, key, parts)
  return string.format('1\tseq=%.0f\tepoch=%s\tat_ms=%s\tstate=%s\tunit_no=%.0f\tordinal=%d\tcode=%s\tkey=%s%s', seq, epoch, at_ms, state,
    unit_no, ordinal, code, key, parts)
end

-- The same as a table by name, all values as text.
local function claim_fields(record)
  local given = {}
  given.seq, given.epoch, given.at_ms, given.state, given.unit_no, given.ordinal, given.code, given.key, given.parts =
    string.match(record, CLAIM_FORM)
  assert(given.seq, 'a claim record of an unknown version')
  return given
end

-- The lowest ordinal that none of a member's claims has, and how many claims these are.
local function claim_next_ordinal(holding)
  local taken, used, ordinal = {}, 0, 1
  for record in string.gmatch(holding, '[^\n]+') do
    taken[tonumber(claim_fields(record).ordinal)] = true
    used = used + 1
  end
  while taken[ordinal] do
    ordinal = ordinal + 1
  end
  return ordinal, used
end

-- Whether all records of a member can be read.
local function claim_readable(holding)
  for record in string.gmatch(holding, '[^\n]+') do
    if not string.find(record, CLAIM_FORM) then
      return false
    end
  end
  return true
end
