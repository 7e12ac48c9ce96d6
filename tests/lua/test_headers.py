"""Every Lua command is held to its header, and each check notices a drift."""

import re
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from grab_service.audit.counters import COUNTERS
from grab_service.cell.scripts import GRAB, USE, ScriptSources, expand
from grab_service.vocabulary.outcomes import Outcome
from tests.lua.headers import CHECKS, READS, WRITES, Command, faults_of
from tests.rules import COUNTERS as OF_THE_MODEL

NAMES = sorted(ScriptSources.read().by_name)

# (which check must find it, in which file, what is written there, what is written instead)
DRIFT = [
    ("shape", "grab", "#!lua\n", "-- grab\n"),
    ("shape", "tail", "--[[", "--"),
    ("sections", "tail", "  tail: the", "  tale: the"),
    ("sections", "set_state", "Clock: ", "Time: "),
    ("sections", "set_state", "Cost: O(1).", ""),
    ("sections", "load_codes", "Writes: all", "Writing: all"),
    ("sections", "load_codes", "\n  Returns {", "\n  Answers {"),
    ("sections", "return_unit", "the first that applies:", "one of:"),
    ("keys", "set_state", "  KEYS[3] log       stream  one {type=state_set} per change\n", ""),
    ("keys", "set_state", "log_append(KEYS[3]", "log_append(KEYS[4]"),
    ("keys", "return_unit", "KEYS[5] returns   hash", "KEYS[5] returns   zset"),
    ("keys", "return_unit", "KEYS[6] codes     list ", "KEYS[6] codes          "),
    ("keys", "snapshot", "KEYS[3..]  ", "KEYS[3]  "),
    ("keys", "grab", "KEYS[6] codes", "KEYS[10] codes"),
    ("arguments", "set_state", "ARGV[3] action", "ARGV[4] action"),
    ("arguments", "set_state", "TARGETS[ARGV[3]]", "TARGETS[ARGV[2]]"),
    ("arguments", "grab", "ARGV[5..] triples", "ARGV[5] triples"),
    ("arguments", "read_claims", "     ARGV[2] member_id", ""),
    ("outcomes", "set_state", "    wrong_state  ", "    bad_state  "),
    ("outcomes", "set_state", "{'already', cell[2], state}", "{'same', cell[2], state}"),
    ("outcomes", "grab", "    the refusals of the rules, in the order of", "    what the rules say, in the order of"),
    ("outcomes", "grab", "return 'sold_out'", "return 'gone'"),
    ("outcomes", "grab", "window_phase = 'ended'", "window_phase = 'over'"),
    ("outcomes", "explain", "    eligible  ", "    may_win  "),
    ("outcomes", "publish_campaign", "'already' or 'published_before'", "'already' or 'other'"),
    ("outcomes", "publish_campaign", "    too_few_codes TAB loaded TAB total\n", ""),
    ("outcomes", "tail", "    tailed   ", "    went_back   "),
    ("clock", "grab", "local time = redis.call('TIME')", "local time = redis.call('TIME') redis.call('TIME')"),
    ("clock", "grab", "Clock: Redis TIME, read once.", "Clock: none."),
    ("clock", "read_claims", "Clock: none.", "Clock: Redis TIME, read once."),
    ("clock", "read_claims", "Clock: none.", "Clock: the caller's."),
    ("writes", "tail", "flags=no-writes", "flags=allow-stale"),
    ("writes", "tail", "local entries = {}", "local entries = {} redis.call('HSET', KEYS[1], 'seen', ARGV[2])"),
    ("writes", "tail", "Writes: none.", "Writes: all after the last refusal, the log first."),
    ("writes", "set_state", "#!lua\n", "#!lua flags=no-writes\n"),
    ("writes", "set_state", "the log first.", "in no order."),
    ("writes", "set_state", "redis.call('HSET', KEYS[2]", "redis.call('HSETNX', KEYS[2]"),
    ("writes", "set_state", "redis.call('HSET', KEYS[2]", "local call = redis.call; call('HSET', KEYS[2]"),
    ("order", "set_state", "local facts =", "redis.call('HSET', KEYS[1], 'asked', '1') local facts ="),
    ("order", "load_codes", "redis.call('LLEN', KEYS[3])", ""),
    ("order", "note_counts", "local noted = redis.call('HGETALL', KEYS[3])", "local noted = {}"),
    ("order", "return_unit", "redis.call('ZSCORE', KEYS[4], given.unit_no)", ""),
    ("order", "set_state", "return {'state_set'", "if target == 'x' then return {'wrong_state'} end return {'state_set'"),
    (
        "order",
        "grab",
        "  if campaign.units_reused > 0 then",
        "  redis.call('HGET', KEYS[1], 'seq') if campaign.units_reused > 0 then",
    ),
    ("order", "publish_members", "if #fields > 0 then", "assert(#fields > 0) if #fields > 0 then"),
    (
        "order",
        "return_unit",
        "redis.call('HSET', KEYS[5], ARGV[4], seq)",
        "redis.call('HSET', KEYS[5], tonumber(ARGV[4]), seq)",
    ),
    ("order", "grab", "  answers[4] = last_seq", "  redis.call('XADD', KEYS[8], '*') answers[4] = last_seq"),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_command_is_what_its_header_says(name: str, sources: ScriptSources) -> None:
    assert faults_of(name, sources.by_name[name]) == {}


@pytest.mark.parametrize(("check", "name", "written", "instead"), DRIFT)
def test_a_header_that_drifts_from_its_code_is_noticed(
    check: str, name: str, written: str, instead: str, sources: ScriptSources
) -> None:
    source = sources.by_name[name]
    assert source.count(written) == 1, "the drift is not about this file any more"
    assert check in faults_of(name, source.replace(written, instead))


def test_every_check_has_a_drift_that_it_notices() -> None:
    assert {check for check, *_ in DRIFT} == {"shape", *(check.__name__ for check in CHECKS)}


def test_the_outcomes_of_a_grab_stand_in_the_order_that_python_knows(sources: ScriptSources) -> None:
    grab = Command.parse(GRAB, sources.by_name[GRAB])
    assert grab is not None
    assert grab.outcomes == [outcome.value for outcome in Outcome]
    assert grab.envelopes == {"went_back", "decided"}


async def test_which_commands_write_is_what_the_server_says(raw: Redis) -> None:
    for names, flag in ((READS, b"readonly"), (WRITES, b"write")):
        told: Any = await raw.execute_command("COMMAND INFO", *names)  # type: ignore[no-untyped-call]
        assert {entry[0].decode().upper() for entry in told if flag in entry[2]} == names


async def test_every_command_compiles(raw: Redis, sources: ScriptSources) -> None:
    shas = {await raw.script_load(source) for source in sources.bake("0123456789abcdef").values()}
    assert len(shas) == len(NAMES)


LUA = Path(__file__).parents[2] / "lua"
PURE = sorted([*LUA.glob("records/*.lua"), *LUA.glob("rules/*.lua"), LUA / "plan.lua"])


def test_every_rule_is_listed_and_answers_with_the_words_of_its_header(sources: ScriptSources) -> None:
    files = {path.stem: path.read_text(encoding="utf-8") for path in LUA.glob("rules/*.lua")}
    assert {rule.name for rule in sources.rules} == files.keys()
    for rule in sources.rules:
        code = files[rule.name].partition("\n]]\n")[2]
        words = dict.fromkeys(re.findall(r"(?:return|window_phase =) '([a-z_]+)", code))
        assert tuple(words) == rule.outcomes, rule.name


def test_the_audit_and_the_model_count_what_the_rules_count(sources: ScriptSources) -> None:
    counters = sorted(counter for rule in sources.rules for counter in rule.counters)
    assert counters == sorted(COUNTERS) == sorted(OF_THE_MODEL)
    assert not {name for name, counter in COUNTERS.items() if counter.invariant is None} - {"issued"}, "compared with nothing"


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.stem)
def test_a_rule_or_a_record_calls_nothing_and_reads_no_argument(path: Path) -> None:
    code = re.sub(r"--\[\[.*?\]\]|--[^\n]*", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert not re.search(r"\b(?:redis|KEYS|ARGV)\b|--@use", code)


def test_a_partial_names_no_other_and_stands_in_a_command_once(sources: ScriptSources) -> None:
    partials = [path for path in LUA.rglob("*.lua") if path.parent.name != "commands"]
    for path in partials:
        text = path.read_text(encoding="utf-8")
        assert text.startswith("--[[\n  "), path
        assert USE not in text, path
        first_line = text.partition("\n]]\n")[2].partition("\n")[0]
        assert all(source.count(first_line + "\n") <= 1 for source in sources.by_name.values()), path
    assert all(USE not in source for source in sources.by_name.values())


def test_a_partial_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError):
        expand("--@use records/nothing\n", {})
    assert expand("--@use a/*\nend\n", {"a/y": "--[[\n  y\n]]\ny\n", "a/x": "x\n", "b/z": "z\n"}) == "x\ny\nend\n"
