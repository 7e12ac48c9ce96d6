"""The claims that the server says were granted: the ledger's, as ops download them."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass

COLUMNS = (
    "claim_id",
    "campaign_id",
    "member_id",
    "state",
    "unit_no",
    "seq",
    "granted_at_ms",
    "code",
    "idempotency_key",
)

HELD_STATES = frozenset({"pending_payment", "fulfilled"})
# The unit went back to the stock, or may have.
FREED_STATES = frozenset({"lapsed", "returned", "revoked"})

# A cell that a spreadsheet would take for a formula comes with an apostrophe in front.
_FORMULA_STARTS = ("'=", "'+", "'-", "'@", "'\t", "'\r")


class TruthError(Exception):
    """The ledger's claims cannot be read; the message names the row."""


@dataclass(frozen=True, slots=True)
class TruthClaim:
    """One row of claims.csv.

    Attributes:
        claim_id: never changes, as the next ones.
        campaign_id: of the campaign.
        member_id: who holds it.
        state: as it stands now.
        unit_no: from 1 within the campaign.
        seq: its place in the order of all decisions.
        granted_at_ms: the deciding clock's.
        code: of the voucher; empty while there is none.
        idempotency_key: the key that is bound to it, or empty.
        made_good: whether ops have given it: neither asked for, nor bound by limit, eligibility or window.
    """

    claim_id: str
    campaign_id: str
    member_id: str
    state: str
    unit_no: int
    seq: int
    granted_at_ms: int
    code: str
    idempotency_key: str
    made_good: bool = False

    @property
    def held(self) -> bool:
        """Whether the unit is still this member's."""
        return self.state in HELD_STATES


def parse_claims(text: str) -> list[TruthClaim]:
    """Read claims.csv; columns may stand in any order, and there may be more.

    Raises:
        TruthError: a column is missing, or a row cannot be read.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""))
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise TruthError(f"the claims lack the columns {', '.join(missing)}")
    return list(_rows(reader))


def _rows(reader: Iterable[dict[str, str | None]]) -> Iterable[TruthClaim]:
    for number, row in enumerate(reader, start=2):
        cells = {name: _cell(row[name]) for name in COLUMNS}
        if cells["state"] not in HELD_STATES | FREED_STATES:
            raise TruthError(f"row {number}: no state of a claim: {cells['state']!r}")
        try:
            yield TruthClaim(
                claim_id=cells["claim_id"],
                campaign_id=cells["campaign_id"],
                member_id=cells["member_id"],
                state=cells["state"],
                unit_no=int(cells["unit_no"]),
                seq=int(cells["seq"]),
                granted_at_ms=int(cells["granted_at_ms"]),
                code=cells["code"],
                idempotency_key=cells["idempotency_key"],
                made_good=row.get("source") == "make_good",
            )
        except ValueError as error:
            raise TruthError(f"row {number}: {error}") from error


def _cell(text: str | None) -> str:
    if text is None:
        return ""
    return text[1:] if text.startswith(_FORMULA_STARTS) else text
