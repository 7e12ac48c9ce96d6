"""The scripts of this release, and the SHA of each in Redis.

Redis forgets its scripts when it restarts and when another replica takes over: that is the trip-wire. So nobody but the guard
loads them, and a fresh nonce is baked into each at every arming, which gives them other SHAs than in any life before.
"""

import hashlib
import re
import secrets
from collections import Counter
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
STATE: Final = "state"
"""The field of a campaign's hash that is there if the campaign is."""
_LISTS: Final = re.compile(r"^  (outcomes|fields|counters|about): (.+)$", re.MULTILINE)
_ORDER: Final = re.compile(r"^  order: (.+)$", re.MULTILINE)
_FROM_RULES: Final = re.compile(r"^( *)--@(\w+)\n", re.MULTILINE)
_FUNCTION: Final = re.compile(r"^local function (\w+)\(.*?^end\n", re.MULTILINE | re.DOTALL)
_COMMENT: Final = re.compile(r"--[^\n]*")
_HEADER: Final = re.compile(r"\A--\[\[\n.*?\n\]\]\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of `lua/rules/`, as its header describes it."""

    name: str
    outcomes: tuple[str, ...]
    fields: tuple[str, ...]
    counters: tuple[str, ...]
    of_the_moment: bool
    """About the hour or the stock: left out of the question whether a member may take part at all."""

    functions: frozenset[str]
    """Which it has of `applies`, `prepare`, `refuse`, `take` and `give_back`."""

    @classmethod
    def read(cls, name: str, text: str) -> "Rule":
        """From the text of its file."""
        header = _HEADER.match(text)
        assert header is not None, f"the rule {name} has no header"
        lists = {word: tuple(re.split(", *", items)) for word, items in _LISTS.findall(header[0])}
        functions = re.findall(rf"^local function {name}_([a-z_]+)\(", text, re.MULTILINE)
        of_the_moment = lists.get("about") == ("moment",)
        outcomes, fields, counters = (lists.get(word, ()) for word in ("outcomes", "fields", "counters"))
        return cls(name, outcomes, fields, counters, of_the_moment, frozenset(functions))

    def asked(self, function: str, condition: str = "") -> str:
        """The call of one of its functions, left out where the campaign does not use the rule."""
        used = f"campaign.uses_{self.name} and " if "applies" in self.functions else ""
        return f"{condition}{used}{self.name}_{function}(campaign, wish)"


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
    """The rules in their order of precedence, which the header of `lua/plan.lua` gives."""
    order = _ORDER.search(partials["plan"])
    assert order is not None, "lua/plan.lua gives no order of the rules"
    return [Rule.read(name, partials[f"rules/{name}"]) for name in order[1].split(", ")]


def expand(text: str, partials: Mapping[str, str]) -> str:
    """Replace each line `--@use NAME` by that partial, and `--@use FOLDER/*` by all of a folder, in alphabetical order.

    The header of a partial, its first comment, is left out. A partial stands in a command once, and names no other partial.
    A line `--@NAME` becomes lines that are made from what the rules declare (`_lines_of`). Redis makes every function of a
    script anew in every call. So the rules are called by name, and functions that the command does not use are left out.

    Raises:
        KeyError: there is no such partial, or nothing of that name is made from the rules.
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
    if _FROM_RULES.search(whole):
        made = _lines_of(rules_of(partials))
        whole = _FROM_RULES.sub(lambda line: "".join(f"{line[1]}{text}\n" for text in made[line[2]]), whole)
    return _without_unused(whole)


def _lines_of(rules: Sequence[Rule]) -> dict[str, list[str]]:
    """What the rules declare, as lines of Lua, by the name under which a partial or a command asks for them."""
    published = list(dict.fromkeys(name for rule in rules for name in rule.fields if name != STATE))
    counters = [name for rule in rules for name in rule.counters]
    fields = list(dict.fromkeys([STATE, *published, *counters]))
    values = [f"{name} = {f'tonumber(v[{n}])' if name in counters else f'v[{n}]'}" for n, name in enumerate(fields, start=1)]
    refusals = [r.asked("refuse", "not asks_member_only and " if r.of_the_moment else "") for r in rules]
    return {
        "campaign": [
            f"local v = redis.call('HMGET', KEYS[2], {_quoted(fields)})",
            f"local campaign = v[1] and {{{', '.join(values)}}}",
        ],
        "published_fields": [f"local fields = {{{_quoted(published)}}}"],
        "counter_names": [f"local names = {{{_quoted(counters)}}}"],
        "counters": ["local counters = {"]
        + [f"  '{name}', string.format('%.0f', campaign.{name})," for name in counters]
        + ["}"],
        "prepare": [f"{r.name}_prepare(campaign, now_ms)" for r in rules if "prepare" in r.functions]
        + [f"campaign.uses_{r.name} = {r.name}_applies(campaign)" for r in rules if "applies" in r.functions],
        "refuse": ["local word = " + "\n    or ".join(refusals)],
        "take": ["local parts, part = '', nil"]
        + [
            f"part = {r.asked('take')}; if part then parts = parts .. '\\t' .. part end" for r in rules if "take" in r.functions
        ],
        "give_back": [f"{r.name}_give_back(campaign, given)" for r in rules if "give_back" in r.functions],
    }


def _without_unused(text: str) -> str:
    """The same without local functions that nothing in it names, comments aside."""
    names = Counter(re.findall(r"\w+", _COMMENT.sub("", text)))
    for function in _FUNCTION.finditer(text):
        if names[function[1]] == 1:
            return _without_unused(text.replace(function[0], ""))
    return text


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


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
