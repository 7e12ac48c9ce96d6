"""Where do the servers listen that a run in this directory has started?

Read from what they wrote down beside their data. Nothing is started, locked or asked.
"""

from pathlib import Path

from grab_service.servers.ports import LOOPBACK, is_free
from grab_service.servers.postgres import PASSWORD_FILE, USER

DATABASE = "grab"


def remembered_redis_url(var_dir: Path) -> str | None:
    """The address of the Valkey whose data are there, or None if nothing listens where it did."""
    home = var_dir / "valkey"
    port = _listening_port(home)
    password = _read(home / "password")
    return f"redis://:{password}@{LOOPBACK}:{port}/0" if port and password else None


def remembered_database_url(var_dir: Path) -> str | None:
    """The address of the database whose data are there, or None if nothing listens where it did."""
    home = var_dir / "postgres"
    port = _listening_port(home)
    password = _read(home / "data" / PASSWORD_FILE)
    return f"postgresql://{USER}:{password}@{LOOPBACK}:{port}/{DATABASE}" if port and password else None


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
