"""Rights of each PostgreSQL role on each table.

The API writes the decisions of members and ops, the ledger the entries of the log. Both may read most tables; only the owner
may change a table's definition. One test compares the list with the tables, another runs everything as these roles.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from sqlalchemy import Connection, text

from grab_service.cell.rights import Login

Rights = Mapping[str, tuple[str, ...]]

_READS: Final = ("SELECT",)
_DRAFT: Final = "version, state, definition, opens_at_ms, closes_at_ms, releases, total, limit_per_member"
_MEMBER: Final = "org_id, person_id, name, tags, birthday_month, joined_on, status, blocked_until_ms, blocked_reason, version"

_API: Final[Rights] = MappingProxyType(
    {
        "alarms": ("SELECT", "UPDATE (acknowledged_at_ms, acknowledged_by, acknowledged_why)"),
        "alembic_version": _READS,
        # Drafts are all its own. It may not touch columns that follow the log after publication: see `policy_statements`.
        "campaigns": (
            "SELECT",
            f"INSERT (campaign_id, {_DRAFT}, created_at_ms)",
            f"UPDATE ({_DRAFT}, closed_at_ms)",
            "DELETE",
        ),
        # A member gives back, or sees the code; everything else that a claim says came from the log.
        "claims": ("SELECT", "UPDATE (state, voucher_state, decided_at_ms, revealed_at_ms)"),
        "checkpoints": _READS,
        "comparisons": _READS,
        "commands": ("SELECT", "INSERT (kind, campaign_id, member_id, claim_seq, reason, created_at_ms)"),
        "claims_seen": ("SELECT", "INSERT"),
        "counts": _READS,
        "lives_seen": ("SELECT", "INSERT", "UPDATE (seq, at_ms)"),
        "epochs": _READS,
        "log_cursor": _READS,
        "make_good_keys": ("SELECT", "INSERT"),
        "log_entries": _READS,
        "members": (
            "SELECT",
            "INSERT",
            f"UPDATE ({_MEMBER})",
        ),
        "ops_log": (
            "SELECT",
            "INSERT (at_ms, actor, role, action, object_id, reason, outcome, detail)",
            "UPDATE (outcome, detail)",
        ),
        "ops_tokens": (
            "SELECT",
            "INSERT (token_id, actor, role, created_at_ms, expires_at_ms)",
            "UPDATE (ended_at_ms)",
        ),
        "orgs": ("SELECT", "INSERT", "UPDATE (name)"),
        "pool_codes": ("SELECT", "INSERT"),
        # To lock the rows that it deletes takes the right to change something in them.
        "used_assertions": ("SELECT", "INSERT", "DELETE", "UPDATE (expires_at_ms)"),
    }
)
_LEDGER: Final[Rights] = MappingProxyType(
    {
        "alarms": ("SELECT", "INSERT (raised_at_ms, kind, detail)", "UPDATE (detail, cleared_at_ms)"),
        "alembic_version": _READS,
        "campaigns": ("SELECT", "UPDATE (published_seq, state, releases, total, closed_at_ms)"),
        "checkpoints": ("SELECT", "INSERT"),
        "claims": ("SELECT", "INSERT", "UPDATE (returned_seq, state, voucher_state, decided_at_ms, code)"),
        "claims_seen": _READS,
        "comparisons": ("SELECT", "INSERT", "UPDATE (compared_at_ms, begun_at_ms, part, cursor, arming)"),
        "commands": ("SELECT", "UPDATE (done_seq, last_outcome)"),
        "counts": ("SELECT", "INSERT", "UPDATE (n)"),
        "counts_cursor": ("SELECT", "INSERT", "UPDATE (last_id)"),
        "epochs": ("SELECT", "INSERT"),
        "lives_seen": ("SELECT", "INSERT", "UPDATE (seq, at_ms)"),
        "log_cursor": ("SELECT", "INSERT", "UPDATE (epoch, last_seq, last_id, at_ms, head)"),
        "log_entries": ("SELECT", "INSERT"),
        "members": _READS,
        "ops_tokens": ("SELECT", "DELETE"),
        "pool_codes": _READS,
        "used_assertions": ("SELECT", "DELETE"),
    }
)
GRANTS: Final[Mapping[Login, Rights]] = MappingProxyType({Login.API: _API, Login.LEDGER: _LEDGER})
SEQUENCES: Final[Mapping[Login, tuple[str, ...]]] = MappingProxyType({Login.API: ("members_version",), Login.LEDGER: ()})

OWNER: Final = "owner"
"""The role that `grab migrate` runs as: the tables are its own."""

_ROLES_THERE: Final = text("SELECT rolname FROM pg_roles WHERE rolname = ANY(:names)")


def role_of(cell: str, who: str) -> str:
    """The name of a cell's role in PostgreSQL; several cells may share a server, each with a database of its own."""
    return f"grab_{cell}_{who}"


def quoted(name: str) -> str:
    """A name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


def grant_statements(cell: str, login: Login) -> Iterator[str]:
    """Statements that give a role these rights and take all others away, to be run in one transaction by the tables' owner."""
    role = quoted(role_of(cell, login))
    yield f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}"
    yield f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {role}"
    for table, rights in GRANTS[login].items():
        yield f"GRANT {', '.join(rights)} ON {table} TO {role}"
    for sequence in SEQUENCES[login]:
        yield f"GRANT USAGE ON SEQUENCE {sequence} TO {role}"


def policy_statements(cell: str) -> Iterator[str]:
    """What keeps the API's role from published campaigns: their state, releases and total follow the log."""
    api, ledger = (quoted(role_of(cell, login)) for login in (Login.API, Login.LEDGER))
    yield "ALTER TABLE campaigns ENABLE ROW LEVEL SECURITY"
    for what in ("all_are_read", "drafts_are_written", "drafts_are_changed", "drafts_are_deleted", "follow"):
        yield f"DROP POLICY IF EXISTS campaigns_{what} ON campaigns"
    yield f"CREATE POLICY campaigns_all_are_read ON campaigns FOR SELECT TO {api}, {ledger} USING (true)"
    yield f"CREATE POLICY campaigns_drafts_are_written ON campaigns FOR INSERT TO {api} WITH CHECK (published_seq IS NULL)"
    yield f"CREATE POLICY campaigns_drafts_are_changed ON campaigns FOR UPDATE TO {api} USING (published_seq IS NULL)"
    yield (
        f"CREATE POLICY campaigns_drafts_are_deleted ON campaigns FOR DELETE TO {api}"
        " USING (published_seq IS NULL AND state = 'draft')"
    )
    yield f"CREATE POLICY campaigns_follow ON campaigns FOR UPDATE TO {ledger} USING (true)"


def grant_all(connection: Connection, cell: str) -> None:
    """Give the cell's roles their rights, as far as there are such roles; done again after every change of the tables."""
    names = {role_of(cell, login) for login in GRANTS}
    there = set(connection.execute(_ROLES_THERE, {"names": sorted(names)}).scalars())
    for login in GRANTS:
        if role_of(cell, login) in there:
            for statement in grant_statements(cell, login):
                connection.execute(text(statement))
    if there == names:
        for statement in policy_statements(cell):
            connection.execute(text(statement))
