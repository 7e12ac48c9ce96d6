"""What is a claim, how is it written down in the cell, and what is its id?"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

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


class Codes(StrEnum):
    """How the codes of an export are written."""

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
    """What a claim's id says: the campaign, and the place in the log. Opaque to everybody outside."""

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


@dataclass(frozen=True, slots=True)
class ClaimRecord:
    """A claim as the cell holds it. `code` is '' when the benefit has none, `idempotency_key` '' when none was sent."""

    seq: int
    epoch: int
    unit_no: int
    slot: int
    granted_at_ms: int
    code: str
    idempotency_key: str

    @classmethod
    def parse(cls, record: bytes) -> "ClaimRecord":
        """Decode one record of `lua/grab.lua`; anything else is a bug."""
        seq, epoch, unit_no, slot, granted_at_ms, code, key = record.split(b"\t")
        return cls(int(seq), int(epoch), int(unit_no), int(slot), int(granted_at_ms), code.decode(), key.decode())

    def encode(self) -> str:
        """The record as `lua/grab.lua` writes it; for a cell that is rebuilt from Postgres."""
        fields = (self.seq, self.epoch, self.unit_no, self.slot, self.granted_at_ms, self.code, self.idempotency_key)
        return "\t".join(str(field) for field in fields)


def parse_holding(holding: bytes) -> list[ClaimRecord]:
    """The records of one member in one campaign, in the order in which they were granted."""
    return [ClaimRecord.parse(record) for record in holding.split(b"\n") if record]


def _unix_ms(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class Validity:
    """When a campaign's vouchers are valid: fixed times, or a number of days from the grant; None: no bound."""

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
