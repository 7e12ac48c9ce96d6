"""Comparison of every claim that the cell holds with the one in Postgres.

Page by page, beside the running sale: a record that is newer than what is drained is left for the next audit, and what looks
wrong because it changed between two pages is looked at again before it is said.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from redis.asyncio import Redis
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.audit.report import AuditFinding, Invariant
from grab_service.audit.rotation import BEGINNING, Place
from grab_service.vocabulary.claims import ClaimRecord, ClaimState, UnknownRecordError, parse_holding
from grab_service.vocabulary.keys import CampaignKeys, CellKeys

PAGE: Final = 1000

GIVEN_BACK: Final = frozenset({ClaimState.RETURNED.value, ClaimState.LAPSED.value})
_ROWS: Final = text(
    "SELECT claims.*, log_cursor.last_seq AS cursor_seq "
    "FROM log_cursor LEFT JOIN claims ON claims.seq = ANY(CAST(:seqs AS bigint[])) WHERE cell = :cell"
)


@dataclass(slots=True)
class Comparison:
    """What was compared so far. Call `of_campaign` for each; `compared` never passes the bound by more than a page."""

    client: Redis
    engine: AsyncEngine
    cell_name: str
    compared: int = 0
    left: int = 0
    findings: list[AuditFinding] = field(default_factory=list)

    async def of_campaign(self, campaign_id: str, place: Place, records_max: int) -> Place | None:
        """Compare the claims that the cell holds of one campaign, and those bound to idempotency keys, from a place on.

        Returns:
            Where to go on, because `compared` has reached `records_max`; None at the end.
        """
        keys = CellKeys.of(self.cell_name).of_campaign(campaign_id)
        units: dict[int, tuple[bytes, int]] = {}
        before = self.compared
        for part, (key, holds) in enumerate(((keys.claims, True), (keys.bindings, False))):
            if part < place.part:
                continue
            cursor = place.cursor if part == place.part else 0
            while True:
                if self.compared >= records_max:
                    self.left += max(1, await self._size(keys) - (self.compared - before))
                    return Place(part, cursor)
                cursor, seq_before, page = await self._page(key, cursor)
                records = [
                    (name, record) for name, holding in page.items() for record in self._read(campaign_id, name, holding)
                ]
                await self._compare(campaign_id, records, seq_before if holds else None)
                if holds:
                    await self._see_units(keys.claims, campaign_id, units, records)
                if cursor == 0:
                    break
        if place != BEGINNING:
            self.left += max(0, await self._size(keys) - (self.compared - before))
        return None

    async def _size(self, keys: CampaignKeys) -> int:
        """How many records a campaign has; a member's several claims are one there, so it is a lower bound."""
        return int(await self.client.hlen(keys.claims)) + int(await self.client.hlen(keys.bindings))

    async def _page(self, key: str, cursor: int) -> tuple[int, int, dict[bytes, bytes]]:
        async with self.client.pipeline(transaction=True) as pipeline:
            pipeline.hget(CellKeys.of(self.cell_name).cell, "seq")
            pipeline.hscan(key, cursor, count=PAGE)
            seq, (next_cursor, page) = await pipeline.execute()
        return int(next_cursor), int(seq or 0), page

    def _read(self, campaign_id: str, name: bytes, holding: bytes) -> list[ClaimRecord]:
        """The records of a member, or of a binding; none, and a finding, if one of them cannot be read."""
        try:
            return parse_holding(holding)
        except UnknownRecordError as error:
            example = {"campaign_id": campaign_id, "member_id": name.decode().partition("\t")[0], "why": str(error)}
            self.findings.append(AuditFinding(Invariant.NO_LOST_ACK, "a claim of the cell cannot be read", example))
            self.findings.append(AuditFinding(Invariant.ONE_ANSWER, "the cell cannot answer what is on record", example))
            return []

    async def _compare(self, campaign_id: str, records: list[tuple[bytes, ClaimRecord]], held_at_seq: int | None) -> None:
        """`held_at_seq`: the cell still held them at that seq; None for bindings, which stay when the unit went back."""
        if not records:
            return
        rows, cursor_seq = await self._rows([record.seq for _, record in records])
        for name, record in records:
            if record.seq > cursor_seq:
                continue
            self.compared += 1
            member_id, _, key = name.decode().partition("\t")
            claim = {"campaign_id": campaign_id, "member_id": member_id, "seq": record.seq}
            row = rows.get(record.seq)
            if row is None:
                self.findings.append(AuditFinding(Invariant.NO_LOST_ACK, "a claim of the cell is not in Postgres", claim))
                continue
            different = _differences(campaign_id, member_id, record, row)
            if held_at_seq is None and key != record.idempotency_key:
                different["bound_to"] = {"cell": key, "postgres": row["idempotency_key"]}
            if different:
                example = {**claim, "differs": different}
                self.findings.append(AuditFinding(Invariant.NO_LOST_ACK, "a claim is another one in Postgres", example))
                self.findings.append(
                    AuditFinding(Invariant.ONE_ANSWER, "the cell answers otherwise than what is on record", example)
                )
            returned_seq = row["returned_seq"]
            if held_at_seq is not None and returned_seq is not None and returned_seq <= held_at_seq:
                example = {**claim, "returned_seq": returned_seq}
                self.findings.append(AuditFinding(Invariant.CONSERVED, "the cell holds a claim whose unit went back", example))

    async def _rows(self, seqs: list[int]) -> tuple[Mapping[int, RowMapping], int]:
        async with self.engine.connect() as connection:
            found = (await connection.execute(_ROWS, {"seqs": seqs, "cell": self.cell_name})).mappings().all()
        cursor_seq = found[0]["cursor_seq"] if found else 0
        return {row["seq"]: row for row in found if row["seq"] is not None}, cursor_seq

    async def _see_units(
        self,
        claims_key: str,
        campaign_id: str,
        units: dict[int, tuple[bytes, int]],
        records: Iterable[tuple[bytes, ClaimRecord]],
    ) -> None:
        for name, record in records:
            other_name, other_seq = units.setdefault(record.unit_no, (name, record.seq))
            if other_seq == record.seq:
                continue
            # It may have gone from one to the other while the pages were read.
            holdings: Any = await self.client.hmget(claims_key, [name, other_name])
            now = {
                held.seq: held.unit_no
                for holder, holding in zip((name, other_name), holdings, strict=True)
                for held in self._read(campaign_id, holder, holding or b"")
            }
            if now.get(record.seq) == now.get(other_seq) == record.unit_no:
                example = {"campaign_id": campaign_id, "unit_no": record.unit_no, "seqs": sorted((record.seq, other_seq))}
                self.findings.append(
                    AuditFinding(Invariant.UNIQUE_UNIT, "a unit is in two claims of the cell", example, differs=False)
                )
            if record.seq in now:
                units[record.unit_no] = (name, record.seq)


def _differences(campaign_id: str, member_id: str, record: ClaimRecord, row: RowMapping) -> dict[str, Any]:
    in_cell = {
        "campaign_id": campaign_id,
        "member_id": member_id,
        "epoch": record.epoch,
        "unit_no": record.unit_no,
        "ordinal": record.ordinal,
        "granted_at_ms": record.granted_at_ms,
        "code": record.code,
        "idempotency_key": record.idempotency_key,
        "source": record.source.value,
    }
    if row["state"] in GIVEN_BACK:
        del in_cell["code"]  # the two are looked at one after the other, and in between it may have gone back to its pool
    # A code is worth money to a reader of the report.
    return {
        name: "differs" if name == "code" else {"cell": value, "postgres": row[name] or ""}
        for name, value in in_cell.items()
        if (row[name] or "") != value
    }
