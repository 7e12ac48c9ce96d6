--[[
  window: nobody wins outside the campaign's window, or while ops have paused, closed or cancelled it. The same for all members.

  Gives `campaign.opens_at_ms`, `campaign.released` (units released by now), `campaign.next_release_at_ms` and
  `campaign.window_phase`, nil while it is open.
]]
local window = {
  outcomes = {'cancelled', 'ended', 'not_open_yet', 'paused'},
  fields = {'state', 'releases', 'closes_at_ms'},
  of_the_moment = true,
}

function window.prepare(campaign, now_ms)
  local closes_at_ms, state = tonumber(campaign.closes_at_ms), campaign.state
  campaign.now_ms, campaign.released = now_ms, 0
  releases.each(campaign.releases, function(at_text, quantity)
    local at_ms = tonumber(at_text)
    campaign.opens_at_ms = campaign.opens_at_ms or at_ms
    if at_ms <= now_ms then
      campaign.released = campaign.released + quantity
    elseif not campaign.next_release_at_ms and at_ms < closes_at_ms and quantity > 0 then
      campaign.next_release_at_ms = at_ms
    end
  end)
  if state == 'cancelled' then
    campaign.window_phase = 'cancelled'
  elseif state == 'closed' or now_ms >= closes_at_ms then
    campaign.window_phase = 'ended'
  elseif now_ms < campaign.opens_at_ms then
    campaign.window_phase = 'not_open_yet'
  elseif state == 'paused' then
    campaign.window_phase = 'paused'
  end
end

function window.refuse(campaign, wish)
  return campaign.window_phase
end
