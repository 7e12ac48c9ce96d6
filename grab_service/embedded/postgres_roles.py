"""Creation of a cell's roles in PostgreSQL.

The statements may be repeated; they need a superuser, or the database's owner with the right to create roles. They hold no
passwords, only the verifiers that PostgreSQL keeps (SCRAM), because statements end in logs.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Iterator, Mapping
from typing import Final

from grab_service.sql.grants import GRANTS, OWNER, quoted, role_of

POSTGRES_LOGINS: Final = (*(login.value for login in GRANTS), OWNER)
"""The programs that log in there; the guard does as the ledger."""

_ITERATIONS: Final = 4096
_SALT_BYTES: Final = 16

# All objects that an earlier release, or a superuser, has made; extensions keep theirs.
_TAKE_OVER: Final = """DO $take$ DECLARE one record; BEGIN
  FOR one IN SELECT oid::regclass AS name, relkind FROM pg_class
             WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'S') AND relowner <> {owner}::regrole
               AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype IN ('e', 'i', 'a')) LOOP
    EXECUTE format('ALTER %s %s OWNER TO %I', CASE one.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, one.name, {name});
  END LOOP;
  FOR one IN SELECT oid::regprocedure AS name FROM pg_proc
             WHERE pronamespace = 'public'::regnamespace AND proowner <> {owner}::regrole
               AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e') LOOP
    EXECUTE format('ALTER FUNCTION %s OWNER TO %I', one.name, {name});
  END LOOP;
END $take$"""


def role_statements(cell: str, passwords: Mapping[str, str], database: str) -> Iterator[str]:
    """What makes the roles of a cell, or sets their passwords anew, and opens the database to them alone.

    Args:
        cell: whose roles.
        passwords: of `Login.API`, `Login.LEDGER` and, if the tables are to belong to a role of their own, of `OWNER`.
        database: where the tables are.
    """
    for who, password in passwords.items():
        name = role_of(cell, who)
        yield (
            f"DO $make$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') "
            f"THEN CREATE ROLE {quoted(name)} LOGIN; END IF; END $make$"
        )
        yield f"ALTER ROLE {quoted(name)} LOGIN PASSWORD '{scram_of(password)}'"
    yield "REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    yield f"REVOKE ALL ON DATABASE {quoted(database)} FROM PUBLIC"
    users = ", ".join(quoted(role_of(cell, login)) for login in GRANTS)
    yield f"GRANT CONNECT ON DATABASE {quoted(database)} TO {users}"
    yield f"GRANT USAGE ON SCHEMA public TO {users}"
    if OWNER in passwords:
        owner = role_of(cell, OWNER)
        yield f"ALTER DATABASE {quoted(database)} OWNER TO {quoted(owner)}"
        yield f"GRANT USAGE, CREATE ON SCHEMA public TO {quoted(owner)}"
        yield _TAKE_OVER.format(owner=f"'{quoted(owner)}'", name=f"'{owner}'")


def scram_of(password: str, salt: bytes | None = None) -> str:
    """What PostgreSQL keeps of a password, and what cannot be used to log in."""
    salt = os.urandom(_SALT_BYTES) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    written = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return "SCRAM-SHA-256${}:{}${}:{}".format(_ITERATIONS, *written)
