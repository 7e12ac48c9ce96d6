"""What does the log of a cell say?

One decoder for all who read it: the ledger and every worker's view. An entry that does not decode is a bug, or damage: it is
raised as `BadEntryError`, never skipped.
"""

from dataclasses import dataclass
from typing import Final

import orjson

from grab_service.vocabulary.campaigns import CampaignState, Release, decode_releases


class BadEntryError(Exception):
    """An entry of the log does not decode; whoever reads it must stop and keep it."""


@dataclass(frozen=True, slots=True)
class Granted:
    """A batch that had winners. `claims`: (member_id, unit_no, slot, code, idempotency_key), the first with seq `seq`."""

    seq: int
    last_seq: int
    epoch: int
    at_ms: int
    campaign_id: str
    claims: list[tuple[str, int, int, str, str]]


@dataclass(frozen=True, slots=True)
class Published:
    """A campaign came into the cell."""

    seq: int
    last_seq: int
    epoch: int
    at_ms: int
    campaign_id: str
    version: int
    releases: tuple[Release, ...]


@dataclass(frozen=True, slots=True)
class StateSet:
    """Ops paused, resumed, closed or cancelled a campaign."""

    seq: int
    last_seq: int
    epoch: int
    at_ms: int
    campaign_id: str
    state: CampaignState


@dataclass(frozen=True, slots=True)
class StockSet:
    """The stock of a campaign was changed; `releases` are those now in force."""

    seq: int
    last_seq: int
    epoch: int
    at_ms: int
    campaign_id: str
    total: int
    releases: tuple[Release, ...]


@dataclass(frozen=True, slots=True)
class Returned:
    """The unit of one claim went back to stock; `code` went back to the pool, '' if none did."""

    seq: int
    last_seq: int
    epoch: int
    at_ms: int
    campaign_id: str
    member_id: str
    claim_seq: int
    unit_no: int
    reason: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class CodesLoaded:
    """Codes up to a position are in the pool of a campaign."""

    seq: int
    last_seq: int
    epoch: int
    at_ms: int
    campaign_id: str
    codes_loaded: int


@dataclass(frozen=True, slots=True)
class MembersPublished:
    """Members' records up to a version are in the cell.

    `org_changed`: the members whose union differs from that of the record that was there; None where an older release wrote.
    """

    seq: int
    last_seq: int
    epoch: int
    at_ms: int
    members_version: int
    changed: int
    org_changed: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class EpochBegan:
    """The first entry of a new life of the cell; names the one before."""

    seq: int
    last_seq: int
    epoch: int
    at_ms: int
    predecessor: int
    reason: str


Event = Granted | Published | StateSet | StockSet | Returned | CodesLoaded | MembersPublished | EpochBegan

TYPES: Final = {
    "granted": Granted,
    "published": Published,
    "state_set": StateSet,
    "stock_set": StockSet,
    "returned": Returned,
    "codes_loaded": CodesLoaded,
    "members_published": MembersPublished,
    "epoch_began": EpochBegan,
}


def decode(entry_id: bytes, pairs: list[bytes]) -> Event:
    """One entry as XRANGE gives it: its id, and its fields as a flat list of names and values.

    Raises:
        BadEntryError: it is not an entry of this log.
    """
    try:
        fields = dict(zip(pairs[::2], pairs[1::2], strict=True))
        event = _decode(fields)
    except (KeyError, ValueError, TypeError) as error:
        raise BadEntryError(f"entry {entry_id!r} does not decode: {pairs!r:.500}") from error
    if entry_id != b"%d-0" % event.last_seq or event.seq > event.last_seq:
        raise BadEntryError(f"entry {entry_id!r} claims seq {event.seq} to {event.last_seq}")
    return event


def _decode(fields: dict[bytes, bytes]) -> Event:
    kind = fields[b"type"]
    place = (int(fields[b"seq"]), int(fields[b"last_seq"]), int(fields[b"epoch"]), int(fields[b"at_ms"]))
    if kind == b"granted":
        claims = [
            (member_id, int(unit_no), int(slot), code, key)
            for member_id, unit_no, slot, code, key in orjson.loads(fields[b"claims"])
        ]
        if len(claims) != place[1] - place[0] + 1:
            raise ValueError("claims and seq differ in number")
        return Granted(*place, fields[b"campaign_id"].decode(), claims)
    if kind == b"members_published":
        names = fields.get(b"org_changed")
        org_changed = None if names is None else tuple(names.decode().split(",")) if names else ()
        return MembersPublished(*place, int(fields[b"members_version"]), int(fields[b"changed"]), org_changed)
    if kind == b"epoch_began":
        return EpochBegan(*place, int(fields[b"predecessor"]), fields[b"reason"].decode())
    campaign_id = fields[b"campaign_id"].decode()
    if kind == b"published":
        return Published(*place, campaign_id, int(fields[b"version"]), decode_releases(fields[b"releases"].decode()))
    if kind == b"state_set":
        return StateSet(*place, campaign_id, CampaignState(fields[b"state"].decode()))
    if kind == b"stock_set":
        return StockSet(*place, campaign_id, int(fields[b"total"]), decode_releases(fields[b"releases"].decode()))
    if kind == b"codes_loaded":
        return CodesLoaded(*place, campaign_id, int(fields[b"codes_loaded"]))
    if kind == b"returned":
        return Returned(
            *place,
            campaign_id,
            fields[b"member_id"].decode(),
            int(fields[b"claim_seq"]),
            int(fields[b"unit_no"]),
            fields[b"reason"].decode(),
            fields.get(b"code", b"").decode(),
        )
    raise ValueError(f"unknown type {kind!r}")
