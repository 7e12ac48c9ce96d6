"""The rights of each user of Redis: those that its work needs, and no others.

Three users share a cell: the API, the ledger, and the ledger's guard. The calls inside the scripts are read from the scripts
themselves, because Redis checks them against the rights of their caller. EVALSHA cannot be limited to some scripts, so a
user who may call one needs the rights of all: a right that is missing in the middle of a script leaves half of its work.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from grab_service.cell.scripts import ScriptSources
from grab_service.vocabulary.keys import CellKeys


class Login(StrEnum):
    """The programs' logins to the servers. The guard is a part of the ledger, with a connection to Redis of its own."""

    API = "api"
    LEDGER = "ledger"
    GUARD = "guard"


WAIT: Final = "WAIT"
"""Sent behind a grab where replicas must have confirmed it: refused, it would hide what was decided."""

_ASKS_OF_ITSELF: Final = frozenset({"ACL|DRYRUN", "ACL|WHOAMI", "CLUSTER|SLOTS", "HGET", "INFO"})
_AUDITS: Final = frozenset({"EXEC", "HGET", "HLEN", "HMGET", "HSCAN", "LRANGE", "MULTI", "ZRANGE"})

DIRECT: Final[Mapping[Login, frozenset[str]]] = MappingProxyType(
    {
        Login.API: _ASKS_OF_ITSELF | _AUDITS | {"EVALSHA", "HGETALL", "TIME", WAIT},
        Login.LEDGER: _ASKS_OF_ITSELF | _AUDITS | {"EVALSHA", "HGETALL", "HSET", "PING", "XRANGE", "XREAD", "XTRIM"},
        Login.GUARD: _ASKS_OF_ITSELF
        # looks, audits, drains what a lost life still has
        | {"CONFIG|GET", "EXEC", "EXISTS", "HGET", "HGETALL", "HLEN", "HMGET", "LLEN", "MULTI", "PING", "SCRIPT|EXISTS"}
        | {"SMEMBERS", "TIME", "XRANGE", "ZCARD"}
        # closes, rebuilds, arms
        | {"DEL", "HDEL", "HSET", "RPUSH", "SADD", "SCAN", "SCRIPT|LOAD", "UNLINK", "WATCH", "XADD", "ZADD"},
    }
)
"""Commands that each sends by itself, outside of any script. A test sees that each of these is used."""

_KEY: Final = "<key>"
_CALL: Final = re.compile(r"redis\.p?call\('([A-Z]+)'(?:, KEYS\[(\d+)\])?")
_LOG_CALL: Final = re.compile(r"\blog_append\(KEYS\[(\d+)\]")
"""`lua/cell/log.lua` appends to the key that it is given."""
_DECLARED: Final = re.compile(r"^  KEYS\[(\d+)\] +([a-z]+)", re.MULTILINE)
_ANY_CAMPAIGN: Final = "any"
_OF_CELL: Final = ("cell", "log", "members", "campaigns", "counts", "workers")
"""Keys that the scripts write, beside those of campaigns."""

_ARGUMENTS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "ACL|DRYRUN": ("default", "TIME"),
        "ACL|WHOAMI": (),
        "CLUSTER|SLOTS": (),
        "CONFIG|GET": ("appendfsync",),
        "DEL": (_KEY,),
        "EVALSHA": ("0" * 40, "1", _KEY),
        "EXEC": (),
        "EXISTS": (_KEY,),
        "HDEL": (_KEY, "f"),
        "HEXISTS": (_KEY, "f"),
        "HGET": (_KEY, "f"),
        "HGETALL": (_KEY,),
        "HLEN": (_KEY,),
        "HMGET": (_KEY, "f"),
        "HSCAN": (_KEY, "0"),
        "HSET": (_KEY, "f", "v"),
        "INFO": (),
        "LLEN": (_KEY,),
        "LRANGE": (_KEY, "0", "-1"),
        "LTRIM": (_KEY, "0", "-1"),
        "MULTI": (),
        "PING": (),
        "RPUSH": (_KEY, "v"),
        "SADD": (_KEY, "v"),
        "SCAN": ("0",),
        "SCRIPT|EXISTS": ("0" * 40,),
        "SCRIPT|LOAD": ("return 0",),
        "SISMEMBER": (_KEY, "v"),
        "SMEMBERS": (_KEY,),
        "TIME": (),
        "UNLINK": (_KEY,),
        "WAIT": ("0", "1"),
        "WATCH": (_KEY,),
        "XADD": (_KEY, "*", "f", "v"),
        "XRANGE": (_KEY, "-", "+"),
        "XREAD": ("STREAMS", _KEY, "0"),
        "XTRIM": (_KEY, "MINID", "0"),
        "ZADD": (_KEY, "1", "v"),
        "ZCARD": (_KEY,),
        "ZRANGE": (_KEY, "0", "-1"),
        "ZREM": (_KEY, "v"),
        "ZSCORE": (_KEY, "v"),
    }
)
"""A sample of each command for ACL DRYRUN, which carries nothing out but insists on the number of arguments."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One thing to be tried dry. `needed_by` names the script, or the login where it is not a script."""

    needed_by: str
    command: str
    words: tuple[str, ...]

    @classmethod
    def of(cls, needed_by: str, command: str, key: str) -> "Trial":
        """The command on that key, if it takes one."""
        arguments = (key if part == _KEY else part for part in _ARGUMENTS[command])
        return cls(needed_by, command, (*command.split("|"), *arguments))


def user_of(cell: str, login: Login) -> str:
    """The name of a cell's user in Redis; several cells may share a server."""
    return f"grab-{cell}-{login.value}"


def commands_inside(sources: ScriptSources) -> frozenset[str]:
    """All that the scripts of this release call."""
    return frozenset(match[1] for source in sources.by_name.values() for match in _CALL.finditer(source))


def commands_of(login: Login, sources: ScriptSources) -> frozenset[str]:
    """All that this user must be allowed, as Redis names it; `|` before a subcommand."""
    return DIRECT[login] | (commands_inside(sources) if "EVALSHA" in DIRECT[login] else frozenset())


def key_patterns(login: Login, keys: CellKeys) -> tuple[str, ...]:
    """The keys that this user may touch. The table of scripts and the note about the server are written by the guard alone."""
    if login is Login.GUARD:
        return (f"~{keys.prefix}*",)
    whole = (*(getattr(keys, part) for part in _OF_CELL), keys.of_campaign("*").campaign)
    return (*(f"~{name}" for name in whole), f"%R~{keys.scripts}", f"%R~{keys.server}")


def acl_rules(cell: str, login: Login, sources: ScriptSources) -> tuple[str, ...]:
    """The rules of this user as `ACL SETUSER` and the ACL file take them, but for whether it is on and its password."""
    allowed = sorted(command.lower() for command in commands_of(login, sources))
    return ("resetchannels", *key_patterns(login, CellKeys.of(cell)), "-@all", *(f"+{name}" for name in allowed))


def trials_of_scripts(keys: CellKeys, sources: ScriptSources, *, waits: bool) -> tuple[Trial, ...]:
    """Every call inside every script, on a key of the kind that it is made on; and the call of the scripts themselves.

    `waits`: the caller has replicas confirm what a script has done.
    """
    found = {Trial.of("any script", command, keys.cell): None for command in ("EVALSHA", *((WAIT,) if waits else ()))}
    for script, source in sources.by_name.items():
        names = dict(_DECLARED.findall(source))
        calls = [call for call in _CALL.findall(source) if call != ("XADD", "")]
        for command, number in [*calls, *(("XADD", number) for number in _LOG_CALL.findall(source))]:
            found[Trial.of(script, command, _key_called(keys, names.get(number, "")))] = None
    return tuple(found)


def trials_of_guard(keys: CellKeys) -> tuple[Trial, ...]:
    """All that the guard does by itself."""
    return tuple(Trial.of(Login.GUARD.value, command, keys.scripts) for command in sorted(DIRECT[Login.GUARD]))


def _key_called(keys: CellKeys, name: str) -> str:
    """A key of that name in a header; names that a header leaves open are keys of campaigns."""
    campaign = keys.of_campaign(_ANY_CAMPAIGN)
    of_cell = {part: getattr(keys, part) for part in _OF_CELL}
    return str(of_cell.get(name) or getattr(campaign, name, campaign.claims))


def lacking(trials: Iterable[Trial], answers: Iterable[object]) -> list[str]:
    """The refusals of the server, in words: command, purpose, and the server's answer."""
    refused: dict[str, list[str]] = {}
    for trial, answer in zip(trials, answers, strict=True):
        said = answer.decode(errors="replace") if isinstance(answer, bytes) else str(answer)
        if said != "OK":
            refused.setdefault(f"{trial.command.replace('|', ' ')} ({said})", []).append(trial.needed_by)
    return [f"{what}, needed by {', '.join(sorted(set(needs)))}" for what, needs in refused.items()]
