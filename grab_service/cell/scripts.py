"""The scripts of this release, and the SHA of each in Redis.

Redis forgets its scripts when it restarts and when another replica takes over: that is the trip-wire. So nobody but the guard
loads them, and a fresh nonce is baked into each at every arming, which gives them other SHAs than in any life before.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

NONCE_MARK: Final = "@nonce@"
GRAB: Final = "grab"
COMMANDS: Final = "commands"
"""The folder of the commands; all other files are partials, pieces of text that commands have in common."""
USE: Final = "--@use "
COLLECT: Final = "--@collect\n"
STATE: Final = "state"
"""The field of a campaign's hash that is there if the campaign is."""
_LISTS: Final = re.compile(r"^  (outcomes|fields|counters): (.+)$", re.MULTILINE)
_RULES: Final = re.compile(r"^local RULES = \{([a-z_, ]+)\}$", re.MULTILINE)
_HEADER: Final = re.compile(r"\A--\[\[\n.*?\n\]\]\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of `lua/rules/`, as its header describes it."""

    name: str
    outcomes: tuple[str, ...]
    fields: tuple[str, ...]
    counters: tuple[str, ...]

    @classmethod
    def read(cls, name: str, text: str) -> "Rule":
        """From the text of its file."""
        header = _HEADER.match(text)
        assert header is not None, f"the rule {name} has no header"
        lists = {word: tuple(re.split(", *", items)) for word, items in _LISTS.findall(header[0])}
        return cls(name, lists.get("outcomes", ()), lists.get("fields", ()), lists.get("counters", ()))


@dataclass(frozen=True, slots=True)
class ScriptSources:
    """The commands of this release by name, with their partials in place; `digest` tells releases apart."""

    by_name: dict[str, str]
    digest: str
    rules: tuple[Rule, ...] = ()
    """In their order of precedence."""

    @classmethod
    def read(cls) -> "ScriptSources":
        """Read the files shipped in the package, or the checkout's `lua/` when run from there."""
        packaged = files("grab_service") / "lua"
        folder = packaged if packaged.is_dir() else Path(__file__).parents[2] / "lua"
        partials = {
            f"{kind.name}/{name}": text
            for kind in _folders(folder)
            if kind.name != COMMANDS
            for name, text in _texts(kind).items()
        } | _texts(folder)
        by_name = {name: expand(text, partials) for name, text in _texts(folder / COMMANDS).items()}
        assert GRAB in by_name, f"no scripts in {folder}"
        assert all(source.count(NONCE_MARK) == 1 for source in by_name.values()), "a script without its nonce"
        whole = hashlib.sha256("\0".join(f"{name}\0{source}" for name, source in by_name.items()).encode())
        return cls(by_name, whole.hexdigest()[:12], tuple(rules_of(partials)))

    def bake(self, nonce: str) -> dict[str, str]:
        """The sources with the nonce in them, in the order in which to load them: the grab comes last."""
        names = sorted(self.by_name, key=lambda name: (name == GRAB, name))
        return {name: self.by_name[name].replace(NONCE_MARK, nonce) for name in names}

    def table_field(self, name: str) -> str:
        """The field of the cell's table of scripts that holds the SHA of a script of this release."""
        return f"{self.digest}:{name}"


def rules_of(partials: Mapping[str, str]) -> list[Rule]:
    """The rules in their order of precedence, which `lua/plan.lua` lists."""
    listed = _RULES.search(partials["plan"])
    assert listed is not None, "lua/plan.lua lists no rules"
    return [Rule.read(name, partials[f"rules/{name}"]) for name in listed[1].split(", ")]


def expand(text: str, partials: Mapping[str, str]) -> str:
    """Replace each line `--@use NAME` by that partial, and `--@use FOLDER/*` by all of a folder, in alphabetical order.

    The header of a partial, its first comment, is left out. A partial stands in a command once, and names no other partial.
    `--@collect` becomes what the rules declare, as Lua: made once here, because Lua would make it in every call.

    Raises:
        KeyError: there is no such partial.
    """
    lines: list[str] = []
    for line in text.splitlines(keepends=True):
        if not line.startswith(USE):
            lines.append(line)
            continue
        wanted = line.removeprefix(USE).strip()
        of_folder = [name for name in sorted(partials) if f"{name.rpartition('/')[0]}/*" == wanted]
        lines += [_HEADER.sub("", partials[name], count=1) for name in of_folder or [wanted]]
    whole = "".join(lines)
    return whole.replace(COLLECT, _collected(rules_of(partials))) if COLLECT in whole else whole


def _collected(rules: Sequence[Rule]) -> str:
    published = list(dict.fromkeys(name for rule in rules for name in rule.fields if name != STATE))
    counters = [name for rule in rules for name in rule.counters]
    fields = list(dict.fromkeys([STATE, *published, *counters]))
    values = [f"{name} = {f'tonumber(v[{n}])' if name in counters else f'v[{n}]'}" for n, name in enumerate(fields, start=1)]
    written = [f"'{name}', string.format('%.0f', campaign.{name})" for name in counters]
    return (
        f"plan.FIELDS = {_list(fields)}\n"
        f"function plan.published()\n  return {_list(published)}\nend\n"
        f"function plan.counters()\n  return {_list(counters)}\nend\n"
        f"function plan.campaign_of(v)\n  return v[1] and {{{', '.join(values)}}}\nend\n"
        f"function plan.counters_of(campaign)\n  return {{{', '.join(written)}}}\nend\n"
    )


def _list(names: Sequence[str]) -> str:
    return "{" + ", ".join(f"'{name}'" for name in names) + "}"


def _folders(folder: Traversable) -> list[Traversable]:
    return sorted((entry for entry in folder.iterdir() if entry.is_dir()), key=lambda entry: entry.name)


def _texts(folder: Traversable) -> dict[str, str]:
    """The Lua files right in a folder, by name, without `.lua`."""
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    return {e.name.removesuffix(".lua"): e.read_text(encoding="utf-8") for e in entries if e.name.endswith(".lua")}


def new_nonce() -> str:
    """A nonce never used before, for one arming."""
    return secrets.token_hex(8)


def sha_of(source: str) -> str:
    """The name Redis gives to a script."""
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
