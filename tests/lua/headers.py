"""Comparison of a Lua command with its header: finds every fault in the text of one file.

It reads text, not Lua: it knows the few ways in which these files are written, and finds fault with whatever it cannot read.
What the commands do when they run is for the other tests.
"""

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from grab_service.cell.scripts import ScriptSources
from grab_service.vocabulary.outcomes import Outcome

# By the type of key they are for; TIME has none. A test compares them with what the server says of its commands.
READS_OF_TYPE: Final = {
    "hash": ("HGET", "HMGET", "HGETALL", "HEXISTS", "HLEN", "HSCAN"),
    "list": ("LLEN", "LRANGE"),
    "set": ("SISMEMBER", "SMEMBERS"),
    "stream": ("XRANGE",),
    "zset": ("ZCARD", "ZRANGE", "ZSCORE"),
}
WRITES_OF_TYPE: Final = {
    "hash": ("HSET", "HDEL"),
    "list": ("LTRIM", "RPUSH"),
    "set": ("SADD",),
    "stream": ("XADD",),
    "zset": ("ZADD", "ZREM"),
}
READS: Final = frozenset(name for names in READS_OF_TYPE.values() for name in names)
WRITES: Final = frozenset(name for names in WRITES_OF_TYPE.values() for name in names)
TYPE_OF: Final = {name: kind for table in (READS_OF_TYPE, WRITES_OF_TYPE) for kind, names in table.items() for name in names}
SECTIONS: Final = ("KEYS[1]", "ARGV[1]", "Returns", "Clock:", "Cost:", "Writes:")

_SHEBANG = re.compile(r"#!lua(?: flags=([a-z,-]+))?\n--\[\[\n(.*?)\n\]\]\n(.*)", re.DOTALL)
_HEADER_KEY = re.compile(r"^  KEYS\[(\d+)(\.\.)?\] *(.*)$", re.MULTILINE)
_HEADER_ARGUMENT = re.compile(r"\bARGV\[(\d+)(\.\.)?\]")
_OF_THE_RULES = re.compile(r"^    the refusals of the rules, in the order of lua/plan\.lua;.*$", re.MULTILINE)
_HEADER_OUTCOME = re.compile(r"^    ([a-z][a-z_]*)(?= TAB |  |$)", re.MULTILINE)
_COMMENT = re.compile(r"--[^\n]*")
_CALL = re.compile(r"redis\.p?call\('([A-Z]+)'(?:, KEYS\[([^\]]+)\])?")
# The one function that writes for others: it appends to the key that it is given, and then moves the cell on.
_LOG_DEFINED = re.compile(r"^local function log_append\(.*?^end\n", re.DOTALL | re.MULTILINE)
# What the rules and the plan answer, a command answers that asks them.
_FUNCTION = re.compile(r"^local function \w+\(.*?^end$", re.DOTALL | re.MULTILINE)
_ANSWERS = re.compile(r"local function (?:plan_answer|\w+_(?:prepare|refuse))\(")
_PLAN_CALLED = re.compile(r"(?<!function )\bplan_answer\(")
_MEMBER_ONLY = re.compile(r"^asks_member_only = ", re.MULTILINE)
_LOG_CALLED = re.compile(r"\blog_append\(KEYS\[(\d+)\]")
_WORD = r"'([a-z][a-z_]*)(?:\\t[^']*)?'"
# Where an outcome stands in the code: what is returned first, and what the plan of a grab puts down as an answer.
_PLACES = (
    re.compile(rf"return \{{(?:[^,{{}}]*? and )?{_WORD}(?: or {_WORD})?"),
    re.compile(rf"return {_WORD}"),
    re.compile(rf"\b(?:answer|window_phase) = {_WORD}"),
    re.compile(rf" or {_WORD}$", re.MULTILINE),
    re.compile(rf"\banswers\[[^\]]+\] = {_WORD}"),
    re.compile(rf"\banswers = \{{{_WORD}"),
)


@functools.cache
def _refusals() -> str:
    """The words of the rules as a header lists outcomes."""
    return "\n".join(f"    {word}" for rule in ScriptSources.read().rules for word in rule.outcomes)


@dataclass(frozen=True, slots=True)
class Command:
    """One Lua file, taken apart. Comments of the code are blanked, so that places in it still compare."""

    name: str
    flags: tuple[str, ...]
    header: str
    code: str

    @classmethod
    def parse(cls, name: str, source: str) -> "Command | None":
        """None if it does not even begin as a command must."""
        match = _SHEBANG.fullmatch(source)
        if match is None:
            return None
        flags, header, code = match.groups()
        blanked = _COMMENT.sub(lambda comment: " " * len(comment[0]), code)
        blanked = _LOG_DEFINED.sub("", blanked)
        return cls(name, tuple((flags or "").split(",")) if flags else (), header, blanked)

    @property
    def outcomes(self) -> list[str]:
        """As the header lists them, in order."""
        _, _, returns = self.header.partition("the first that applies:\n")
        listed = _HEADER_OUTCOME.findall(_OF_THE_RULES.sub(_refusals(), returns.partition("\n\n")[0]))
        of_grab = [outcome.value for outcome in Outcome] if "every answer of `grab`" in returns else []
        return [*dict.fromkeys(listed[:1] + of_grab + listed[1:])]

    @property
    def envelopes(self) -> set[str]:
        """Words that the header's `Returns` names as the first of a whole reply, around the answers of a batch."""
        _, _, returns = self.header.partition("\n  Returns ")
        return set(re.findall(r"\{'([a-z_]+)'", returns.partition("the first that applies:")[0]))

    @property
    def calls(self) -> list[tuple[int, str, str]]:
        """(place, command, key) of every call to Redis; key '' where it takes none."""
        called = [(match.start(), match[1], match[2] or "") for match in _CALL.finditer(self.code)]
        for match in _LOG_CALLED.finditer(self.code):
            called += [(match.start(), "XADD", match[1]), (match.start(), "HSET", "1")]
        return sorted(called, key=lambda call: call[0])

    @property
    def words(self) -> list[tuple[int, str]]:
        """(place, outcome) of every outcome in the code."""
        found = {
            (match.start(), word)
            for place in _PLACES
            for match in place.finditer(self.code)
            for word in match.groups()
            if word and (word != "eligible" or _MEMBER_ONLY.search(self.code))
        }
        asks = _PLAN_CALLED.search(self.code) is not None
        others = [match.span() for match in _FUNCTION.finditer(self.code) if not (asks and _ANSWERS.match(match[0]))]
        found = {(at, word) for at, word in found if not any(start <= at < end for start, end in others)}
        return sorted(found)

    @property
    def first_write(self) -> int | None:
        """The place of the first call that writes."""
        return min((at for at, command, _ in self.calls if command in WRITES), default=None)


# Arithmetic on what came from outside fails if that is no number.
_MAY_FAIL = re.compile(r"\b(?:error|assert|tonumber)\(|\b(?:facts|cell|ARGV)\[\d+\] *[-+*/]|[-+*/] *(?:facts|cell|ARGV)\[")

Check = Callable[[Command], Iterator[str]]


def sections(command: Command) -> Iterator[str]:
    if not re.match(rf"  {command.name}: \S", command.header):
        yield f"the header does not begin with `{command.name}: ` and what it does"
    places = [command.header.find(f"\n  {section}") for section in ("KEYS[1]", "ARGV[1]", "Returns ")]
    places += [command.header.find(section) for section in ("Clock:", "Cost:", "Writes:")]
    for section, place in zip(SECTIONS, places, strict=True):
        if place < 0:
            yield f"no section {section}"
    if places != sorted(places):
        yield "the sections are not in order"
    if not command.outcomes:
        yield "no outcomes after `the first that applies:`"


def keys(command: Command) -> Iterator[str]:
    declared = {int(number): (dots, text) for number, dots, text in _HEADER_KEY.findall(command.header)}
    if list(declared) != list(range(1, len(declared) + 1)):
        yield f"keys are not numbered 1..: {list(declared)}"
    open_ended = [number for number, (dots, _) in declared.items() if dots]
    fixed = set(declared) - set(open_ended)
    used = re.findall(r"\bKEYS\[([^\]]+)\]", command.code)
    numbers = {int(key) for key in used if key.isdigit()}
    if numbers != fixed:
        yield f"the header declares KEYS {sorted(fixed)}, the code uses {sorted(numbers)}"
    if any(not key.isdigit() for key in used) != bool(open_ended):
        yield "computed KEYS are declared or used, not both"
    for number, (dots, text) in declared.items():
        if not re.search(r"\b(hash|set|zset|list|stream)\b", text):
            yield f"KEYS[{number}] has no type"
        kind = text.split()[1] if len(text.split()) > 1 else ""
        for _, called, key in command.calls:
            if key == str(number) and not dots and TYPE_OF.get(called) != kind:
                yield f"KEYS[{number}] is declared {kind} and used by {called}"


def arguments(command: Command) -> Iterator[str]:
    declared = [(int(number), bool(dots)) for number, dots in _HEADER_ARGUMENT.findall(command.header)]
    if [number for number, _ in declared] != list(range(1, len(declared) + 1)):
        yield f"arguments are not numbered 1..: {[number for number, _ in declared]}"
    fixed = {number for number, dots in declared if not dots}
    used = {int(number) for number in re.findall(r"\bARGV\[(\d+)\]", command.code)}
    if used != fixed:
        yield f"the header declares ARGV {sorted(fixed)}, the code uses {sorted(used)}"
    computed = re.search(r"\bARGV\b(?!\[\d+\])", command.code) is not None
    if computed != any(dots for _, dots in declared):
        yield "arguments without end are declared or used, not both"


def outcomes(command: Command) -> Iterator[str]:
    listed = set(command.outcomes) | command.envelopes
    if len(command.outcomes) != len(set(command.outcomes)):
        yield "an outcome is listed twice"
    answered = {word for _, word in command.words}
    for outcome in sorted(listed - answered):
        yield f"{outcome} is listed and never answered"
    for outcome in sorted(answered - listed):
        yield f"{outcome} is answered and not listed"


def clock(command: Command) -> Iterator[str]:
    reads = sum(called == "TIME" for _, called, _ in command.calls)
    if "Clock: Redis TIME, read once." in command.header:
        if reads != 1:
            yield f"the clock is read {reads} times"
    elif "Clock: none." not in command.header:
        yield "what the header says of the clock is not known"
    elif reads:
        yield "the clock is read, and the header says it is not"


def writes(command: Command) -> Iterator[str]:
    for _, called, _ in command.calls:
        if called not in READS | WRITES | {"TIME"}:
            yield f"nobody has said yet whether {called} writes"
    if len(command.calls) != len(re.findall(r"\bredis\b", command.code)) + 2 * len(re.findall(r"\blog_append\b", command.code)):
        yield "Redis is called in a way this check does not see"
    promised = "Writes: none." not in command.header
    if promised and not re.search(r"Writes: all after the last refusal[;,] the (?:log|counts) first", command.header):
        yield "what the header says of writes is not known"
    if promised == ("no-writes" in command.flags):
        yield "the flag no-writes and the header disagree"
    if promised != (command.first_write is not None):
        yield "whether it writes and what the header says of it disagree"


def order(command: Command) -> Iterator[str]:
    start = command.first_write
    if start is None:
        return
    before = [(called, key) for at, called, key in command.calls if at < start]
    after = [(called, key) for at, called, key in command.calls if at >= start]
    if after[0][0] != "XADD" or [called for called, _ in after].count("XADD") != 1:
        yield "the first write is not the one XADD"
    for called, _ in after:
        if called in READS | {"TIME"}:
            yield f"{called} is read after the first write"
    seen = {key for called, key in before if called in READS}
    for called, key in after[1:]:
        if key not in seen:
            yield f"{called} writes KEYS[{key}], which was not read before: a wrong type would show too late"
    success = command.outcomes[-1] if command.outcomes else ""
    for at, outcome in command.words:
        if at > start and outcome != success:
            yield f"{outcome} is answered after the first write"
    if re.search(_MAY_FAIL, command.code[start:]):
        yield "something may still fail after the first write"


CHECKS: Final[tuple[Check, ...]] = (sections, keys, arguments, outcomes, clock, writes, order)


def faults_of(name: str, source: str) -> dict[str, list[str]]:
    """What is wrong, by the name of the check that found it; empty is good."""
    command = Command.parse(name, source)
    if command is None:
        return {"shape": ["it does not begin with `#!lua` and a header in --[[ … ]]"]}
    found = {check.__name__: list(check(command)) for check in CHECKS}
    return {check: faults for check, faults in found.items() if faults}
