"""One campaign's part of the chain, as PostgreSQL has it.

It goes from the last checkpoint before the campaign was published to the first one behind its last entry and its closing: each
answer in between can be folded from one signed head to another.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.campaigns.service import read_campaign
from grab_service.claims.export import masked
from grab_service.refusal import RefusalError
from grab_service.sql.tables import checkpoints
from grab_service.vocabulary.chain import texts_of
from grab_service.vocabulary.events import GrantedClaim
from grab_service.vocabulary.times import rfc3339

ROWS_PER_CHUNK: Final = 1000
_CODE_AT: Final = GrantedClaim._fields.index("code")

_SPAN: Final = text(
    "WITH own AS (SELECT greatest("
    " (SELECT max(last_seq) FROM log_entries WHERE campaign_id = :campaign_id),"
    " (SELECT last_seq FROM log_entries WHERE at_ms <= :until_ms ORDER BY at_ms DESC, last_seq DESC LIMIT 1)) AS last_seq)"
    " SELECT coalesce((SELECT max(seq) FROM checkpoints WHERE seq < :published_seq), 0) AS after_seq,"
    " coalesce((SELECT min(seq) FROM checkpoints WHERE seq >= own.last_seq), own.last_seq, 0) AS last_seq FROM own"
)
_ENTRIES: Final = text(
    "SELECT first_seq, last_seq, digest, CASE WHEN campaign_id = :campaign_id THEN entry END AS entry,"
    " epochs.epoch, epochs.predecessor, epochs.reason, lives_seen.seq AS told_up_to_seq"
    " FROM log_entries LEFT JOIN epochs USING (first_seq) LEFT JOIN lives_seen ON lives_seen.epoch = epochs.predecessor"
    " WHERE last_seq > :after_seq AND last_seq <= :last_seq ORDER BY last_seq LIMIT :limit"
)


class Span(NamedTuple):
    """Entries behind the checkpoint at `after_seq`, up to `last_seq`."""

    after_seq: int
    last_seq: int


async def span_of(engine: AsyncEngine, campaign_id: str) -> Span:
    """The part of the log that belongs to a campaign's time.

    Raises:
        RefusalError: campaign-not-found, also for a draft.
    """
    campaign = await read_campaign(engine, campaign_id)
    if campaign.published_seq is None:
        raise RefusalError("campaign-not-found")
    until_ms = campaign.closed_at_ms if campaign.closed_at_ms is not None else campaign.closes_at_ms
    about = {"campaign_id": campaign_id, "until_ms": until_ms, "published_seq": campaign.published_seq}
    async with engine.connect() as connection:
        return Span(*(await connection.execute(_SPAN, about)).one())


async def read_links(engine: AsyncEngine, span: Span, *, after_seq: int, limit: int) -> list[dict[str, Any]]:
    """Entries behind `after_seq`, in the order of the log; see `_link`."""
    about = _about("", Span(max(span.after_seq, after_seq), span.last_seq), limit)
    async with engine.connect() as connection:
        return [_link(row) for row in (await connection.execute(_ENTRIES, about)).mappings()]


async def read_checkpoints(engine: AsyncEngine, span: Span, *, after_seq: int, limit: int) -> list[dict[str, Any]]:
    """Signed heads within the span, that before its first entry included."""
    query = select(checkpoints).where(checkpoints.c.seq.between(max(span.after_seq, after_seq + 1), span.last_seq))
    async with engine.connect() as connection:
        rows = (await connection.execute(query.order_by(checkpoints.c.seq).limit(limit))).all()
    return [{"seq": row.seq, "head": row.head.hex(), "at": rfc3339(row.at_ms), "signature": row.signature} for row in rows]


async def log_lines(engine: AsyncEngine, span: Span, campaign_id: str, *, full_codes: bool) -> AsyncIterator[bytes]:
    """All entries of the span as lines of JSON; those of the campaign with the texts of the entry."""
    async with engine.connect() as connection:
        rows = await connection.stream(
            _ENTRIES, _about(campaign_id, span, None), execution_options={"max_row_buffer": ROWS_PER_CHUNK}
        )
        async for part in rows.mappings().partitions(ROWS_PER_CHUNK):
            yield b"".join(orjson.dumps(_line(row, full_codes=full_codes), option=orjson.OPT_APPEND_NEWLINE) for row in part)


def _about(campaign_id: str, span: Span, limit: int | None) -> dict[str, Any]:
    return {"campaign_id": campaign_id, "after_seq": span.after_seq, "last_seq": span.last_seq, "limit": limit}


def _link(row: Mapping[Any, Any]) -> dict[str, Any]:
    """An entry for everybody: its place and its digest, and of the first entry of a life of the cell, why that began."""
    link = {"first_seq": row["first_seq"], "last_seq": row["last_seq"], "digest": row["digest"].hex(), "break": None}
    if row["predecessor"]:
        told = row["told_up_to_seq"]
        lost = told if told is not None and told >= row["first_seq"] else None
        link["break"] = {"epoch": row["epoch"], "reason": row["reason"], "lost_up_to_seq": lost}
    return link


def _line(row: Mapping[Any, Any], *, full_codes: bool) -> dict[str, Any]:
    link = _link(row)
    if row["entry"] is not None:
        texts = [*texts_of(row["entry"])]
        shown = texts if full_codes else _masked(texts)
        link |= {"entry": shown, "masked": shown != texts}
    return link


def _masked(texts: Sequence[str]) -> list[str]:
    """The texts of an entry without the codes of vouchers."""
    shown = [*texts]
    for at in range(1, len(texts), 2):
        value = texts[at + 1]
        if texts[at] == "code" and value:
            shown[at + 1] = masked(value) or ""
        elif texts[at] == "claims":
            claims = orjson.loads(value)
            for claim in claims:
                claim[_CODE_AT] = claim[_CODE_AT] and masked(claim[_CODE_AT])
            shown[at + 1] = orjson.dumps(claims).decode()
    return shown
