"""Pages of the log after a cursor, checked for soundness.

An entry that is missing, repeated, foreign or unreadable ends a page, and is said; so is a log that is not the one that was
drained so far. Whether an entry is possible, Postgres says when its rows are written.
"""

from dataclasses import dataclass
from typing import Any

from grab_service.vocabulary.chain import Link, digest_of, entry_bytes, fold
from grab_service.vocabulary.events import BadEntryError, EpochBegan, Event, decode, place_of
from grab_service.vocabulary.keys import CellKeys
from reconcile.alarms import AlarmKind
from reconcile.drain.cursor import Cursor
from reconcile.redis_link import RedisLink


class DrainFaultError(Exception):
    """The log cannot be drained any further until somebody has looked."""

    def __init__(self, kind: AlarmKind, why: str, entry_id: str, campaign_id: str | None = None) -> None:
        super().__init__(f"{kind.value} at {entry_id}: {why}")
        self.kind = kind
        self.campaign_id = campaign_id
        self.detail: dict[str, Any] = {"why": why, "entry_id": entry_id}
        if campaign_id is not None:
            self.detail["campaign_id"] = campaign_id


@dataclass(frozen=True, slots=True)
class Page:
    """The events after a cursor.

    Attributes:
        after: that cursor.
        events: sound ones, without a gap.
        links: one an event, its bytes and its link in the chain.
        fault: what ends them, if not the end of the page.
        cell_seq: where the cell was at that moment.
    """

    after: Cursor
    events: list[Event]
    links: list[tuple[bytes, Link]]
    fault: DrainFaultError | None
    cell_seq: int

    @property
    def until(self) -> Cursor:
        """The cursor after these events are drained."""
        if not self.events:
            return self.after
        last = self.events[-1]
        return Cursor(self.after.epoch, last.last_seq, f"{last.last_seq}-0", last.at_ms, self.links[-1][1].head)

    @property
    def has_next(self) -> bool:
        """Whether more was in the log, and nothing stands in the way of it."""
        return self.fault is None and self.until.last_seq < self.cell_seq


class Pages:
    """Reads the log of one cell, within bounds; of a page, only the last entry may take it beyond `rows_max`."""

    def __init__(self, keys: CellKeys, entries_max: int, rows_max: int) -> None:
        self._keys = keys
        self._entries_max = entries_max
        self._rows_max = rows_max
        self._entries = entries_max

    async def read(self, link: RedisLink, after: Cursor, *, single: bool = False) -> Page:
        """The next events; one entry at most if `single`.

        Raises:
            LinkBrokenError: Redis did not answer.
        """
        count = 1 if single else self._entries
        entries, cell_seq = await link.calls(
            [
                ["XRANGE", self._keys.log, after.last_id, "+", "COUNT", count + 1],
                ["HGET", self._keys.cell, "seq"],
            ]
        )
        events, fault = self._judge(after, entries, count)
        page = Page(after, events, _links(after.head, entries, events), fault, int(cell_seq or 0))
        if events and not single:
            # Next time, as many entries as a page of such entries holds: entries read beyond are read in vain.
            rows = page.until.last_seq - after.last_seq
            self._entries = min(self._entries_max, max(1, -(-self._rows_max * len(events) // rows)))
        return page

    def _judge(self, cursor: Cursor, page: list[list[Any]], count: int) -> tuple[list[Event], DrainFaultError | None]:
        """The events that come next, and the fault that ends them, if there is one."""
        entries = page
        anchored = bool(page) and page[0][0] == cursor.last_id.encode()
        if anchored:
            # The last entry drained is still there; it says whether this is the same log.
            # Its other fields are drained, and may be in the words of another release.
            try:
                _, last_seq, _, at_ms = place_of(page[0][1])
            except BadEntryError as error:
                return [], DrainFaultError(AlarmKind.LOG_LOST, str(error), cursor.last_id)
            if (at_ms, last_seq) != (cursor.at_ms, cursor.last_seq):
                why = f"the entry drained last is another one now: of {at_ms}, not of {cursor.at_ms}"
                return [], DrainFaultError(AlarmKind.LOG_LOST, why, cursor.last_id)
            entries = page[1:]
        events: list[Event] = []
        expected, rows = cursor.last_seq + 1, 0
        for entry_id, pairs in entries[:count]:
            if rows >= self._rows_max:
                break
            name = entry_id.decode(errors="replace")
            try:
                event = decode(entry_id, pairs)
            except BadEntryError as error:
                return events, DrainFaultError(AlarmKind.LOG_BAD_ENTRY, str(error), name)
            if event.epoch != cursor.epoch:
                why = f"of epoch {event.epoch}, expected is {cursor.epoch}"
                return events, DrainFaultError(AlarmKind.LOG_FOREIGN_EPOCH, why, name)
            if event.seq != expected:
                kind = AlarmKind.LOG_GAP if event.seq > expected else AlarmKind.LOG_DUPLICATE
                return events, DrainFaultError(kind, f"begins with seq {event.seq}, expected is {expected}", name)
            if not anchored and not events and not isinstance(event, EpochBegan):
                why = "the entry drained last is not in the log any more, and no epoch begins here"
                return events, DrainFaultError(AlarmKind.LOG_LOST, why, name)
            events.append(event)
            expected = event.last_seq + 1
            rows += event.last_seq - event.seq + 1
        return events, None


def _links(head: bytes, entries: list[list[Any]], events: list[Event]) -> list[tuple[bytes, Link]]:
    """The bytes and links of these events, which are among the entries, behind this head."""
    raw_of = dict(entries)
    links = []
    for event in events:
        entry_id = b"%d-0" % event.last_seq
        raw = entry_bytes(entry_id, raw_of[entry_id])
        digest = digest_of(raw)
        head = fold(head, digest)
        links.append((raw, Link(event.last_seq, digest, head)))
    return links
