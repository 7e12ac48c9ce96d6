"""Migrations build the tables of the models, and the database refuses impossible rows."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.command import upgrade as alembic_upgrade
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from bench.claims_indexes import OLD_INDEXES
from grab_service.embedded.postgres import PostgresServer
from grab_service.sql.engine import DIALECT
from grab_service.sql.tables import metadata
from reconcile import migrate
from reconcile.migrate import upgrade
from tests.harness.databases import drop_database, empty_database, make_database

CATALOGUE = {
    "columns": """
        SELECT table_name, column_name, data_type, udt_name, is_nullable, column_default, is_identity, identity_generation,
               col_description(table_name::regclass, ordinal_position)
        FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, contype::text, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2""",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2",
    "comments": """
        SELECT relname, obj_description(oid)
        FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1""",
}


@pytest.fixture(scope="module")
def shared_database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """One for all tests here that roll back what they try."""
    name = f"m_{secrets.token_hex(6)}"
    yield asyncio.run(make_database(postgres_server, name))
    asyncio.run(drop_database(postgres_server, name))


@pytest.fixture
async def engine(shared_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(shared_database_url.replace("postgresql://", DIALECT), poolclass=NullPool)
    yield engine
    await engine.dispose()


@pytest.fixture
async def empty_database_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    async with empty_database(postgres_server) as url:
        yield url


async def test_alembic_sees_no_difference_between_the_migrations_and_the_models(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync, opts={"compare_type": True}), metadata)
        )
    assert differences == []


async def test_the_migrations_build_to_the_letter_what_the_models_build(engine: AsyncEngine, empty_database_url: str) -> None:
    of_models = create_async_engine(empty_database_url.replace("postgresql://", DIALECT))
    async with of_models.begin() as connection:
        await connection.run_sync(metadata.create_all)
        built_by_models = await _catalogue(connection)
    await of_models.dispose()
    async with engine.connect() as connection:
        built_by_migrations = await _catalogue(connection)
    assert built_by_models["indexes"], "nothing was compared"
    for part, rows in built_by_models.items():
        assert built_by_migrations[part] == rows, part


async def _catalogue(connection: AsyncConnection) -> dict[str, list[tuple[Any, ...]]]:
    return {
        part: [tuple(row) for row in await connection.execute(text(query)) if row[0] != "alembic_version"]
        for part, query in CATALOGUE.items()
    }


async def test_of_two_starters_one_migrates_and_the_other_waits(empty_database_url: str) -> None:
    await asyncio.gather(*(asyncio.to_thread(upgrade, empty_database_url) for _ in range(3)))
    upgrade(empty_database_url)
    session = await asyncpg.connect(empty_database_url)
    assert await session.fetchval("SELECT count(*) FROM alembic_version") == 1
    assert await session.fetchval("SELECT nextval('members_version')") == 1
    await session.close()


async def _up_to(url: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).with_name("migrations")))

    def take_steps(connection: Connection) -> None:
        config.attributes["connection"] = connection
        alembic_upgrade(config, revision)

    engine = create_async_engine(url.replace("postgresql://", DIALECT), poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(take_steps)
    await engine.dispose()


async def test_campaigns_of_an_earlier_release_have_the_defaults_of_what_was_added(empty_database_url: str) -> None:
    await _up_to(empty_database_url, "0002")
    session = await asyncpg.connect(empty_database_url)
    await session.execute(campaign().replace("'{}'", """'{"title": "x", "benefit": {"kind": "none"}}'"""))
    migrate.upgrade(empty_database_url)
    definition = json.loads(await session.fetchval("SELECT definition FROM campaigns"))
    await session.close()
    assert definition == {"title": "x", "returns_per_member": 1, "benefit": {"kind": "none", "reveal": "at_once"}}


async def test_claims_of_an_earlier_release_are_kept_and_found_by_the_indexes_of_now(empty_database_url: str) -> None:
    await _up_to(empty_database_url, "0006")
    session = await asyncpg.connect(empty_database_url)
    await session.execute(campaign("c", state="scheduled"))
    for seq in (1, 2):
        await session.execute(with_slot(claim(seq, member="m", unit=seq, state="returned", code=f"'{OLD_CODE}{seq}'")))
    migrate.upgrade(empty_database_url)
    assert [row["code"] for row in await session.fetch("SELECT code FROM claims WHERE member_id = 'm' ORDER BY seq")] == [
        f"{OLD_CODE}{seq}" for seq in (1, 2)
    ]
    names = await session.fetch("SELECT indexname FROM pg_indexes WHERE tablename = 'claims' AND NOT indexdef LIKE '%UNIQUE%'")
    await session.close()
    assert [row["indexname"] for row in names] == ["claims_member_id_ix"]


async def test_the_slots_of_an_earlier_release_are_the_ordinals_of_now(empty_database_url: str) -> None:
    await _up_to(empty_database_url, "0007")
    session = await asyncpg.connect(empty_database_url)
    await session.execute(campaign("c", state="scheduled", limit=2))
    for ordinal in (1, 2):
        await session.execute(with_slot(claim(ordinal, member="m", ordinal=ordinal)))
    migrate.upgrade(empty_database_url)
    found = [tuple(row) for row in await session.fetch("SELECT seq, ordinal FROM claims ORDER BY seq")]
    functions = await session.fetch("SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace")
    await session.close()
    assert found == [(1, 1), (2, 2)]
    assert functions, "nothing was compared"
    assert [row["proname"] for row in functions if "slot" in row["prosrc"]] == []


async def test_the_bench_compares_with_the_indexes_that_claims_had(empty_database_url: str) -> None:
    indexes = "SELECT replace(indexdef, 'slot', 'ordinal') FROM pg_indexes WHERE tablename = 'claims' ORDER BY 1"
    await _up_to(empty_database_url, "0006")
    session = await asyncpg.connect(empty_database_url)
    before = await session.fetch(indexes)
    migrate.upgrade(empty_database_url)
    assert await session.fetch(indexes) != before
    await session.execute(OLD_INDEXES)
    after = await session.fetch(indexes)
    await session.close()
    assert after == before


OLD_CODE = "7K2M-9QXT-3FHB-0WZC-5N8"
"""All but the last character of a code without a time, as earlier releases made them."""

CAMPAIGN = (
    "INSERT INTO campaigns (campaign_id, version, state, definition, opens_at_ms, closes_at_ms, releases, total,"
    " limit_per_member, created_at_ms)"
    " VALUES ('{id}', 1, '{state}', '{{}}', {opens}, {closes}, '[[1, 10]]', {total}, {limit}, 0)"
)
CLAIM = (
    "INSERT INTO claims (seq, epoch, campaign_id, member_id, unit_no, ordinal, state, granted_at_ms, code, idempotency_key,"
    " voucher_state, returned_seq) VALUES ({seq}, 1, '{campaign}', '{member}', {unit}, {ordinal}, '{state}', 0, {code}, {key},"
    " {voucher}, {returned})"
)
COMMAND = (
    "INSERT INTO commands (kind, campaign_id, member_id, claim_seq, reason, created_at_ms)"
    " VALUES ('{kind}', 'c', 'm', {seq}, '{reason}', 0)"
)


def campaign(id_: str = "d", state: str = "draft", total: int = 10, limit: int = 1, window: tuple[int, int] = (1, 2)) -> str:
    return CAMPAIGN.format(id=id_, state=state, total=total, limit=limit, opens=window[0], closes=window[1])


def claim(seq: int, **changes: Any) -> str:
    usual = {"campaign": "c", "member": f"m{seq}", "unit": seq, "ordinal": 1, "state": "fulfilled"}
    given = {**usual, "code": "NULL", "key": "NULL", "voucher": "NULL", "returned": "NULL", **changes}
    return CLAIM.format(seq=seq, **given)


def with_slot(claim_of_now: str) -> str:
    """The same claim for a table before migration 0008."""
    return claim_of_now.replace("ordinal", "slot")


def command(seq: int, kind: str = "return_unit", reason: str = "returned") -> str:
    return COMMAND.format(seq=seq, kind=kind, reason=reason)


MEMBER = (
    "INSERT INTO members (member_id, org_id, name, tags, status, version, birthday_month)"
    " VALUES ('m', '{}', 'n', '{{}}', '{}', 1, {})"
)
ORG = "INSERT INTO orgs VALUES ('o', 'o')"
CODE = "INSERT INTO pool_codes VALUES ('{}', {}, 'CODE')"

IMPOSSIBLE = {
    "claims_pk": [claim(1), claim(1, member="other", unit=2)],
    "claims_state_ck": [claim(1, state="won")],
    "claims_voucher_state_ck": [claim(1, voucher="'used'")],
    "claims_unit_no_ck": [claim(1, unit=0)],
    "claims_ordinal_ck": [claim(1, ordinal=0)],
    "claims_source_ck": [claim(1), "UPDATE claims SET source = 'gift'"],
    "claims_returned_is_not_held_ck": [claim(1, returned=2)],
    "claims_unit_uq": [claim(1, unit=5), claim(2, unit=5)],
    "claims_ordinal_uq": [claim(1, member="m", ordinal=1, state="revoked"), claim(2, member="m", ordinal=1)],
    "claims_seen_code_stays_ck": [claim(1), "UPDATE claims SET revealed_at_ms = 1"],
    "claims_code_uq": [claim(1, code="'X'", state="returned"), claim(2, code="'X'")],
    "claims_idempotency_key_uq": [claim(1, member="m", key="'k'", state="returned"), claim(2, member="m", key="'k'")],
    "claims_returned_seq_uq": [claim(1, state="returned", returned=9), claim(2, state="returned", returned=9)],
    "counts_n_ck": ["INSERT INTO counts VALUES ('c', 1, 'won', 0)"],
    "campaigns_pk": [campaign("c")],
    "campaigns_state_ck": [campaign(state="open")],
    "campaigns_total_ck": [campaign(total=-1)],
    "campaigns_limit_per_member_ck": [campaign(limit=0)],
    "campaigns_window_ck": [campaign(window=(2, 2))],
    "pool_codes_pk": [CODE.format("c", 1), "INSERT INTO pool_codes VALUES ('c', 1, 'OTHER')"],
    "pool_codes_code_uq": [CODE.format("c", 1), CODE.format("c", 2)],
    "pool_codes_position_ck": [CODE.format("c", 0)],
    "pool_codes_campaign_id_fk": [CODE.format("nowhere", 1)],
    "members_org_id_fk": [MEMBER.format("nowhere", "active", "NULL")],
    "members_status_ck": [ORG, MEMBER.format("o", "away", "NULL")],
    "members_birthday_month_ck": [ORG, MEMBER.format("o", "active", "13")],
    "commands_claim_seq_uq": [command(1), command(1)],
    "commands_kind_ck": [command(1, kind="grant")],
    "commands_reason_ck": [command(1, reason="bored")],
    "alarms_lost_ix": [
        f"INSERT INTO alarms (raised_at_ms, kind, detail, cleared_at_ms) VALUES (0, 'recovery_lost', '{{\"epoch\": 3}}', {at})"
        for at in (1, "NULL")
    ],
    "alarms_open_ix": ["INSERT INTO alarms (raised_at_ms, kind, detail) VALUES (0, 'k', '{}')"] * 2,
    "log_entries_digest_ck": ["INSERT INTO log_entries VALUES (1, 1, 1, 0, 'c', sha256('entry'), sha256('head'), 'another')"],
    # Rules over several rows, which triggers keep.
    "claims_campaign_exists": [claim(1, campaign="nowhere")],
    "claims_unit_within_total": [claim(1, unit=11)],
    "claims_ordinal_within_limit": [claim(1, ordinal=3)],
}


async def _try(engine: AsyncEngine, statements: list[str]) -> str:
    """The name of the constraint that the last of the statements breaks; the others must pass. Leaves nothing behind."""
    async with engine.connect() as connection:
        await connection.execute(A_CAMPAIGN)
        for statement in statements[:-1]:
            await connection.execute(text(statement))
        with pytest.raises(IntegrityError) as refused:
            await connection.execute(text(statements[-1]))
        return str(refused.value.orig.__cause__.constraint_name)  # type: ignore[union-attr]


A_CAMPAIGN = text(campaign("c", state="scheduled", limit=2))
"""The campaign `c`: ten units, two for each."""


@pytest.mark.parametrize("constraint", IMPOSSIBLE)
async def test_an_impossible_row_is_refused(engine: AsyncEngine, constraint: str) -> None:
    assert await _try(engine, IMPOSSIBLE[constraint]) == constraint


async def test_every_constraint_has_been_seen_to_refuse(engine: AsyncEngine) -> None:
    """A constraint that is added to the models is added to the rows above."""
    async with engine.connect() as connection:
        catalogue = await _catalogue(connection)
    named = {row[1] for row in catalogue["constraints"] if row[2] != "n"}  # newer servers name NOT NULL too
    unique = {row[1] for row in catalogue["indexes"] if row[2].startswith("CREATE UNIQUE")}
    of_tables_keyed_by_themselves = {
        f"{table}_pk"
        for table in (
            "orgs",
            "members",
            "commands",
            "alarms",
            "ops_log",
            "epochs",
            "lives_seen",
            "claims_seen",
            "make_good_keys",
            "log_entries",
            "checkpoints",
            "comparisons",
            "counts",
            "counts_cursor",
            "log_cursor",
            "ops_tokens",
            "used_assertions",
        )
    }
    assert (named | unique) - of_tables_keyed_by_themselves <= IMPOSSIBLE.keys()


@pytest.mark.parametrize(
    ("constraint", "change"),
    [
        ("claims_unit_within_total", "UPDATE campaigns SET total = 9 WHERE campaign_id = 'c'"),
        ("claims_ordinal_within_limit", "UPDATE campaigns SET limit_per_member = 1 WHERE campaign_id = 'c'"),
        ("claims_campaign_exists", "DELETE FROM campaigns WHERE campaign_id = 'c'"),
        ("claims_campaign_exists", "UPDATE campaigns SET campaign_id = 'd' WHERE campaign_id = 'c'"),
        ("claims_unit_within_total", "UPDATE claims SET unit_no = 11 WHERE seq = 10"),
        ("claims_ordinal_within_limit", "UPDATE claims SET ordinal = 3 WHERE seq = 10"),
        ("claims_campaign_exists", "UPDATE claims SET campaign_id = 'nowhere' WHERE seq = 10"),
    ],
)
async def test_a_change_that_would_leave_a_claim_outside_its_campaign_is_refused(
    engine: AsyncEngine, constraint: str, change: str
) -> None:
    assert await _try(engine, [claim(10, ordinal=2), change]) == constraint


async def test_what_is_possible_is_not_refused(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await connection.execute(A_CAMPAIGN)
        for statement in (
            claim(1, unit=10, ordinal=2),
            claim(9, unit=9, member="m", ordinal=2),
            "UPDATE campaigns SET limit_per_member = 3 WHERE campaign_id = 'c'",
            "UPDATE claims SET source = 'make_good', ordinal = 4 WHERE seq = 9",
            "UPDATE campaigns SET limit_per_member = 2 WHERE campaign_id = 'c'",
            claim(2, unit=10, state="returned", returned=3),
            "UPDATE campaigns SET total = 20 WHERE campaign_id = 'c'",
            claim(4, unit=20),
            "UPDATE claims SET state = 'returned', returned_seq = 5 WHERE seq = 4",
            "UPDATE campaigns SET total = 10 WHERE campaign_id = 'c'",
            "DELETE FROM campaigns WHERE campaign_id = 'd'",
        ):
            await connection.execute(text(statement))


_MANY = (
    "INSERT INTO claims (seq, epoch, campaign_id, member_id, unit_no, ordinal, state, granted_at_ms) "
    "SELECT n, 1, 'c', 'm' || n % 2000, n, 1, CASE WHEN n < 2000 THEN 'fulfilled' ELSE 'returned' END, 0 "
    "FROM generate_series(1, 20000) AS n"
)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM claims WHERE member_id = 'm7' ORDER BY seq DESC LIMIT 21",
        "SELECT * FROM claims WHERE member_id = 'm7' AND seq < 15000 ORDER BY seq DESC LIMIT 21",
        "SELECT count(*) FROM claims WHERE member_id = 'm7' AND state = 'returned' AND campaign_id = 'c'",
        "SELECT count(*) FROM claims WHERE member_id = 'm7' AND state = 'returned' AND decided_at_ms > 1",
    ],
)
async def test_the_claims_of_a_member_are_found_by_the_index_over_members(engine: AsyncEngine, query: str) -> None:
    """Of all claims on one page, of the older ones on the next, of what was given back: none may read the whole table."""
    async with engine.connect() as connection:
        await connection.execute(A_CAMPAIGN)
        for statement in (
            "UPDATE campaigns SET total = 20000 WHERE campaign_id = 'c'",
            _MANY,
            "ANALYZE claims",
        ):
            await connection.execute(text(statement))
        plan = "\n".join((await connection.execute(text(f"EXPLAIN {query}"))).scalars())
    assert "claims_member_id_ix" in plan, plan
    assert "Seq Scan" not in plan, plan


async def test_a_batch_pays_for_one_check(engine: AsyncEngine) -> None:
    """A trigger for each row would make a drained batch of thousands run as many queries."""
    async with engine.connect() as connection:
        await connection.execute(A_CAMPAIGN)
        await connection.execute(text("UPDATE campaigns SET total = 5000 WHERE campaign_id = 'c'"))
        plan = await connection.execute(
            text(
                "EXPLAIN ANALYZE "
                "INSERT INTO claims (seq, epoch, campaign_id, member_id, unit_no, ordinal, state, granted_at_ms) "
                "SELECT n, 1, 'c', 'm' || n, n, 1, 'fulfilled', 0 FROM generate_series(1, 5000) AS n"
            )
        )
        calls = [line for (line,) in plan if line.startswith("Trigger claims_within_campaign_insert")]
    assert [line.rsplit("calls=", 1)[1] for line in calls] == ["1"]
