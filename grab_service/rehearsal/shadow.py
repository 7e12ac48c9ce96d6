"""The shadow of a campaign: the same rules, moved in time, with made-up codes."""

from dataclasses import dataclass
from typing import Any

from grab_service.campaigns.definition import TITLE_MAX
from grab_service.rehearsal.original import Original, RehearsalError
from grab_service.vocabulary.campaigns import BenefitKind, Release
from grab_service.vocabulary.times import parse_rfc3339, rfc3339
from grab_service.vocabulary.voucher_codes import GENERATE_MAX, generate


@dataclass(frozen=True, slots=True)
class Shadow:
    """The rehearsed part: one release of the campaign, and those after it at their distance.

    Attributes:
        original: the real campaign.
        releases: as in reality; the first of them is the one that the crowd rushes for.
    """

    original: Original
    releases: tuple[Release, ...]

    @classmethod
    def of(cls, original: Original, release_no: int) -> "Shadow":
        """The shadow for the release of that number, from 1.

        Raises:
            RehearsalError: the campaign has no such release, or it comes after closing.
        """
        campaign = original.campaign
        if release_no > len(campaign.releases):
            raise RehearsalError(f"The campaign has {len(campaign.releases)} releases, and no number {release_no}.")
        releases = campaign.releases[release_no - 1 :]
        if releases[0].opens_at_ms >= campaign.closes_at_ms:
            raise RehearsalError(f"Release {release_no} comes after the campaign has closed: nobody can win of it.")
        return cls(original, releases)

    @property
    def opening(self) -> Release:
        """What the crowd rushes for."""
        return self.releases[0]

    @property
    def needs_codes(self) -> bool:
        """Whether codes have to be made up."""
        return self.original.definition.benefit_kind is BenefitKind.CODE_POOL

    def stock_within(self, seconds: float) -> int:
        """Units that are released within so many seconds of the opening."""
        until_ms = self.opening.opens_at_ms + seconds * 1000
        return sum(release.quantity for release in self.releases if release.opens_at_ms <= until_ms)

    def definition(self, opens_at_ms: int) -> dict[str, Any]:
        """The campaign as ops would write it, so that the rush begins then; all else keeps its distance in time."""
        later_ms = opens_at_ms - self.opening.opens_at_ms
        campaign = self.original.campaign
        written = self.original.definition.model_dump(mode="json")
        written["title"] = f"[rehearsal] {written['title']}"[:TITLE_MAX]
        written["releases"] = [
            {"opens_at": rfc3339(release.opens_at_ms + later_ms), "quantity": release.quantity} for release in self.releases
        ]
        written["closes_at"] = rfc3339(campaign.closes_at_ms + later_ms)
        for name in ("valid_from", "valid_until"):
            if written["benefit"][name] is not None:
                written["benefit"][name] = rfc3339(parse_rfc3339(written["benefit"][name]) + later_ms)
        return written

    def made_up_codes(self) -> str:
        """A CSV of as many codes as the real pool holds, but enough for the stock; none of them is real."""
        count = max(sum(release.quantity for release in self.releases), self.original.codes)
        if count > GENERATE_MAX:
            raise RehearsalError(f"{count:,} codes are more than can be made up ({GENERATE_MAX:,}).")
        return "code\n" + "".join(f"REHEARSAL-{code}\n" for code in generate(count))
