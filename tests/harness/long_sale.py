"""PostgreSQL after a sale of a million claims, written at once in the form that the ledger leaves.

Every constraint and trigger looks at every row. Redis is left alone: to the guard it looks like one that was emptied.
"""

import time
from dataclasses import dataclass
from typing import Final

import asyncpg
import orjson

from tests.harness.databases import session_in

HOUR_MS: Final = 3_600_000
RETURNED_EVERY: Final = 100
"""One claim of so many was given back; every second of these units was granted again."""

_MEMBERS: Final = """
    INSERT INTO members (member_id, org_id, name, tags, birthday_month, joined_on, status, version)
    SELECT 'm' || lpad(n::text, 7, '0'), 'org-' || n % 588, '张三',
           CASE WHEN n % 10 = 0 THEN ARRAY['driver', '司机'] ELSE '{}' END,
           n % 12 + 1, date '2001-01-01' + (n % 7000)::integer, 'active', nextval('members_version')
      FROM generate_series(1, $1::bigint) AS n"""
_CLAIMS: Final = """
    INSERT INTO claims (seq, epoch, campaign_id, member_id, unit_no, ordinal, state, granted_at_ms, idempotency_key, code,
                        voucher_state, valid_from_ms, decided_at_ms, returned_seq)
    SELECT $1::bigint + n, 1, $2, 'm' || lpad(((n - 1) % $4 + 1)::text, 7, '0'), n, (n - 1) / $4 + 1,
           CASE WHEN n % $5 = 0 THEN 'returned' ELSE 'fulfilled' END,
           $6::bigint + n,
           CASE WHEN $7 THEN 'key-' || lpad(n::text, 32, '0') END,
           CASE $8 WHEN 'none' THEN NULL WHEN 'code_pool' THEN $2 || '-POOL-' || lpad(n::text, 8, '0')
                   ELSE $2 || '-CODE-' || lpad(n::text, 14, '0') END,
           CASE WHEN $8 = 'none' THEN NULL WHEN n % $5 = 0 THEN 'returned' ELSE 'active' END,
           CASE WHEN $8 = 'none' THEN NULL ELSE $6::bigint + n END,
           CASE WHEN n % $5 = 0 THEN $6::bigint + n + 1 END,
           CASE WHEN n % $5 = 0 THEN $1::bigint + $3 + n / $5 END
      FROM generate_series(1, $3::bigint) AS n"""
_AGAIN: Final = """
    INSERT INTO claims (seq, epoch, campaign_id, member_id, unit_no, ordinal, state, granted_at_ms, idempotency_key, code,
                        voucher_state, valid_from_ms)
    SELECT $1::bigint + row_number() OVER (ORDER BY seq), 1, campaign_id, member_id, unit_no, ordinal, 'fulfilled', $2::bigint,
           idempotency_key || '-again', code || '-AGAIN', CASE WHEN code IS NOT NULL THEN 'active' END,
           CASE WHEN code IS NOT NULL THEN $2::bigint END
      FROM claims WHERE campaign_id = $3 AND returned_seq IS NOT NULL AND unit_no % (2 * $4) = 0"""
_CODES: Final = """
    INSERT INTO pool_codes (campaign_id, position, code)
    SELECT $1, n, $1 || '-POOL-' || lpad(n::text, 8, '0') FROM generate_series(1, $2::bigint) AS n"""


@dataclass(frozen=True, slots=True)
class Sale:
    """One campaign and how many of its units were granted; the limit is what its members needed."""

    campaign_id: str
    claims: int
    members: int
    kind: str = "generated_code"
    left: int = 10

    @property
    def limit(self) -> int:
        """Number of claims that a member may hold."""
        return -(-self.claims // self.members)


async def write_long_sale(database_url: str, cell_name: str, members: int, sales: list[Sale]) -> int:
    """Fill a database that has its tables and nothing else; the seq up to which it is drained."""
    at_ms = time.time_ns() // 1_000_000 - 2 * HOUR_MS
    async with session_in(database_url) as session:
        async with session.transaction():
            await session.execute("INSERT INTO orgs SELECT 'org-' || n, '一工会' FROM generate_series(0, 587) AS n")
            await session.execute(_MEMBERS, members)
            seq = 1
            for sale in sales:
                seq = await _sell(session, sale, seq, at_ms)
            await session.execute("INSERT INTO epochs VALUES (1, 0, 1, $1, 'first_start')", at_ms)
            await session.execute("INSERT INTO log_cursor VALUES ($1, 1, $2, $3, $4)", cell_name, seq, f"{seq}-0", at_ms)
        await session.execute("VACUUM ANALYZE")
    return seq


async def _sell(session: asyncpg.Connection, sale: Sale, seq: int, at_ms: int) -> int:
    stock, keyed = sale.claims + sale.left, sale.limit > 1
    definition = {
        "title": "中秋月饼",
        "eligibility": {"orgs": None, "tags_any": [], "birthday_months": [], "joined_before": None},
        "benefit": {"kind": sale.kind, "name": "月饼一盒"},
    }
    seq += 1
    await session.execute(
        "INSERT INTO campaigns VALUES ($1, 1, 'scheduled', $2, $3::bigint, $4, $5, $6, $7, $3::bigint, $8)",
        *(sale.campaign_id, orjson.dumps(definition).decode(), at_ms, at_ms + 24 * HOUR_MS),
        *(orjson.dumps([[at_ms, stock]]).decode(), stock, sale.limit, seq),
    )
    every = RETURNED_EVERY
    if sale.kind == "code_pool":
        # A unit with a code of a third party is not given back here, for its code would have to be replaced.
        await session.execute(_CODES, sale.campaign_id, stock + 100)
        every = stock + 1
    given = (seq, sale.campaign_id, sale.claims, sale.members, every, at_ms, keyed, sale.kind)
    await session.execute(_CLAIMS, *given)
    seq += sale.claims + sale.claims // every
    again = await session.execute(_AGAIN, seq, at_ms + HOUR_MS, sale.campaign_id, every)
    return seq + int(again.split()[-1])
