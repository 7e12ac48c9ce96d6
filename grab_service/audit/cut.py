"""The campaigns as the cell has them at one seq."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Self

from grab_service.audit.counters import COUNTERS
from grab_service.cell.store import Cell
from grab_service.vocabulary.campaigns import Release, decode_releases
from grab_service.vocabulary.durability import Recorded
from grab_service.vocabulary.events import BadEntryError, MadeGood, StateSet, StockSet, decode

FACTS: Final = ("state", "releases", "codes_loaded", *COUNTERS)
"""What a cut reads of a campaign's hash."""
SIZES: Final = ("holders", "free_units", "returns", "free_codes")
STEADY_TRIES_MAX: Final = 10
ENTRIES_MAX: Final = 500


class AuditImpossibleError(Exception):
    """The ledger did not reach the cut in time, the cell is in another life, or never holds still; nothing can be said.

    Try again.
    """


@dataclass(frozen=True, slots=True)
class CampaignCut:
    """One campaign: the counters of the rules by name, the codes loaded, and sizes."""

    campaign_id: str
    state: str
    releases: tuple[Release, ...]
    counters: Mapping[str, int]
    codes_loaded: int
    holders: int
    free_units: int
    returns: int
    free_codes: int

    @property
    def active(self) -> int:
        """Claims that hold a unit."""
        return self.counters["active"]

    @property
    def issued(self) -> int:
        """The highest unit that was given out."""
        return self.counters["issued"]

    @classmethod
    def parse(cls, campaign_id: str, snapshot: Mapping[bytes, bytes | int | None]) -> Self | None:
        """From a snapshot by name; None if the campaign is not published (its codes may be there already)."""
        state, releases = snapshot[b"state"], snapshot[b"releases"]
        if not isinstance(state, bytes) or not state or not isinstance(releases, bytes):
            return None
        counters, others = (
            {name: int(snapshot[name.encode()] or 0) for name in names} for names in (COUNTERS, ("codes_loaded", *SIZES))
        )
        return cls(campaign_id, state.decode(), decode_releases(releases.decode()), counters, **others)


@dataclass(frozen=True, slots=True)
class CellCut:
    """All campaigns of a cell at one seq."""

    now_ms: int
    epoch: int
    seq: int
    members_version: int
    campaigns: Mapping[str, CampaignCut]
    heads: Mapping[str, Recorded]
    """Of the chain, by worker, as each noted it within the last second or so."""


async def take_cut(cell: Cell) -> CellCut:
    """Ask the cell for all its campaigns at one seq.

    Raises:
        CellError: it does not answer.
        AuditImpossibleError: the cell changes too fast; take another.
    """
    for _ in range(STEADY_TRIES_MAX):
        campaign_ids = sorted((await cell.read_campaigns(())).campaign_ids)
        reply = await cell.snapshot(campaign_ids)
        # A campaign that appeared in between is not in the snapshot.
        if sorted((await cell.read_campaigns(())).campaign_ids) == campaign_ids:
            cuts = (CampaignCut.parse(*pair) for pair in zip(campaign_ids, reply.campaigns, strict=True))
            return CellCut(
                now_ms=reply.now_ms,
                epoch=reply.epoch,
                seq=reply.seq,
                members_version=reply.members_version,
                campaigns={cut.campaign_id: cut for cut in cuts if cut is not None},
                heads=reply.heads,
            )
    raise AuditImpossibleError(f"campaigns kept appearing in {STEADY_TRIES_MAX} tries")


async def brought_up(cell: Cell, cut: CellCut, until_seq: int) -> Mapping[str, CampaignCut]:
    """The campaigns of a cut, with the states and releases that the log has given them up to a later seq.

    Raises:
        CellError: the cell does not answer.
        AuditImpossibleError: the log of that time cannot be read any more; take another cut.
    """
    campaigns, seq = dict(cut.campaigns), cut.seq
    while seq < until_seq:
        entries = (await cell.tail(seq, ENTRIES_MAX)).entries
        if not entries:
            raise AuditImpossibleError(f"the log ends at seq {seq}, before {until_seq}")
        for entry in entries:
            try:
                event = decode(*entry)
            except BadEntryError as error:
                raise AuditImpossibleError(str(error)[:300]) from error
            if seq >= until_seq:
                break
            if (event.epoch, event.seq) != (cut.epoch, seq + 1):
                raise AuditImpossibleError(f"after epoch {cut.epoch}, seq {seq}, the log goes on at {event.epoch}, {event.seq}")
            seq = event.last_seq
            if isinstance(event, StateSet | StockSet | MadeGood) and event.campaign_id in campaigns:
                before = campaigns[event.campaign_id]
                if isinstance(event, StateSet):
                    campaigns[event.campaign_id] = replace(before, state=event.state.value)
                else:
                    campaigns[event.campaign_id] = replace(before, releases=event.releases or before.releases)
    return campaigns
