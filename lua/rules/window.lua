--[[
  window: nobody wins outside the campaign's window, or while ops have paused, closed or cancelled it. The same for all members.

  outcomes: cancelled, ended, not_open_yet, paused
  fields: releases, closes_at_ms
  about: moment

  Gives `campaign.opens_at_ms`, `campaign.released` (units released by now), `campaign.next_release_at_ms` and
  `campaign.window_phase`, nil while it is open.
]]
local function window_prepare(campaign, now_ms)
  local closes_at_ms, state = tonumber(campaign.closes_at_ms), campaign.state
  local released, opens_at_ms, next_release_at_ms = 0, nil, nil
  for at_ms, quantity in string.gmatch(campaign.releases, RELEASES_FORM) do
    at_ms, quantity = tonumber(at_ms), tonumber(quantity)
    opens_at_ms = opens_at_ms or at_ms
    if at_ms <= now_ms then
      released = released + quantity
    elseif not next_release_at_ms and at_ms < closes_at_ms and quantity > 0 then
      next_release_at_ms = at_ms
    end
  end
  campaign.released, campaign.opens_at_ms, campaign.next_release_at_ms = released, opens_at_ms, next_release_at_ms
  if state == 'cancelled' then
    campaign.window_phase = 'cancelled'
  elseif state == 'closed' or now_ms >= closes_at_ms then
    campaign.window_phase = 'ended'
  elseif now_ms < opens_at_ms then
    campaign.window_phase = 'not_open_yet'
  elseif state == 'paused' then
    campaign.window_phase = 'paused'
  end
end

local function window_refuse(campaign, wish)
  return campaign.window_phase
end
