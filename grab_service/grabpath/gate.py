"""The gate refuses grabs locally, without asking the cell.

A refusal must be proven by the worker's view: the view is complete and at most 50 ms old, the caller holds nothing in it, and
neither an opening nor a closing can lie between it and now. All other grabs go to the script. The order of the checks is that
of the grab script.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from grab_service.grabpath.answers import Answer
from grab_service.grabpath.chain import AsOf
from grab_service.grabpath.view import CampaignView, View
from grab_service.vocabulary.campaigns import CampaignState, next_release_at_ms, released_by
from grab_service.vocabulary.outcomes import Outcome

CLOCK_STEP_MS: Final = 2
"""Redis' clock is read in whole milliseconds: a reading may be this much behind."""

FOREVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Refusal:
    """The outcome, until `until_s`, for every member who holds nothing; `outcome` None: ask the script."""

    complete_at_s: float
    until_s: float
    outcome: Outcome | None
    opens_at_ms: int
    next_release_at_ms: int | None
    as_of: AsOf
    answers: dict[tuple[int, str], Answer] = field(default_factory=dict)
    """Answers rendered so far, by language, and by millisecond where the answer counts down."""


class Gate:
    """The refusals of one worker."""

    def __init__(self, view: View, *, age_max_s: float) -> None:
        self._view = view
        self._age_max_s = age_max_s
        self._refusals: dict[str, Refusal] = {}

    def refuse(self, campaign: CampaignView | None, member_id: str, now_s: float) -> Refusal | None:
        """The refusal of this member at `now_s`, the current time; None: ask the script."""
        if campaign is None or not campaign.ready or member_id in campaign.holders:
            return None
        refusal = self._refusals.get(campaign.campaign_id)
        if refusal is None or refusal.complete_at_s != self._view.complete_at_s:
            refusal = self._refusals[campaign.campaign_id] = self._judge(campaign, now_s)
        if refusal.outcome is None or now_s > refusal.until_s:
            return None
        return refusal

    def _judge(self, campaign: CampaignView, now_s: float) -> Refusal:
        complete_at_s = self._view.complete_at_s
        fresh_until_s = complete_at_s + self._age_max_s
        outcome, until_s, next_at_ms = None, fresh_until_s, None
        bounds = self._view.now_bounds_ms(now_s)
        if bounds is not None:
            low_ms, high_ms = bounds

            def reached_at_s(time_ms: int) -> float:
                """The last moment at which Redis' clock certainly has not reached the time."""
                return now_s + (time_ms - high_ms - CLOCK_STEP_MS) / 1000

            outcome, changes_at_s = self._phase(campaign, low_ms, high_ms, reached_at_s)
            until_s = min(fresh_until_s, changes_at_s)
            next_at_ms = next_release_at_ms(campaign.releases, high_ms, campaign.closes_at_ms)
        return Refusal(complete_at_s, until_s, outcome, campaign.opens_at_ms, next_at_ms, self._view.chain.as_of)

    def _phase(
        self, campaign: CampaignView, low_ms: int, high_ms: int, reached_at_s: Callable[[int], float]
    ) -> tuple[Outcome | None, float]:
        """The outcome that is certain between both bounds of Redis' clock, and how long it stays certain."""
        if campaign.state is CampaignState.CANCELLED:
            return Outcome.CANCELLED, FOREVER
        if campaign.state is CampaignState.CLOSED or low_ms >= campaign.closes_at_ms:
            return Outcome.ENDED, FOREVER
        if high_ms < campaign.opens_at_ms:
            return Outcome.NOT_OPEN_YET, reached_at_s(campaign.opens_at_ms)
        if low_ms < campaign.opens_at_ms or high_ms >= campaign.closes_at_ms:
            return None, FOREVER
        if campaign.state is CampaignState.PAUSED:
            return Outcome.PAUSED, reached_at_s(campaign.closes_at_ms)
        if released_by(campaign.releases, high_ms) <= campaign.active:
            later = [release.opens_at_ms for release in campaign.releases if release.opens_at_ms > high_ms]
            return Outcome.SOLD_OUT, reached_at_s(min([campaign.closes_at_ms, *later]))
        return None, FOREVER
