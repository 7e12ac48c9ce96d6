"""Cost of the indexes of claims for a claim that is copied in: into an empty table, and into one with a million claims.

The same members in the same random order, each claim with an idempotency key, in turn into tables that differ in their indexes
and in how codes begin. Every run begins behind a checkpoint, as a rush does after a quiet hour: the first change of a page is
then logged with the whole page, so the number of pages that a rush touches counts.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
import psutil

from bench.figures import Figure, ratios
from bench.testbed import VALID_DAYS
from grab_service.embedded.postgres import PostgresServer
from grab_service.settings import Settings
from grab_service.vocabulary.claims import Validity
from grab_service.vocabulary.events import Granted, GrantedClaim
from grab_service.vocabulary.voucher_codes import generate
from reconcile.drain import claim_rows
from reconcile.migrate import upgrade

ROUNDS: Final = 5
HISTORY: Final = 1_000_000
RUN_CLAIMS: Final = 50_000
MEMBERS: Final = 110_000
STOCK: Final = 3_000
BATCH: Final = 64
DAY_S: Final = 24 * 3600
YEAR_S: Final = 365 * DAY_S
RESULTS: Final = Path("var/bench")

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Kind:
    """A table of claims: its changes to the one of this release, and whether codes begin with their time."""

    title: str
    changes: str
    timed_codes: bool


OLD_INDEXES: Final = """
    DROP INDEX claims_member_id_ix;
    CREATE INDEX claims_member_id_seq_ix ON claims (member_id, seq);
    CREATE INDEX claims_given_back_ix ON claims (member_id, campaign_id) WHERE state = 'returned';
"""
KINDS: Final[dict[str, Kind]] = {
    "before": Kind("indexes and codes of before", OLD_INDEXES, timed_codes=False),
    "codes": Kind("the same indexes, codes begin with their time", OLD_INDEXES, timed_codes=True),
    "now": Kind("the indexes of now, codes begin with their time", "", timed_codes=True),
}
SIZES: Final = {"empty": "an empty table", "full": "a million claims"}


@dataclass(frozen=True, slots=True)
class Run:
    """One run: claims a second; a claim's processor time of PostgreSQL in µs, and its bytes in the log of writes."""

    per_second: float
    postgres_us: float
    wal_bytes: float


class Table:
    """The table of claims on a server of its own, whose buffers it has for itself, and what fills it."""

    def __init__(self, kind: Kind, session: "asyncpg.Connection[Any]", backend: psutil.Process) -> None:
        self._kind = kind
        self._session = session
        self._backend = backend
        self._chance = random.Random(1)  # the same members for every table
        self._seq = 0
        self._at_s = time.time() - YEAR_S

    @classmethod
    async def make(cls, kind: Kind, server: PostgresServer) -> "Table":
        """On a server that runs and is new."""
        await asyncio.to_thread(upgrade, server.url)
        session = await asyncpg.connect(server.url)
        await session.execute(kind.changes + "ALTER TABLE claims SET (autovacuum_enabled = false)")
        return cls(kind, session, psutil.Process(await session.fetchval("SELECT pg_backend_pid()")))

    async def close(self) -> None:
        """End its session."""
        await self._session.close()

    async def empty(self) -> None:
        """Throw all claims away."""
        await self._session.execute("TRUNCATE claims")

    async def fill(self, rows: int) -> None:
        """A year's campaigns of `STOCK` units, until there are so many claims."""
        campaigns = max(1, rows // STOCK)
        for _ in range(campaigns):
            self._at_s += YEAR_S / campaigns
            for piece in await self._rush(min(STOCK, rows)):
                await self._copy(piece)
        await self._session.execute("VACUUM ANALYZE claims")

    async def run(self, rows: int) -> Run:
        """One rush of so many claims, a day after the last, in transactions as large as the drain's.

        Raises:
            asyncpg.PostgresError: a claim was refused; there is no figure.
        """
        self._at_s += DAY_S
        pieces = await self._rush(rows)
        await self._session.execute("CHECKPOINT")
        wal, cpu_s, began_s = await self._wal(), sum(self._backend.cpu_times()[:2]), time.perf_counter()
        for piece in pieces:
            await self._copy(piece)
        took_s = time.perf_counter() - began_s
        used_s = sum(self._backend.cpu_times()[:2]) - cpu_s
        return Run(rows / took_s, used_s / rows * 1e6, (await self._wal() - wal) / rows)

    async def _wal(self) -> int:
        return int(await self._session.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))

    async def _rush(self, rows: int) -> list[bytes]:
        """A new campaign, and the claims of so many members as the drain would write them: one piece a transaction."""
        at_ms = int(self._at_s * 1000)
        campaign_id = f"c{self._seq:09}"
        await self._session.execute(
            "INSERT INTO campaigns (campaign_id, version, state, definition, opens_at_ms, closes_at_ms, releases, total,"
            " limit_per_member, created_at_ms) VALUES ($1, 1, 'scheduled', '{}', $2, $3, '[]', $4, 1, $2)",
            *(campaign_id, at_ms, at_ms + 1, rows),
        )
        codes = generate(rows, self._at_s)
        if not self._kind.timed_codes:
            codes = [code.partition("-")[2] for code in codes]
        members = self._chance.sample(range(MEMBERS), rows)
        claims = [
            GrantedClaim(f"m-{member:06}", unit_no, 1, code, str(UUID(int=self._chance.getrandbits(128))))
            for unit_no, (member, code) in enumerate(zip(members, codes, strict=True), 1)
        ]
        pieces = []
        for start in range(0, rows, Settings().drain_rows_max):
            written = [claim_rows.HEAD]
            for at in range(start, min(start + Settings().drain_rows_max, rows), BATCH):
                won = claims[at : at + BATCH]
                batch = Granted(self._seq + 1, self._seq + len(won), 1, at_ms, campaign_id, won)
                written += claim_rows.rows_of(batch, Validity(valid_days=VALID_DAYS))
                self._seq += len(won)
            pieces.append(b"".join([*written, claim_rows.END]))
        return pieces

    async def _copy(self, piece: bytes) -> None:
        async def once() -> AsyncIterator[bytes]:
            yield piece

        await self._session.copy_to_table("claims", source=once(), columns=claim_rows.COLUMNS, format="binary")


async def measure(
    rounds: int = ROUNDS, history: int = HISTORY, run_claims: int = RUN_CLAIMS, log: Log = print
) -> tuple[Figure, ...]:
    """Measure all kinds in turn, empty and behind a history of so many claims; takes a few minutes."""
    found: dict[str, list[Run]] = {}
    with tempfile.TemporaryDirectory(prefix="grab-bench-", ignore_cleanup_errors=True) as home:
        async with AsyncExitStack() as stack:
            tables = {}
            for name, kind in KINDS.items():
                server = PostgresServer(Path(home) / name)
                stack.push_async_callback(server.stop)
                await server.start()
                tables[name] = await Table.make(kind, server)
                stack.push_async_callback(tables[name].close)
            for size in SIZES:
                for table in tables.values():
                    await table.empty()
                    if size == "full":
                        await table.fill(history)
                for number in range(1, rounds + 1):
                    # Every second round goes the other way round, so that nobody is always first.
                    for name in list(tables)[:: 1 if number % 2 else -1]:
                        if size == "empty":
                            await tables[name].empty()
                        one = await tables[name].run(run_claims)
                        found.setdefault(f"{name}_{size}", []).append(one)
                        log(
                            f"claims_indexes {number}/{rounds}, {size}, {name}: {one.per_second:,.0f} claims/s, "
                            f"{one.postgres_us:.1f} µs of PostgreSQL and {one.wal_bytes:,.0f} bytes of its log each"
                        )
    return tuple(_figures(found))


def _figures(found: dict[str, list[Run]]) -> Iterator[Figure]:
    for name, runs in found.items():
        kind, _, size = name.rpartition("_")
        title = f"{KINDS[kind].title}, {SIZES[size]}"
        yield Figure(f"copy_{name}", title, "claims/s", tuple(one.per_second for one in runs))
        yield Figure(f"copy_{name}_postgres", f"{title}: PostgreSQL", "µs", tuple(one.postgres_us for one in runs))
        yield Figure(f"copy_{name}_wal", f"{title}: log of writes", "bytes", tuple(one.wal_bytes for one in runs))
    for size, where in SIZES.items():
        now, before = found[f"now_{size}"], found[f"before_{size}"]
        for what, field in (
            ("claims copied in a second", "per_second"),
            ("bytes of PostgreSQL's log a claim", "wal_bytes"),
        ):
            yield Figure(
                f"copy_ratio_{field}_{size}",
                f"{what}, now ÷ before, {where}",
                "",
                ratios([getattr(one, field) for one in now], [getattr(one, field) for one in before]),
            )
