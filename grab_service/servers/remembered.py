"""Where do the servers listen that a run in this directory has started?

Read from what they wrote down beside their data. Nothing is started, locked or asked.
"""

from pathlib import Path

from grab_service.cell.rights import Login, user_of
from grab_service.servers.passwords import as_user, derived_password
from grab_service.servers.ports import LOOPBACK, is_free
from grab_service.servers.postgres import PASSWORD_FILE
from grab_service.sql.grants import OWNER, role_of

DATABASE = "grab"


def remembered_redis_url(var_dir: Path, cell: str, login: Login) -> str | None:
    """The address of the Valkey whose data are there, for a user of the cell, or None if nothing listens where it did."""
    home = var_dir / "valkey"
    port = _listening_port(home)
    password = _read(home / "password")
    if not port or not password:
        return None
    return as_user(f"redis://{LOOPBACK}:{port}/0", user_of(cell, login), derived_password(password, cell, login.value))


def remembered_database_url(var_dir: Path, cell: str) -> str | None:
    """The address of the database whose data are there, for the owner of its tables; None if nothing listens where it did."""
    home = var_dir / "postgres"
    port = _listening_port(home)
    password = _read(home / "data" / PASSWORD_FILE)
    if not port or not password:
        return None
    url = f"postgresql://{LOOPBACK}:{port}/{DATABASE}"
    return as_user(url, role_of(cell, OWNER), derived_password(password, cell, OWNER))


def _listening_port(home: Path) -> int | None:
    written = _read(home / "port")
    if written is None or not written.isdecimal():
        return None
    return None if is_free(int(written)) else int(written)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None
