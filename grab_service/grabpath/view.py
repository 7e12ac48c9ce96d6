"""The worker's replicated view of the campaigns, and its age.

The worker tails the log like the ledger does: a poll every few milliseconds asks for what came after the last seq it has seen.
A poll that brought everything makes the view complete as of the moment it was *sent*, whenever its answer was read. Redis'
clock comes with every poll and is known between two bounds, which are what may be relied on near an opening or a closing.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import structlog

from grab_service.cell.store import Cell, CellClosedError, CellError
from grab_service.grabpath.affiliations import Affiliations
from grab_service.grabpath.chain import Chain
from grab_service.grabpath.told import Told
from grab_service.vocabulary.campaigns import (
    ENDS,
    BenefitKind,
    CampaignState,
    Phase,
    PublishedCampaign,
    Release,
    Reveal,
    phase_of,
    released_by,
    total_of,
)
from grab_service.vocabulary.chain import digest_of, entry_bytes
from grab_service.vocabulary.claims import Validity
from grab_service.vocabulary.durability import TOLD_MAX, Recorded
from grab_service.vocabulary.events import (
    BadEntryError,
    Event,
    Granted,
    MadeGood,
    MembersPublished,
    Published,
    Returned,
    StateSet,
    StockSet,
    decode,
)

ENTRIES_MAX: Final = 500
HOLDERS_PAGE: Final = 1000
CAMPAIGNS_PAGE: Final = 50
RETRY_S: Final = 0.05
UNREADABLE_S: Final = 1.0
FIND_TIMEOUT_S: Final = 1.0
"""Longest wait of a call for a fresh view, before it is answered that nothing is known."""

log = structlog.get_logger()


class StaleViewError(CellClosedError):
    """The view does not become fresh, so it cannot be told whether a campaign exists."""


@dataclass(slots=True)
class CampaignView:
    """One published campaign up to a seq.

    `holders` also has those who gave back: once `ready`, it may be too large, never too small.
    """

    campaign_id: str
    as_of_seq: int
    state: CampaignState
    releases: tuple[Release, ...]
    closes_at_ms: int
    limit_per_member: int
    benefit_kind: BenefitKind
    active: int
    display: dict[str, Any]
    validity: Validity
    on_request: bool
    """Whether the winner sees the code only when asking for it."""

    closed_at_ms: int | None = None
    """Time at which ops closed or cancelled it; None: nobody did."""

    holders: set[str] = field(default_factory=set)
    ready: bool = False

    @classmethod
    def of(cls, campaign: PublishedCampaign, seq: int) -> "CampaignView":
        """The view of a campaign as the cell held it at `seq`; the holders are still to be filled in."""
        display = orjson.loads(campaign.display)
        return cls(
            campaign_id=campaign.campaign_id,
            as_of_seq=seq,
            state=campaign.state,
            releases=campaign.releases,
            closes_at_ms=campaign.closes_at_ms,
            limit_per_member=campaign.limit_per_member,
            benefit_kind=campaign.benefit_kind,
            active=campaign.active,
            display=display,
            validity=Validity.of_benefit(display["benefit"]),
            on_request=display["benefit"].get("reveal") == Reveal.ON_REQUEST,
            closed_at_ms=campaign.closed_at_ms,
        )

    @property
    def opens_at_ms(self) -> int:
        """Opening time of the first release."""
        return self.releases[0].opens_at_ms

    @property
    def total(self) -> int:
        """The whole stock, whenever it is released."""
        return total_of(self.releases)

    @property
    def has_voucher(self) -> bool:
        """Whether a winner gets a code."""
        return self.benefit_kind is not BenefitKind.NONE

    def available(self, now_ms: int) -> int:
        """The units that can be granted at that time."""
        return max(0, released_by(self.releases, now_ms) - self.active)

    def phase(self, now_ms: int) -> Phase:
        """The phase a member sees at that time."""
        return phase_of(self.state, self.releases, self.closes_at_ms, self.active, now_ms)

    def apply(self, event: Event) -> None:
        """Take in one entry of the log; those up to `as_of_seq` are in it already."""
        if event.last_seq <= self.as_of_seq:
            return
        self.as_of_seq = event.last_seq
        if isinstance(event, Granted):
            self.active += len(event.rows)
            self.holders.update([row[0] for row in event.rows])
        elif isinstance(event, Returned):
            self.active -= 1
        elif isinstance(event, StateSet):
            self.state = event.state
            self.closed_at_ms = event.at_ms if event.state in ENDS else None
        if isinstance(event, StockSet | MadeGood) and event.releases:
            self.releases = event.releases


class View:
    """All published campaigns, kept up to date by `run`. `complete_at_s` is on the event loop's clock.

    `lost_because` says why the last poll failed; empty while nothing is wrong, also while the view is still being read.
    """

    def __init__(
        self, cell: Cell, *, poll_s: float, age_max_s: float, clock: Callable[[], float], told_max: int = TOLD_MAX
    ) -> None:
        self.told = Told(told_max)
        self.complete_at_s = float("-inf")
        self.lost_because = ""
        self._cell = cell
        self._poll_s = poll_s
        self._age_max_s = age_max_s
        self._clock = clock
        self._campaigns: dict[str, CampaignView] = {}
        self._affiliations = Affiliations()
        self._epoch = 0
        self._seq = 0
        self._lacks_some = False
        self._wake = asyncio.Event()
        self._sample: tuple[int, float, float] | None = None
        self._ahead_ms: float | None = None
        self._first = asyncio.Event()
        self._completed = asyncio.Event()
        self._stopping = False
        self.recorded = Recorded()
        """How far the log was on record at the last poll."""

        self.chain = Chain()
        """The chain of the log as far as it has been read."""

        self.on_poll: Callable[[], None] = lambda: None
        """Called after each poll that has read the log to its end."""

    @property
    def is_fresh(self) -> bool:
        """Whether the view is young enough to refuse by."""
        return self._clock() - self.complete_at_s <= self._age_max_s

    @property
    def seq(self) -> int:
        """Up to where the log has been read."""
        return self._seq

    @property
    def is_built(self) -> bool:
        """Whether all campaigns of the cell are known, however old that knowledge is."""
        return self._epoch != 0

    def campaign(self, campaign_id: str) -> CampaignView | None:
        """A published campaign, or None if this worker does not know it (yet)."""
        return self._campaigns.get(campaign_id)

    def campaigns(self) -> list[CampaignView]:
        """All published campaigns known."""
        return list(self._campaigns.values())

    @property
    def members_version(self) -> int:
        """All members' records up to this version are in the cell, for all that is known here."""
        return self._affiliations.members_version

    def org_of(self, token: bytes) -> str | None:
        """The union of the holder of a pass that `verify` has taken, as the cell holds it; None: not certain, ask Lua."""
        return self._affiliations.org_of(token) if self.is_fresh else None

    def now_bounds_ms(self, now_s: float) -> tuple[int, int] | None:
        """(lowest, highest) that Redis' clock can show at a moment of ours, which is now; None before the first poll."""
        if self._sample is None:
            return None
        time_ms, sent_at_s, read_at_s = self._sample
        return time_ms + int((now_s - read_at_s) * 1000), time_ms + 2 + int((now_s - sent_at_s) * 1000)

    def now_ms(self, now_s: float | None = None) -> int:
        """Redis' clock in the middle of its bounds, now or at a moment a little ago; before the first poll, this machine's."""
        if self._ahead_ms is None:
            return time.time_ns() // 1_000_000
        return int((self._clock() if now_s is None else now_s) * 1000 + self._ahead_ms)

    def wake(self) -> None:
        """Poll at once: somebody has reason to think that the log went on."""
        self._wake.set()

    async def wait_complete(self, timeout_s: float) -> bool:
        """Wait until the view has been complete once; False if it was not in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._first.wait()
        return self._first.is_set()

    def stop(self) -> None:
        """Let `run` end after the poll it is in."""
        self._stopping = True
        self._wake.set()

    async def find(self, campaign_id: str) -> CampaignView | None:
        """The campaign; None if a fresh view lacks it, for then it does not exist.

        The cell is not asked for single campaigns, because anybody can make up ids. If the view is not fresh, all who wait
        share the next poll.

        Raises:
            StaleViewError: the view does not become fresh within `FIND_TIMEOUT_S`.
        """
        if campaign_id not in self._campaigns and not self.is_fresh:
            try:
                async with asyncio.timeout(FIND_TIMEOUT_S):
                    self.wake()
                    await self._completed.wait()
            except TimeoutError:
                raise StaleViewError("the view is not fresh") from None
        return self._campaigns.get(campaign_id)

    async def run(self) -> None:
        """Keep the view complete until `stop`; a cell that cannot be read leaves it stale, and is asked again.

        Not ended by cancelling: redis-py waits with `asyncio.wait_for`, which on Python 3.11 may lose a cancellation that
        comes at the moment at which what it waits for is done.
        """
        while not self._stopping:
            try:
                complete = await self._poll()
            except CellError as error:
                self._lose(str(error))
                await asyncio.sleep(RETRY_S)
                continue
            except (BadEntryError, LookupError, ValueError, TypeError):
                # Somebody wrote what no release of ours writes. The gate refuses nobody, Lua decides on, `/readyz` says so.
                log.exception("view_unreadable")
                self._lose("the cell holds something that this release cannot read")
                await asyncio.sleep(UNREADABLE_S)
                continue
            if not complete:
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await self._wake.wait()
            self._wake.clear()

    async def _poll(self) -> bool:
        sent_at_s = self._clock()
        # Where the life that begins lies behind the one that is over, no entry after our seq can be asked for.
        if self._epoch == 0 or self._cell.epoch != self._epoch or self._lacks_some:
            await self._rebuild()
            return False
        reply = await self._cell.tail(self._seq, ENTRIES_MAX)
        read_at_s = self._clock()
        if self._cell.epoch != self._epoch:
            self._epoch = 0
            return False
        unknown: list[str] = []
        for entry_id, pairs in reply.entries:
            event = decode(entry_id, pairs)
            if event.seq != self._seq + 1:
                # Trimmed past us, or worse: the view is not complete any more.
                self._epoch = 0
                return False
            self._apply(event, unknown)
            self._seq = event.last_seq
            self.chain.add(event.last_seq, digest_of(entry_bytes(entry_id, pairs)))
        if unknown:
            try:
                await self._load(unknown)
            except CellError:
                self._lacks_some = True  # the log will not tell of them again
                raise
        self.recorded = max(self.recorded, reply.recorded)  # what is on record stays so; a late note may be an older one
        self.chain.hear(reply.recorded)
        self.told.forget(self.recorded, self._seq)
        self._sample = (reply.now_ms, sent_at_s, read_at_s)
        self._ahead_ms = reply.now_ms + 1 - (sent_at_s + read_at_s) * 500
        if self._seq < reply.seq:
            return False
        self.complete_at_s = sent_at_s
        self.lost_because = ""
        self._first.set()
        # Wakes all calls that wait for a fresh view; later calls wait for the next one.
        self._completed.set()
        self._completed.clear()
        self.on_poll()
        return True

    def _apply(self, event: Event, unknown: list[str]) -> None:
        if isinstance(event, Published):
            if event.campaign_id not in self._campaigns:
                unknown.append(event.campaign_id)
        elif isinstance(event, Granted | Returned | StateSet | StockSet):
            campaign = self._campaigns.get(event.campaign_id)
            if campaign is not None:
                campaign.apply(event)
            if isinstance(event, Granted):
                self.told.note_entry(event)
        elif isinstance(event, MembersPublished):
            self._affiliations.apply(event)

    async def _rebuild(self) -> None:
        self.complete_at_s = float("-inf")  # it lacks campaigns until all are read
        self._campaigns, self._seq, self._lacks_some = {}, 0, False
        reply = await self._cell.read_campaigns([])
        self.lost_because = ""
        epoch = self._cell.epoch
        for at in range(0, len(reply.campaign_ids), CAMPAIGNS_PAGE):
            await self._load(reply.campaign_ids[at : at + CAMPAIGNS_PAGE])
        members_version = (await self._cell.snapshot(())).members_version
        if self._cell.epoch == epoch:
            self._seq, self._epoch = reply.seq, epoch
            self.chain.begin(epoch, reply.seq)
            self.told.begin(epoch)
            self._affiliations.begin(members_version, reply.now_ms)
            log.info("view_built", epoch=epoch, seq=reply.seq, campaigns=len(self._campaigns))

    async def _load(self, campaign_ids: list[str]) -> None:
        """Read campaigns and their holders; entries of the log up to the seq of the reading are in it already."""
        epoch = self._cell.epoch
        reply = await self._cell.read_campaigns(campaign_ids)
        while reply.seq < self._seq or self._cell.epoch != epoch:
            # The tail has overtaken this reading, and entries between the two would be missed; or another life has begun.
            epoch = self._cell.epoch
            reply = await self._cell.read_campaigns(campaign_ids)
        views = {
            campaign_id: CampaignView.of(campaign, reply.seq)
            for campaign_id, campaign in reply.campaigns.items()
            if campaign_id not in self._campaigns
        }
        # Known from here on, so that the tail tells them of new holders while the old ones are still being read.
        self._campaigns.update(views)
        try:
            for view in views.values():
                await self._read_holders(view)
                view.ready = True
        except CellError:
            self._lacks_some = True  # known and never ready: nobody would be refused here
            raise

    async def _read_holders(self, view: CampaignView) -> None:
        keys = self._cell.keys.of_campaign(view.campaign_id)
        for key in (keys.claims, keys.bindings):
            cursor = b"0"
            while True:
                cursor, fields = await self._cell.scan_holders(key, cursor, HOLDERS_PAGE)
                view.holders.update(name.split(b"\t", 1)[0].decode() for name in fields)
                if cursor == b"0":
                    break

    def _lose(self, why: str) -> None:
        if self.complete_at_s != float("-inf"):
            log.warning("view_lost", why=why)
        self.complete_at_s = float("-inf")
        self.lost_because = why
