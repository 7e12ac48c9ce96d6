"""The replies of the cell to each command.

Outcomes are those of the command's header. `seq` is the last place of the log that the answer covers, `now_ms` Redis' clock
in Unix milliseconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from grab_service.vocabulary.campaigns import Phase, PublishedCampaign
from grab_service.vocabulary.durability import Recorded
from grab_service.vocabulary.outcomes import (
    CodesOutcome,
    MakeGoodOutcome,
    MembersOutcome,
    Outcome,
    PublishOutcome,
    ReturnOutcome,
    StateOutcome,
    StockOutcome,
)


@dataclass(frozen=True, slots=True)
class GrabReply:
    """The answer of `grab` to a batch, given by that life of the cell.

    `answers` are as the script's header gives them, in the order of the batch.
    """

    epoch: int
    now_ms: int
    seq: int
    available: int
    opens_at_ms: int
    next_release_at_ms: int | None
    answers: list[bytes]


class Question(StrEnum):
    """The question to `explain`: what a grab would hear now, or what keeps a member out whatever the hour and the stock."""

    GRAB = "grab"
    MEMBER = "member"


class Explained(NamedTuple):
    """The answer that one member would get; `outcome` None: no refusal. `rest` follows the outcome, as the header says."""

    outcome: Outcome | None
    rest: bytes


class ExplainReply(NamedTuple):
    """`phase` is None if the cell has no such campaign.

    `answers` are as the script's header gives them, in the order of the batch; `read_explained` decodes one.
    """

    now_ms: int
    seq: int
    phase: Phase | None
    opens_at_ms: int
    next_release_at_ms: int | None
    answers: list[bytes]


def read_explained(answer: bytes) -> Explained:
    """Decode one answer of `explain`."""
    word, _, rest = answer.partition(b"\t")
    return Explained(None if word == b"eligible" else Outcome(word.decode()), rest)


class PublishReply(NamedTuple):
    """`detail` of too_few_codes: codes loaded and total, with a TAB between; otherwise ''."""

    outcome: PublishOutcome
    seq: int
    detail: str


class StateReply(NamedTuple):
    """`state` is the one in force; '' if the campaign is not published."""

    outcome: StateOutcome
    seq: int
    state: str


class StockReply(NamedTuple):
    """The total now in force, and the lowest that could be set."""

    outcome: StockOutcome
    seq: int
    total: int
    lowest: int


class MakeGoodReply(NamedTuple):
    """`record` is the claim's, as `ClaimRecord.parse` takes it; b"" in a refusal."""

    outcome: MakeGoodOutcome
    seq: int
    record: bytes


class ReturnReply(NamedTuple):
    """For `already`, seq is that of the return."""

    outcome: ReturnOutcome
    seq: int


class CodesReply(NamedTuple):
    """Codes up to the position `codes_loaded` are in the pool."""

    outcome: CodesOutcome
    seq: int
    codes_loaded: int


class MembersReply(NamedTuple):
    """`changed` is the number of records written."""

    outcome: MembersOutcome
    seq: int
    changed: int


@dataclass(frozen=True, slots=True)
class TailReply:
    """Entries of the log as XRANGE gives them, the cell's clock, the cell's seq at that moment, and how far it is on record."""

    now_ms: int
    seq: int
    entries: list[tuple[bytes, list[bytes]]]
    recorded: Recorded


@dataclass(frozen=True, slots=True)
class CampaignsReply:
    """Campaigns of the cell at one seq; `campaign_ids` are all there are."""

    now_ms: int
    seq: int
    campaign_ids: list[str]
    campaigns: dict[str, PublishedCampaign]


class HoldersReply(NamedTuple):
    """One page: the cursor of the next, b"0" at the end, and the fields, member_id or member_id TAB idempotency_key."""

    cursor: bytes
    fields: list[bytes]


@dataclass(frozen=True, slots=True)
class SnapshotReply:
    """The counters of campaigns at one seq, by the names in the header of `lua/commands/snapshot.lua`."""

    now_ms: int
    epoch: int
    seq: int
    members_version: int
    heads: Mapping[str, Recorded]
    """By worker: the place in the log, and the head of the chain there, that it noted last."""

    campaigns: Sequence[Mapping[bytes, bytes | int]]
