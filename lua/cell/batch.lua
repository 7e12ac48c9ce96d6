--[[
  batch: everything that a batch of wishes for one campaign needs, each key read once. For `grab` and `explain`.

  KEYS and ARGV are those in the header of `grab`. Gives `batch`, the number of wishes, and `holding_of`, `bound_to` and
  `record_of`: the cell's record for the wish with that number, or false. The campaign gets the lists that `stock` takes from.
]]
local batch = (#ARGV - 4) / 3
assert(batch >= 1 and batch <= 512 and batch % 1 == 0, 'one to 512 triples a call')

local holding_of, bound_to, record_of = {}, {}, {}
if campaign then
  campaign.now_ms = now_ms
  --@prepare
  local wanted, keyed, keyed_at = {}, {}, {}
  for i = 1, batch do
    local at = 2 + 3 * i
    wanted[i] = ARGV[at]
    if ARGV[at + 1] ~= '' then
      keyed[#keyed + 1] = ARGV[at] .. '\t' .. ARGV[at + 1]
      keyed_at[#keyed] = i
    end
  end
  holding_of = redis.call('HMGET', KEYS[3], unpack(wanted))
  local bound = #keyed > 0 and redis.call('HMGET', KEYS[4], unpack(keyed)) or {}
  for at = 1, #keyed do
    bound_to[keyed_at[at]] = bound[at]
  end
  local decides = asks_member_only or not campaign.window_phase
  record_of = decides and redis.call('HMGET', KEYS[7], unpack(wanted)) or {}
  campaign.free_units = campaign.issued > campaign.active and redis.call('ZRANGE', KEYS[5], 0, batch - 1) or {}
  local pooled = decides and campaign.benefit_kind == 'code_pool'
  campaign.free_codes = pooled and redis.call('LRANGE', KEYS[6], 0, batch - 1) or {}
end
