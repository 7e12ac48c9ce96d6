"""The entries of a cell's log.

One class an event, which knows how its entry is read; one decoder for all who read the log: the ledger and every worker's view.
An entry that does not decode is a bug, or damage: it is raised as `BadEntryError`, never skipped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple, Self

import orjson

from grab_service.vocabulary.campaigns import CampaignState, Release, decode_releases
from grab_service.vocabulary.claims import ClaimState, Source

Fields = Mapping[bytes, bytes]


class BadEntryError(Exception):
    """An entry of the log does not decode; the reader must stop and keep it."""


@dataclass(frozen=True, slots=True)
class Event:
    """An entry of the log. It covers the places `seq` to `last_seq`; `at_ms` is Redis' clock in Unix milliseconds."""

    TYPE: ClassVar[str]

    seq: int
    last_seq: int
    epoch: int
    at_ms: int

    @classmethod
    def read(cls, place: tuple[int, int, int, int], fields: Fields) -> Self:
        """From the four numbers that every entry has, and its own fields.

        Raises:
            KeyError, ValueError, TypeError: it is no such entry.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class OfCampaign(Event):
    """An event of one campaign."""

    campaign_id: str


class GrantedClaim(NamedTuple):
    """One claim of a batch; `ordinal` is its number of 1..limit_per_member, `code` and `key` (idempotency_key) may be ''."""

    member_id: str
    unit_no: int
    ordinal: int
    code: str
    key: str


@dataclass(frozen=True, slots=True)
class Granted(OfCampaign):
    """A batch that had winners, the first with seq `seq`. All claims have the same `state`."""

    TYPE = "granted"
    VERSION: ClassVar[bytes] = b"1"
    FIELDS: ClassVar[bytes] = ",".join(GrantedClaim._fields).encode()
    SOURCE: ClassVar[Source] = Source.GRAB

    rows: Sequence[tuple[str, int, int, str, str]]
    """The claims as the log has them, in the order of their seqs: by names in `claims`."""

    state: ClaimState = ClaimState.FULFILLED

    @property
    def claims(self) -> list[GrantedClaim]:
        """The claims; made anew each time, for a worker that only counts members must not pay for their names."""
        return [*map(GrantedClaim._make, self.rows)]

    @classmethod
    def read(cls, place: tuple[int, int, int, int], fields: Fields) -> Self:
        return cls(*place, _campaign_id(fields), *_claims(place, fields))


@dataclass(frozen=True, slots=True)
class MadeGood(Granted):
    """A claim that ops have given; `releases` are those now in force if the total was raised with it, else ()."""

    TYPE = "made_good"
    SOURCE = Source.MAKE_GOOD

    releases: tuple[Release, ...] = ()

    @classmethod
    def read(cls, place: tuple[int, int, int, int], fields: Fields) -> Self:
        return cls(*place, _campaign_id(fields), *_claims(place, fields), decode_releases(fields[b"releases"].decode()))


@dataclass(frozen=True, slots=True)
class Published(OfCampaign):
    """A campaign came into the cell."""

    TYPE = "published"

    version: int
    releases: tuple[Release, ...]

    @classmethod
    def read(cls, place: tuple[int, int, int, int], fields: Fields) -> Self:
        return cls(*place, _campaign_id(fields), int(fields[b"version"]), decode_releases(fields[b"releases"].decode()))


@dataclass(frozen=True, slots=True)
class StateSet(OfCampaign):
    """Ops paused, resumed, closed or cancelled a campaign."""

    TYPE = "state_set"

    state: CampaignState

    @classmethod
    def read(cls, place: tuple[int, int, int, int], fields: Fields) -> Self:
        return cls(*place, _campaign_id(fields), CampaignState(fields[b"state"].decode()))


@dataclass(frozen=True, slots=True)
class StockSet(OfCampaign):
    """The stock of a campaign was changed; `releases` are those now in force."""

    TYPE = "stock_set"

    total: int
    releases: tuple[Release, ...]

    @classmethod
    def read(cls, place: tuple[int, int, int, int], fields: Fields) -> Self:
        return cls(*place, _campaign_id(fields), int(fields[b"total"]), decode_releases(fields[b"releases"].decode()))


@dataclass(frozen=True, slots=True)
class Returned(OfCampaign):
    """The unit of one claim went back to stock; `code` went back to the pool, '' if none did."""

    TYPE = "returned"

    member_id: str
    claim_seq: int
    unit_no: int
    reason: str
    code: str = ""

    @classmethod
    def read(cls, place: tuple[int, int, int, int], fields: Fields) -> Self:
        return cls(
            *place,
            _campaign_id(fields),
            fields[b"member_id"].decode(),
            int(fields[b"claim_seq"]),
            int(fields[b"unit_no"]),
            fields[b"reason"].decode(),
            fields.get(b"code", b"").decode(),
        )


@dataclass(frozen=True, slots=True)
class CodesLoaded(OfCampaign):
    """Codes up to a position are in the pool of a campaign."""

    TYPE = "codes_loaded"

    codes_loaded: int

    @classmethod
    def read(cls, place: tuple[int, int, int, int], fields: Fields) -> Self:
        return cls(*place, _campaign_id(fields), int(fields[b"codes_loaded"]))


@dataclass(frozen=True, slots=True)
class MembersPublished(Event):
    """Members' records up to a version are in the cell.

    `org_changed`: the members whose union differs from that of the record that was there; None where an older release wrote.
    """

    TYPE = "members_published"

    members_version: int
    changed: int
    org_changed: tuple[str, ...] | None = None

    @classmethod
    def read(cls, place: tuple[int, int, int, int], fields: Fields) -> Self:
        names = fields.get(b"org_changed")
        org_changed = None if names is None else tuple(names.decode().split(",")) if names else ()
        return cls(*place, int(fields[b"members_version"]), int(fields[b"changed"]), org_changed)


@dataclass(frozen=True, slots=True)
class EpochBegan(Event):
    """The first entry of a new life of the cell; names the one before."""

    TYPE = "epoch_began"

    predecessor: int
    reason: str

    @classmethod
    def read(cls, place: tuple[int, int, int, int], fields: Fields) -> Self:
        return cls(*place, int(fields[b"predecessor"]), fields[b"reason"].decode())


EVENTS: Final[Mapping[str, type[Event]]] = {
    event.TYPE: event
    for event in (Granted, MadeGood, Published, StateSet, StockSet, Returned, CodesLoaded, MembersPublished, EpochBegan)
}
"""Every event that the log may hold, by the type of its entry."""


def decode(entry_id: bytes, pairs: list[bytes]) -> Event:
    """One entry as XRANGE gives it: its id, and its fields as a flat list of names and values.

    Raises:
        BadEntryError: it is not an entry of this log, or of a version that this release does not know.
    """
    try:
        fields = dict(zip(pairs[::2], pairs[1::2], strict=True))
        event = EVENTS[fields[b"type"].decode()].read(_place(fields), fields)
    except (KeyError, ValueError, TypeError) as error:
        raise BadEntryError(f"entry {entry_id!r} does not decode ({error}): {pairs!r:.500}") from error
    if entry_id != b"%d-0" % event.last_seq or event.seq > event.last_seq:
        raise BadEntryError(f"entry {entry_id!r} claims seq {event.seq} to {event.last_seq}")
    return event


def place_of(pairs: list[bytes]) -> tuple[int, int, int, int]:
    """seq, last_seq, epoch and at_ms of an entry, which it has whatever else it says, and whichever release wrote it.

    Raises:
        BadEntryError: it has not.
    """
    try:
        return _place(dict(zip(pairs[::2], pairs[1::2], strict=True)))
    except (KeyError, ValueError) as error:
        raise BadEntryError(f"an entry without its place ({error}): {pairs!r:.500}") from error


def _place(fields: Fields) -> tuple[int, int, int, int]:
    return int(fields[b"seq"]), int(fields[b"last_seq"]), int(fields[b"epoch"]), int(fields[b"at_ms"])


def _claims(place: tuple[int, int, int, int], fields: Fields) -> tuple[list[tuple[str, int, int, str, str]], ClaimState]:
    """The claims of an entry as they are written, and the state of all of them."""
    if (fields.get(b"version"), fields.get(b"fields")) != (Granted.VERSION, Granted.FIELDS):
        raise ValueError("claims of a version that this release does not know")
    rows = [*map(tuple, orjson.loads(fields[b"claims"]))]
    for _, unit_no, ordinal, _, _ in rows:  # looked at as they are, which takes less time than to convert each number
        if type(unit_no) is not int or type(ordinal) is not int:
            raise ValueError("a number of a claim is none")
    if len(rows) != place[1] - place[0] + 1:
        raise ValueError("claims and seq differ in number")
    return rows, ClaimState(fields[b"state"].decode())


def _campaign_id(fields: Fields) -> str:
    return fields[b"campaign_id"].decode()
