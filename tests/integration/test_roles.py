"""Each PostgreSQL role may do its work, and nothing else."""

import base64
import re

import asyncpg
import pytest

from grab_service.cell.rights import Login
from grab_service.embedded.passwords import as_user
from grab_service.embedded.postgres import PostgresServer
from grab_service.embedded.postgres_roles import POSTGRES_LOGINS, role_statements, scram_of
from grab_service.sql.grants import GRANTS, OWNER, SEQUENCES, role_of
from grab_service.sql.tables import metadata
from grab_service.vocabulary.keys import DEFAULT_CELL
from reconcile.migrate import upgrade
from tests.harness.databases import empty_database, in_postgres, session_in
from tests.harness.logins import as_role

DENIED = asyncpg.InsufficientPrivilegeError


def test_of_every_table_somebody_has_decided_who_may_do_what() -> None:
    named = {table for rights in GRANTS.values() for table in rights}
    assert named == {*metadata.tables, "alembic_version"}
    for rights in GRANTS.values():
        for table, allowed in rights.items():
            columns = {
                column.strip() for right in allowed for part in re.findall(r"\((.*)\)", right) for column in part.split(",")
            }
            assert columns <= set(metadata.tables[table].columns.keys()) if columns else True
    assert {name for names in SEQUENCES.values() for name in names} == {"members_version"}


PUBLISHED = (
    "INSERT INTO campaigns (campaign_id, version, state, definition, opens_at_ms, closes_at_ms, releases, total,"
    " limit_per_member, created_at_ms, published_seq) VALUES ('c', 1, 'scheduled', '{}', 1, 2, '[[1, 10]]', 10, 1, 0, 5)"
)
CLAIM = (
    "INSERT INTO claims (seq, epoch, campaign_id, member_id, unit_no, ordinal, state, granted_at_ms)"
    " VALUES ({}, 1, 'c', 'm{}', {}, 1, 'fulfilled', 0)"
)


@pytest.fixture
async def furnished(database_url: str) -> str:
    """A database with a published campaign, a claim, a cursor and an epoch; its address for its superuser."""
    await in_postgres(
        database_url,
        PUBLISHED,
        CLAIM.format(1, 1, 1),
        "INSERT INTO log_cursor VALUES ('x', 1, 1, '1-0', 0)",
        "INSERT INTO epochs VALUES (1, 0, 1, 0, 'first_start')",
        "INSERT INTO orgs VALUES ('o', 'o')",
    )
    return database_url


NOBODY_MAY = [
    "CREATE TABLE mine ()",
    "DROP TABLE claims",
    "TRUNCATE claims",
    "ALTER TABLE claims DISABLE TRIGGER ALL",
    "DELETE FROM claims",
    "UPDATE claims SET unit_no = 2",
    "UPDATE claims SET member_id = 'me'",
    "DELETE FROM ops_log",
    "UPDATE epochs SET first_seq = 2",
    "DELETE FROM log_cursor",
    "UPDATE alembic_version SET version_num = 'x'",
    "CREATE ROLE friend",
    "COPY claims TO PROGRAM 'cat'",
    f'SET ROLE "{role_of(DEFAULT_CELL, OWNER)}"',
    "SET session_replication_role = replica",
]
API_MAY_NOT = [
    CLAIM.format(2, 2, 2),
    "UPDATE claims SET returned_seq = 5",
    "UPDATE claims SET code = 'x'",
    "UPDATE log_cursor SET last_seq = 0",
    "INSERT INTO log_cursor VALUES ('y', 1, 1, '1-0', 0)",
    "INSERT INTO epochs VALUES (2, 1, 2, 0, 'mine')",
    "UPDATE campaigns SET published_seq = NULL",
    PUBLISHED.replace("'c'", "'d'"),
    "UPDATE commands SET done_seq = 1",
    "INSERT INTO alarms (raised_at_ms, kind, detail) VALUES (1, 'x', '{}')",
    "DELETE FROM members",
    "UPDATE ops_log SET actor = 'somebody else'",
    "UPDATE ops_tokens SET role = 'admin'",
    "DELETE FROM ops_tokens",
    "UPDATE pool_codes SET code = 'x'",
]
LEDGER_MAY_NOT = [
    "DELETE FROM campaigns",
    "INSERT INTO members VALUES ('m', 'o', NULL, 'n', '{}', NULL, NULL, 'active', NULL, NULL, 1)",
    "SELECT nextval('members_version')",
    "UPDATE campaigns SET definition = '{}'",
    "UPDATE campaigns SET limit_per_member = 9",
    "INSERT INTO ops_log (at_ms, actor, role, action, outcome, detail) VALUES (1, 'a', 'admin', 'x', 'done', '{}')",
    "SELECT * FROM ops_log",
    "INSERT INTO pool_codes VALUES ('c', 1, 'x')",
    "INSERT INTO commands (kind, campaign_id, member_id, claim_seq, reason, created_at_ms) VALUES ('x', 'c', 'm', 1, 'x', 0)",
    "INSERT INTO used_assertions VALUES ('j', 1)",
    "INSERT INTO ops_tokens VALUES ('t', 'a', 'admin', 1, 2, NULL)",
    "UPDATE ops_tokens SET ended_at_ms = NULL",
]
REFUSED = [
    *((login, statement) for login in GRANTS for statement in NOBODY_MAY),
    *((Login.API, statement) for statement in API_MAY_NOT),
    *((Login.LEDGER, statement) for statement in LEDGER_MAY_NOT),
]


async def test_what_is_not_its_work_is_refused(furnished: str) -> None:
    allowed = []
    for login in GRANTS:
        session = await asyncpg.connect(as_role(furnished, login))
        for who, statement in REFUSED:
            if who is login:
                try:
                    await session.execute(statement)
                except DENIED:
                    continue
                allowed.append((login.value, statement))
        await session.close()
    assert allowed == []


async def test_a_published_campaign_follows_the_log_and_not_the_api(furnished: str) -> None:
    api = await asyncpg.connect(as_role(furnished, Login.API))
    assert await api.fetchval("SELECT state FROM campaigns") == "scheduled"
    assert await api.execute("UPDATE campaigns SET total = 1000, state = 'closed'") == "UPDATE 0"
    await api.execute(PUBLISHED.replace("'c'", "'d'").replace(", published_seq)", ")").replace(", 5)", ")"))
    assert await api.execute("UPDATE campaigns SET total = 20") == "UPDATE 1"
    assert await api.execute("DELETE FROM campaigns WHERE campaign_id = 'c'") == "DELETE 0"
    assert await api.execute("DELETE FROM campaigns WHERE campaign_id = 'd'") == "DELETE 0", "it is no draft"
    await api.close()
    ledger = await asyncpg.connect(as_role(furnished, Login.LEDGER))
    assert await ledger.execute("UPDATE campaigns SET total = 30 WHERE campaign_id = 'c'") == "UPDATE 1"
    await ledger.close()


async def test_no_role_is_more_than_a_role(furnished: str) -> None:
    session = await asyncpg.connect(furnished)
    for who in POSTGRES_LOGINS:
        found = await session.fetchrow("SELECT * FROM pg_roles WHERE rolname = $1", role_of(DEFAULT_CELL, who))
        assert found is not None
        assert found["rolcanlogin"]
        may = [name for name in ("rolsuper", "rolcreaterole", "rolcreatedb", "rolreplication", "rolbypassrls") if found[name]]
        assert may == [], who
    owners = await session.fetch("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
    assert [row["tableowner"] for row in owners] == [role_of(DEFAULT_CELL, OWNER)]
    await session.close()


async def test_to_migrate_again_gives_what_is_lacking_and_takes_what_is_too_much(
    furnished: str, postgres_server: PostgresServer
) -> None:
    api = role_of(DEFAULT_CELL, Login.API)
    await in_postgres(
        furnished,
        f"GRANT ALL ON claims, epochs TO {api}; GRANT UPDATE (published_seq) ON campaigns TO {api}",
        f"REVOKE ALL ON members FROM {api}; DROP POLICY campaigns_drafts_are_changed ON campaigns",
    )
    upgrade(postgres_server.url_as(OWNER, furnished.rpartition("/")[2]))
    await test_what_is_not_its_work_is_refused(furnished)
    await test_a_published_campaign_follows_the_log_and_not_the_api(furnished)
    member = "INSERT INTO members VALUES ('m', 'o', NULL, 'n', '{}', NULL, NULL, 'active', NULL, NULL, 1)"
    await in_postgres(as_role(furnished, Login.API), member)


async def test_tables_that_a_superuser_made_go_over_to_their_owner_and_passwords_change(
    postgres_server: PostgresServer,
) -> None:
    cell = "Old-1"
    async with empty_database(postgres_server, roles_of=cell) as admin_url:
        upgrade(admin_url, cell)
        for word in ("first", "second"):
            statements = list(role_statements(cell, dict.fromkeys(POSTGRES_LOGINS, word * 4), admin_url.rpartition("/")[2]))
            assert not any(word in statement for statement in statements)
            await in_postgres(admin_url, *statements)
        upgrade(as_user(admin_url, role_of(cell, OWNER), "second" * 4), cell)
        for login in GRANTS:
            async with session_in(as_user(admin_url, role_of(cell, login), "second" * 4)) as session:
                assert await session.fetchval("SELECT count(*) FROM claims") == 0
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(as_user(admin_url, role_of(cell, login), "first" * 4))
        # The roles of another cell have no business in this database.
        with pytest.raises(DENIED):
            await asyncpg.connect(as_role(admin_url, Login.API))


def test_of_a_password_only_what_cannot_be_used_to_log_in_is_written() -> None:
    kept = scram_of("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
    assert re.fullmatch(r"SCRAM-SHA-256\$4096:W22ZaJ0SNY7soEsUEjb6gQ==\$[\w+/]{43}=:[\w+/]{43}=", kept)
    assert scram_of("pencil") != scram_of("pencil")
