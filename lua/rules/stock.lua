--[[
  stock: no unit is in two hands, none beyond those released, and no code is given twice. The unit with the lowest number goes first.

  outcomes: sold_out
  fields: benefit_kind
  counters: active, issued, unit_sum, seq_sum
  about: moment

  Reads as many free units and free codes as the batch could need. Gives `wish.unit_no` and `wish.code`.
]]
local function stock_prepare(campaign, now_ms)
  campaign.available = campaign.released - campaign.active
  campaign.units_reused, campaign.codes_taken = 0, 0
end

local function stock_refuse(campaign, wish)
  if campaign.available < 1 or (campaign.benefit_kind == 'code_pool' and not campaign.free_codes[campaign.codes_taken + 1]) then
    return 'sold_out'
  end
  return nil
end

local function stock_take(campaign, wish)
  local unit_no = tonumber(campaign.free_units[campaign.units_reused + 1])
  if unit_no then
    campaign.units_reused = campaign.units_reused + 1
  else
    campaign.issued = campaign.issued + 1
    unit_no = campaign.issued
  end
  local code = ''
  if campaign.benefit_kind == 'code_pool' then
    campaign.codes_taken = campaign.codes_taken + 1
    code = campaign.free_codes[campaign.codes_taken]
  elseif campaign.benefit_kind == 'generated_code' then
    code = wish.candidate
  end
  wish.unit_no, wish.code = unit_no, code
  campaign.available = campaign.available - 1
  campaign.active = campaign.active + 1
  campaign.unit_sum = campaign.unit_sum + unit_no
  campaign.seq_sum = campaign.seq_sum + wish.seq
end

-- `campaign` has its counters as numbers; gives `campaign.unit_back` and `campaign.code_back` ('' if none), for the lists.
local function stock_give_back(campaign, given)
  campaign.active = campaign.active - 1
  campaign.unit_sum = campaign.unit_sum - given.unit_no
  campaign.seq_sum = campaign.seq_sum - given.seq
  campaign.unit_back = given.unit_no
  campaign.code_back = campaign.benefit_kind == 'code_pool' and given.code or ''
end
