"""Addresses of Redis and PostgreSQL: parsing, and the forms that are accepted.

The one place for all programs: an address means the same to each of them, or none of them takes it. Known parameters are handed
on; one that is not known, or that would replace what the programs rely on, is refused when the settings are read.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

REDIS_EXAMPLE: Final = "redis://:password@host:6379/0"
POSTGRES_EXAMPLE: Final = "postgresql://user:password@host:5432/database"
CONNECT_TIMEOUT_MAX_S: Final = 60.0
HOSTS_MAX: Final = 16

_TLS_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_REDIS_PARAMETERS: Final = (*_TLS_FILES, "ssl_cert_reqs", "ssl_check_hostname", "socket_connect_timeout", "db")
_REDIS_FIXED: Final = frozenset(
    {"client_name", "connection_class", "decode_responses", "encoding", "encoding_errors", "health_check_interval",
     "max_connections", "protocol", "retry_on_error", "retry_on_timeout", "single_connection_client", "socket_timeout",
     "timeout"}
)  # fmt: skip

_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SESSIONS: Final = ("any", "primary", "read-write")
_POSTGRES_HANDED_ON: Final = (
    "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslnegotiation", "ssl_min_protocol_version",
    "ssl_max_protocol_version", "target_session_attrs", "passfile",
)  # fmt: skip
_POSTGRES_PARAMETERS: Final = (*_POSTGRES_HANDED_ON, "application_name", "connect_timeout", "host", "options", "port")
_SESSION_FIXED: Final = frozenset(
    {"bytea_output", "client_encoding", "datestyle", "default_transaction_deferrable", "default_transaction_isolation",
     "default_transaction_read_only", "idle_in_transaction_session_timeout", "idle_session_timeout", "intervalstyle",
     "row_security", "search_path", "session_replication_role", "standard_conforming_strings", "statement_timeout",
     "synchronous_commit", "timezone", "transaction_timeout"}
)  # fmt: skip
_OPTION: Final = re.compile(r"(?:-c\s*|--)([A-Za-z_][A-Za-z0-9_.-]*)=((?:\\.|[^\s\\])*)")
_SECRET_PARAMETER: Final = re.compile(r"((?:^|[?&\s;])(?:ssl)?password\s*=)[^&\s;]*", re.IGNORECASE)


class AddressError(ValueError):
    """An address cannot be used; the message says why, and shows no password."""


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Address of Redis, and the options of connections.

    Attributes:
        nodes: (host, port) of one server, or of several nodes of one cluster; empty for a Unix socket.
        socket: the path of a Unix socket, or empty.
        user, password: empty where there is none.
        database: its number; a cluster has 0 alone.
        tls: whether the connection is encrypted; the server's certificate is verified then, its name too.
        files: of TLS, by redis-py's name: `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`.
        connect_timeout_s: None: the caller's own.
    """

    nodes: tuple[tuple[str, int], ...]
    socket: str
    user: str
    password: str
    database: int
    tls: bool
    files: Mapping[str, str]
    connect_timeout_s: float | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `redis://`, `rediss://` (TLS) or `unix://`.

        Raises:
            AddressError: it is none, or it holds what cannot be handed on.
        """
        parts, query = _split(text, ("redis", "rediss", "unix"), REDIS_EXAMPLE)
        for name in query:
            if name in _REDIS_FIXED:
                raise AddressError(f"the parameter {name} would replace what the programs rely on; leave it out")
            _known(name, _REDIS_PARAMETERS, REDIS_EXAMPLE)
        user, password = _login(parts)
        is_socket, tls = parts.scheme == "unix", parts.scheme == "rediss"
        if not tls and any(name.startswith("ssl_") for name in query):
            raise AddressError("parameters of TLS belong to an address that begins with rediss://")
        if query.get("ssl_cert_reqs", "required") != "required" or query.get("ssl_check_hostname", "true").lower() != "true":
            raise AddressError("TLS without verification is not offered; name the CA's file by ssl_ca_certs")
        database = query.get("db", "") if is_socket else parts.path.removeprefix("/") or query.get("db", "")
        if not is_socket and "db" in query and query["db"] != database:
            raise AddressError("the database stands in the path and in db, and they differ")
        if database and not re.fullmatch(r"[0-9]{1,4}", database):
            raise AddressError(f"{database[:40]!r} is no number of a database; write {REDIS_EXAMPLE}")
        nodes = _hosts(parts, 6379)
        if is_socket == bool(nodes) or (is_socket and not parts.path):
            raise AddressError(
                "a Unix socket is written unix:///path/of.sock" if is_socket else f"it names no host; write {REDIS_EXAMPLE}"
            )
        if len(nodes) > 1 and database not in ("", "0"):
            raise AddressError("several nodes are those of a cluster, which has database 0 alone")
        return cls(
            nodes=nodes,
            socket=unquote(parts.path) if is_socket else "",
            user=user,
            password=password,
            database=int(database or 0),
            tls=tls,
            files={name: _file(query[name], name) for name in _TLS_FILES if name in query},
            connect_timeout_s=_seconds(query, "socket_connect_timeout"),
        )

    def at(self, host: str, port: int) -> "RedisAddress":
        """Another node, spoken to in the same way."""
        return replace(self, nodes=((host, port),))

    def settings(self, connect_timeout_s: float) -> dict[str, Any]:
        """Arguments for a connection of redis-py; `connect_timeout_s` is used unless the address names another."""
        common: dict[str, Any] = {
            "db": self.database,
            "username": self.user or None,
            "password": self.password or None,
            "socket_connect_timeout": self.connect_timeout_s or connect_timeout_s,
        }
        if self.socket:
            return {"path": self.socket, **common}
        host, port = self.nodes[0]
        verified = {"ssl_cert_reqs": "required", "ssl_check_hostname": True, **self.files} if self.tls else {}
        return {"host": host, "port": port, **common, **verified}


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """Address of a database, and the options of connections.

    Attributes:
        user, database: empty where none is named: libpq's variables and defaults count then.
        dsn: for the driver, with what it understands of the parameters and no other.
        connect_timeout_s: None: the caller's own.
        application_name: what `pg_stat_activity` shows; empty: the caller's own.
        options: settings of the session, by name.
    """

    user: str
    database: str
    dsn: str
    connect_timeout_s: float | None
    application_name: str
    options: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address as libpq writes it, or as SQLAlchemy does (`postgresql+asyncpg://`).

        Raises:
            AddressError: it is none, or it holds what cannot be handed on.
        """
        parts, query = _split(text, ("postgresql", "postgres", "postgresql+asyncpg"), POSTGRES_EXAMPLE)
        for name in query:
            _known(name, _POSTGRES_PARAMETERS, POSTGRES_EXAMPLE)
        user, password = _login(parts)
        hosts = _hosts(parts, 5432)
        if hosts and ("host" in query or "port" in query):
            raise AddressError("the host stands before the path and in the parameters; name it once")
        if query.get("sslmode", "prefer") not in _SSL_MODES:
            raise AddressError(f"sslmode is one of {', '.join(_SSL_MODES)}")
        if query.get("target_session_attrs", "any") not in _SESSIONS:
            raise AddressError(f"target_session_attrs is one of {', '.join(_SESSIONS)}: a standby takes no claims")
        for name in ("sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile"):
            if name in query:
                _file(query[name], name)
        if "port" in query and not all(_is_port(port) for port in query["port"].split(",")):
            raise AddressError("port is a number from 1 to 65535")
        handed_on: dict[str, str] = {name: query[name] for name in (*_POSTGRES_HANDED_ON, "host", "port") if name in query}
        _, at, netloc = parts.netloc.rpartition("@")
        login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
        return cls(
            user=user,
            database=unquote(parts.path.removeprefix("/")),
            dsn=f"postgresql://{login}{at}{netloc}{parts.path}" + (f"?{urlencode(handed_on)}" if handed_on else ""),
            connect_timeout_s=_seconds(query, "connect_timeout"),
            application_name=query.get("application_name", ""),
            options=_options(query.get("options", "")),
        )


def masked(text: str) -> str:
    """The address as it may be shown, whether it can be read or not: everything that may be a password is `***`.

    It looks at the text alone, because a password that is not percent-encoded is where no reader of addresses expects it.
    """
    text = _SECRET_PARAMETER.sub(r"\1***", text)
    scheme, found, rest = text.partition("://")
    if not found:
        return text
    login, at, host = rest.rpartition("@")
    if at:
        name, colon, _ = login.partition(":")
        return f"{scheme}://{name}{':***' if colon else ''}@{host}"
    # Without an @ whatever follows a colon and is no port may be a password whose @ was lost.
    host, colon, after = rest.partition(":")
    if colon and not rest.startswith("[") and not re.match(r"[0-9]{1,5}(?:[/?,]|$)", after):
        return f"{scheme}://{host}:***"
    return text


def _split(text: str, schemes: tuple[str, ...], example: str) -> tuple[SplitResult, dict[str, str]]:
    scheme = text.partition("://")[0].lower()
    if scheme not in schemes:
        raise AddressError(f"it does not begin with {' or '.join(f'{known}://' for known in schemes)}; write {example}")
    if any(ord(character) <= 0x20 or ord(character) == 0x7F for character in text):
        raise AddressError(f"it holds white space or a control character; write {example}")
    try:
        parts = urlsplit(text)
    except ValueError:
        raise AddressError(f"its host cannot be read; write {example}") from None
    if parts.fragment or text.endswith("#"):
        raise AddressError("it holds a #; in a user name or a password write %23")
    if "@" in parts.path or "@" in parts.query or parts.netloc.count("@") > 1:
        raise AddressError("a user name or a password holds /, ? or @; write %2F, %3F, %40 there")
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise AddressError("its parameters are not written name=value, with & between") from None
    query = dict(pairs)
    if len(query) < len(pairs):
        raise AddressError("a parameter stands twice")
    if empty := next((name for name, value in pairs if not value), None):
        raise AddressError(f"the parameter {empty[:40]!r} is empty")
    if secret := query.keys() & {"password", "sslpassword", "user", "username", "dbname", "database"}:
        raise AddressError(f"{min(secret)} stands among the parameters; write {example}")
    return parts, query


def _known(name: str, known: tuple[str, ...], example: str) -> None:
    if name not in known:
        raise AddressError(
            f"the parameter {name[:40]!r} is not known; known are {', '.join(sorted(known))}; without any it is {example}"
        )


def _login(parts: SplitResult) -> tuple[str, str]:
    login = parts.netloc.rpartition("@")[0]
    user, _, password = login.partition(":")
    return unquote(user), unquote(password)


def _hosts(parts: SplitResult, default_port: int) -> tuple[tuple[str, int], ...]:
    """Hosts and ports, with commas between."""
    netloc = parts.netloc.rpartition("@")[2]
    if not netloc:
        return ()
    hosts = []
    for entry in netloc.split(","):
        found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+(?:%25[\w.-]+)?\]|[^\[\]:]*)(?::([0-9]*))?", entry)
        if found is None or (found[2] and not _is_port(found[2])):
            raise AddressError("its host and port cannot be read; special characters of a password are written %2F, %23, %40")
        host = unquote(found[1].strip("[]"))
        if not host:
            raise AddressError("it names a port, or a comma, and no host beside it")
        hosts.append((host, int(found[2] or default_port)))
    if len(hosts) > HOSTS_MAX:
        raise AddressError(f"it names more than {HOSTS_MAX} hosts")
    return tuple(hosts)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= 65535


def _file(path: str, name: str) -> str:
    if not Path(path).is_file():
        raise AddressError(f"{name} names {path[:200]!r}, where no file is")
    return path


def _seconds(query: Mapping[str, str], name: str) -> float | None:
    if name not in query:
        return None
    if not re.fullmatch(r"[0-9]{1,3}(?:\.[0-9]{1,3})?", query[name]) or not 0 < float(query[name]) <= CONNECT_TIMEOUT_MAX_S:
        raise AddressError(f"{name} is a number of seconds, more than 0 and at most {CONNECT_TIMEOUT_MAX_S:.0f}")
    return float(query[name])


def _options(text: str) -> dict[str, str]:
    """Settings of a session, as `options` of libpq writes them: `-c name=value`, a backslash before a space."""
    rest = _OPTION.sub("", text)
    if rest.strip():
        raise AddressError("options are written -c name=value, percent-encoded: -c%20lock_timeout%3D5s")
    found = {name.lower().replace("-", "_"): re.sub(r"\\(.)", r"\1", value) for name, value in _OPTION.findall(text)}
    if fixed := found.keys() & _SESSION_FIXED:
        raise AddressError(f"options set {', '.join(sorted(fixed))}, which the programs rely on; leave it out")
    return found
