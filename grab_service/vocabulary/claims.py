"""Claims, their records in the cell, and their ids."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from grab_service.vocabulary.durability import Recorded

ID_LENGTH_MAX: Final = 96
EPOCH_MAX: Final = 2_147_483_647
"""Postgres keeps an epoch in four bytes."""
DAY_MS: Final = 86_400_000


class ClaimState(StrEnum):
    """The life of a claim. Held means PENDING_PAYMENT or FULFILLED."""

    PENDING_PAYMENT = "pending_payment"
    FULFILLED = "fulfilled"
    LAPSED = "lapsed"
    RETURNED = "returned"
    REVOKED = "revoked"


class Source(StrEnum):
    """How a claim came about."""

    GRAB = "grab"
    MAKE_GOOD = "make_good"
    """Ops have given it, whatever limit, eligibility and window say."""


class Codes(StrEnum):
    """Form of the codes in an export."""

    MASKED = "masked"
    FULL = "full"


class VoucherState(StrEnum):
    """The life of a voucher."""

    ACTIVE = "active"
    REDEEMED = "redeemed"
    RETURNED = "returned"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class ClaimRef:
    """The content of a claim's id: the campaign, and the place in the log. Opaque to everybody outside."""

    campaign_id: str
    epoch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.campaign_id}.{self.epoch}.{self.seq}"

    @classmethod
    def parse(cls, claim_id: str) -> "ClaimRef | None":
        """The reverse of `str`; None if this is no claim's id."""
        parts = claim_id.split(".") if len(claim_id) <= ID_LENGTH_MAX else []
        if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) <= 15 for part in parts[1:]):
            return None
        ref = cls(parts[0], int(parts[1]), int(parts[2]))
        return ref if str(ref) == claim_id and ref.epoch <= EPOCH_MAX else None


RECORDS: Final = "1"
"""The version of records: that with which each begins, and which the cell's hash has as `records`."""


class UnknownRecordError(ValueError):
    """A claim record is of a version that this release does not know, or is damaged; it is never guessed at."""


@dataclass(frozen=True, slots=True)
class ClaimRecord:
    """A claim as the cell holds it, and the one place in Python that knows how it is written.

    `ordinal` is its number of 1..limit_per_member. `code` is '' if the benefit has none, `idempotency_key` if none was sent.
    `parts` are the named parts of rules, each after a TAB, and a source other than the grab; '' when there is none.
    `lua/records/claim.lua` describes the form.
    """

    seq: int
    epoch: int
    unit_no: int
    ordinal: int
    granted_at_ms: int
    code: str
    idempotency_key: str
    state: ClaimState = ClaimState.FULFILLED
    parts: str = ""

    @classmethod
    def parse(cls, record: bytes) -> "ClaimRecord":
        """Decode one record.

        Raises:
            UnknownRecordError: it is of another version.
        """
        seq, epoch, granted_at_ms, state, unit_no, ordinal, code, key, parts = fields_of_record(record)
        return cls(
            int(seq),
            int(epoch),
            int(unit_no),
            int(ordinal),
            int(granted_at_ms),
            code.decode(),
            key.decode(),
            ClaimState(state.decode()),
            parts.decode(),
        )

    @property
    def source(self) -> Source:
        """How it came about."""
        return Source.MAKE_GOOD if self.parts.endswith(f"\tsource={Source.MAKE_GOOD}") else Source.GRAB

    def encode(self) -> str:
        """The record as Lua writes it."""
        return (
            f"{RECORDS}\tseq={self.seq}\tepoch={self.epoch}\tat_ms={self.granted_at_ms}\tstate={self.state}\tunit_no={self.unit_no}"
            f"\tordinal={self.ordinal}\tcode={self.code}\tkey={self.idempotency_key}{self.parts}"
        )


def make_good_key(idempotency_key: str) -> str:
    """What an `Idempotency-Key` of ops is bound as: keys have no space, so no member's can equal it."""
    return f"{Source.MAKE_GOOD} {idempotency_key}"


_RECORD: Final = re.compile(
    RECORDS.encode()
    + rb"\tseq=(\d+)\tepoch=(\d+)\tat_ms=(\d+)\tstate=([a-z_]+)\tunit_no=(\d+)\tordinal=(\d+)\tcode=([^\t]*)\tkey=([^\t]*)"
    rb"((?:\t.*)?)",
    re.DOTALL,
)


def fields_of_record(record: bytes) -> tuple[bytes, ...]:
    """seq, epoch, granted_at_ms, state, unit_no, ordinal, code, idempotency_key, parts: as they are written.

    Raises:
        UnknownRecordError: it is of another version.
    """
    match = _RECORD.fullmatch(record)
    if match is None:
        version = record.partition(b"\t")[0][:20]  # and no more: the rest may have the code
        raise UnknownRecordError(f"a claim record that this release cannot read; it begins with {version!r}")
    return match.groups()


def parse_holding(holding: bytes) -> list[ClaimRecord]:
    """The records of one member in one campaign, in the order in which they were granted."""
    return [ClaimRecord.parse(record) for record in holding.split(b"\n") if record]


def on_record(holding: bytes, recorded: Recorded) -> bytes:
    """The records of a holding that are on record; `recorded` and the holding were read from the cell in one step.

    A life of the cell begins with what is on record of those before it, so claims of earlier lives are.
    """
    kept = []
    for record in filter(None, holding.split(b"\n")):
        seq, epoch, *_ = map(int, fields_of_record(record)[:2])
        if epoch < recorded.epoch or recorded.has(epoch, seq):
            kept.append(record)
    return b"\n".join(kept)


def _unix_ms(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class Validity:
    """Validity of a campaign's vouchers: fixed times, or a number of days from the grant; None: no bound."""

    valid_from_ms: int | None = None
    valid_until_ms: int | None = None
    valid_days: int | None = None

    @classmethod
    def of_benefit(cls, benefit: Mapping[str, Any]) -> "Validity":
        """From a campaign's `benefit`, times as RFC 3339 with an offset."""
        valid_from, valid_until = benefit.get("valid_from"), benefit.get("valid_until")
        return cls(
            valid_from_ms=_unix_ms(valid_from) if valid_from else None,
            valid_until_ms=_unix_ms(valid_until) if valid_until else None,
            valid_days=benefit.get("valid_days"),
        )

    def of_grant(self, granted_at_ms: int) -> tuple[int, int | None]:
        """(valid_from_ms, valid_until_ms) of a voucher granted at that time; the earlier end counts if both are given."""
        valid_from_ms = max(granted_at_ms, self.valid_from_ms or 0)
        ends = [self.valid_until_ms] if self.valid_until_ms is not None else []
        if self.valid_days is not None:
            ends.append(valid_from_ms + self.valid_days * DAY_MS)
        return valid_from_ms, min(ends, default=None)
