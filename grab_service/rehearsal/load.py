"""The load of a rehearsal: as large as the audience unless given otherwise, and within bounds."""

import math
import random
from dataclasses import dataclass
from typing import Final

from grab_service.rehearsal.audience import Audience, Standing
from grab_service.rehearsal.original import RehearsalError

MEMBERS_MAX: Final = 1_000_000
"""In the copy; more take longer to import than anybody waits."""

TAPS_MAX: Final = 500_000
OTHERS_SHARE: Final = 0.1
"""Of those who may not win, so many come all the same: they did not read to the end."""

SPREAD_S: Final = 4.0
SPREAD_MAX_S: Final = 60.0
TAPS_PER_S: Final = 27_500
"""110,000 members within four seconds. A larger crowd is given longer, so that no crowd is beyond what the generator sends."""

CONNECTIONS: Final = 2_000
LEAD_S: Final = 3.0
LEAD_TAPS_PER_S: Final = 40_000
"""The generator reads its crowd while it waits for the opening."""

SEED: Final = 1


@dataclass(frozen=True, slots=True)
class Wishes:
    """Sizes that the command line sets; None: by the audience."""

    eligible: int | None = None
    others: int | None = None
    spread_s: float | None = None
    connections: int | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """Who taps, and how.

    Attributes:
        eligible: how many of those who may win.
        others: how many of those who may not.
        spread_s: within how many seconds of the opening.
        connections: that they share.
    """

    eligible: int
    others: int
    spread_s: float
    connections: int

    @property
    def taps(self) -> int:
        """Number of members who tap, once each."""
        return self.eligible + self.others

    @property
    def lead_s(self) -> float:
        """Time from publication to the opening."""
        return LEAD_S + self.taps / LEAD_TAPS_PER_S


def size(counts: dict[Standing, int], wishes: Wishes) -> Load:
    """The load for an audience of that many.

    Raises:
        RehearsalError: nobody could win, or there are more members than can be copied.
    """
    here = {standing: count for standing, count in counts.items() if standing is not Standing.UNKNOWN}
    if not here:
        raise RehearsalError("There are no members to rehearse with.", "Import some: `grab members import FILE.csv`.")
    may_win = here.get(Standing.ELIGIBLE, 0)
    if may_win == 0:
        raise RehearsalError("No member may win by the campaign's rules.", "`grab campaign preflight ID` says more.")
    members = sum(here.values())
    if members > MEMBERS_MAX:
        raise RehearsalError(f"{members:,} members are more than can be copied ({MEMBERS_MAX:,}).")
    may_not = members - may_win
    eligible = min(may_win, TAPS_MAX if wishes.eligible is None else wishes.eligible)
    others = min(may_not, math.ceil(may_not * OTHERS_SHARE) if wishes.others is None else wishes.others)
    others = min(others, TAPS_MAX - eligible)
    fair_s = min(SPREAD_MAX_S, max(SPREAD_S, (eligible + others) / TAPS_PER_S))
    return Load(
        eligible=eligible,
        others=others,
        spread_s=fair_s if wishes.spread_s is None else wishes.spread_s,
        connections=min(eligible + others, wishes.connections or CONNECTIONS),
    )


def who_taps(audience: Audience, load: Load) -> list[str]:
    """Their ids, chosen by chance, but the same ones every time."""
    chance = random.Random(SEED)  # noqa: S311  # nothing here is a secret
    barred = [member_id for member_id, _ in audience.barred]
    chosen = chance.sample(audience.eligible, min(load.eligible, len(audience.eligible)))
    return chosen + chance.sample(barred, min(load.others, len(barred)))
