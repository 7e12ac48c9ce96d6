"""Links, names and tables of the documents agree with the code."""

import re
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import fields
from itertools import pairwise
from pathlib import Path, PurePath
from types import SimpleNamespace
from typing import Any, cast

import pytest
import typer
from pydantic import SecretStr

from grab_service.cli.main import app as command_line
from grab_service.health.readiness import CheckName
from grab_service.problems import CATALOGUE
from grab_service.server.worker import Worker
from grab_service.service.app import build_app
from grab_service.settings import SECRET_FIELDS, Settings
from grab_service.vocabulary.events import EVENTS
from grab_service.vocabulary.keys import CellKeys
from grab_service.vocabulary.outcomes import Outcome, slug
from reconcile.__main__ import app as ledger
from reconcile.alarms import AlarmKind

ROOT = Path(__file__).parents[2]
README, CONTRIBUTING = ROOT / "README.md", ROOT / "CONTRIBUTING.md"
DOCUMENTS = sorted(
    [
        README,
        CONTRIBUTING,
        ROOT / "CHANGELOG.md",
        *(ROOT / f"{folder}/README.md" for folder in ("bench", "loadtest", "lua")),
        *(ROOT / "docs").rglob("*.md"),
    ]
)
API, ARCHITECTURE, OPERATIONS, TROUBLESHOOTING = (
    ROOT / "docs" / f"{name}.md" for name in ("API", "ARCHITECTURE", "OPERATIONS", "TROUBLESHOOTING")
)
DECISIONS = ROOT / "docs/decisions"
COLUMNS_MAX = 160

# The only absolute paths that a document may name are those of the service.
SERVED = {"v1", "livez", "readyz", "metrics", "openapi.json", "docs", "problems"}


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def section(path: Path, title: str) -> str:
    """The text under a heading, up to the next one of its rank or above."""
    begin = re.search(rf"^(#+) {re.escape(title)}$", text_of(path), re.MULTILINE)
    assert begin is not None, f"{path.name} has no heading {title!r}"
    after = text_of(path)[begin.end() :]
    end = re.search(rf"^#{{1,{len(begin[1])}}} ", after, re.MULTILINE)
    return after[: end.start()] if end else after


def rows(text: str) -> list[list[str]]:
    """The cells of all rows of tables, heads and rulers left out."""
    lines = [line.strip() for line in text.splitlines()]
    ruled = [number for number, line in enumerate(lines) if re.fullmatch(r"\|(?:-+\|)+", line)]
    heads = {number - 1 for number in ruled}
    kept = [line for number, line in enumerate(lines) if line.startswith("|") and number not in heads and number not in ruled]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in kept]


def items(text: str) -> list[tuple[list[str], str]]:
    """The items of lists that begin with names in backticks: these names, and the rest of the item's first line."""
    found = re.findall(r"^- (`[^`]+`(?:, `[^`]+`)*)(.*)$", text, re.MULTILINE)
    return [(codes(names), rest) for names, rest in found]


def codes(cell: str) -> list[str]:
    """The texts in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def code_of(path: Path) -> str:
    """All code of a document: blocks and what stands in backticks."""
    text = text_of(path)
    blocks = re.findall(r"^ *```[a-z]*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *codes(re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL))])


def anchors(path: Path) -> set[str]:
    """The names by which headings can be linked to."""
    prose = re.sub(r"```.*?```", "", text_of(path), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", text_of(document))
    for target in targets:
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        place = (document.parent / path).resolve() if path else document
        assert place.exists(), f"{target} does not exist"
        assert ROOT in place.parents, f"{target} leads out of the project"
        if anchor:
            assert anchor in anchors(place), f"{place.name} has no heading {anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_document_names_a_place_on_somebodys_machine(document: Path) -> None:
    paths = re.findall(r"(?:^|[\s(`\"'=])/([A-Za-z][\w.-]*)", text_of(document), re.MULTILINE)
    assert set(paths) <= SERVED, set(paths) - SERVED


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_table_is_wider_than_a_reader_can_follow(document: Path) -> None:
    wide = [line for line in text_of(document).splitlines() if line.lstrip().startswith("|") and len(line) > COLUMNS_MAX]
    assert not wide, f"a list says it better: {wide[0]}"


def test_every_target_of_make_is_explained_and_no_other_is_named() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", text_of(ROOT / "Makefile"), re.MULTILINE))
    table = rows(section(CONTRIBUTING, "Targets of make"))
    explained = {code.removeprefix("make ") for row in table for code in codes(row[0])}
    assert explained == targets
    for document in DOCUMENTS:
        named = set(re.findall(r"\bmake ([a-z-]+)", code_of(document)))
        assert named <= targets, (document.name, named - targets)


def test_every_command_named_is_one() -> None:
    commands: Any = cast("Any", typer.main.get_command(command_line)).commands
    for document in DOCUMENTS:
        for first, second in re.findall(r"(?<![/\w])grab ([a-z]+)(?: ([a-z]+(?:-[a-z]+)*))?", code_of(document)):
            assert first in commands, f"{document.name}: grab {first}"
            if second and hasattr(commands[first], "commands"):
                assert second in commands[first].commands, f"{document.name}: grab {first} {second}"
    table = rows(section(OPERATIONS, "The command line"))
    families = {name for row in table for name in re.findall(r"grab (\w+)", row[0])}
    assert families == set(commands), "OPERATIONS leaves a family of commands out"


def test_every_command_of_the_ledger_is_named_and_no_other() -> None:
    commands = set(cast("Any", typer.main.get_command(ledger)).commands)
    (row,) = [row for row in rows(section(OPERATIONS, "The command line")) if "python -m reconcile" in row[0]]
    assert set(re.findall(r"[a-z]+(?:-[a-z]+)*(?=[,:])", row[1].partition(": ")[0] + ":")) == commands
    for document in DOCUMENTS:
        assert set(re.findall(r"python -m reconcile ([a-z-]+)", code_of(document))) <= commands


def test_the_tour_is_a_script_that_a_shell_can_read() -> None:
    found = re.search(r"<!-- tour:begin -->\n```sh\n(.*?)```\n<!-- tour:end -->", text_of(API), re.DOTALL)
    assert found is not None
    subprocess.run(["sh", "-n"], input=found[1], text=True, check=True)


def shown(value: object) -> str:
    """A default as the table writes it."""
    match value:
        case None | "" | {} | SecretStr():
            return "–"
        case bool():
            return str(int(value))
        case float():
            return f"`{value:g}`"
        case PurePath() | str() | int():
            return f"`{value}`"
        case _:
            raise AssertionError(value)


def variable(name: str) -> str:
    return name.upper() if name in {"redis_url", "database_url"} else f"GRAB_{name.upper()}"


def test_the_list_of_settings_is_that_of_the_code() -> None:
    listed = [(names[0], rest) for names, rest in items(section(OPERATIONS, "Settings")) if re.fullmatch("[A-Z_]+", names[0])]
    defaults = {name: re.match(r" \((?:default (`[^`]+`)|no default)\): ", rest) for name, rest in listed}
    assert len(defaults) == len(listed), "a setting is listed twice"
    settings = {variable(name): shown(field.default) for name, field in Settings.model_fields.items()}
    settings |= {name: f"`{default}`" for name, default in settings.items() if default in {"0", "1"}}
    assert {name: default and (default[1] or "–") for name, default in defaults.items()} == settings


def test_every_setting_named_is_one() -> None:
    known = {variable(name) for name in Settings.model_fields} | {f"{variable(name)}_FILE" for name in SECRET_FIELDS}
    for document in (README, CONTRIBUTING, API, ARCHITECTURE, OPERATIONS, TROUBLESHOOTING, *DECISIONS.iterdir()):
        named = set(re.findall(r"\bGRAB_[A-Z_]+\b", text_of(document)))
        assert named <= known, (document.name, named - known)


def test_the_table_of_problems_is_the_catalogue() -> None:
    table = {codes(row[0])[0]: (int(row[1]), row[3]) for row in rows(section(API, "Problems"))}
    catalogue = {
        name: (problem.status, "" if problem.retry_after_s is None else str(problem.retry_after_s))
        for name, problem in CATALOGUE.items()
    }
    assert table == catalogue


def test_the_calls_listed_are_those_that_are_served() -> None:
    # Only what the routes are made of is asked for while the application is put together.
    settings, view = Settings(dev=True), SimpleNamespace(now_ms=lambda: 0)
    parts = SimpleNamespace(settings=settings, view=view, clock=None, figures=SimpleNamespace(calls=None))
    paths = build_app(cast("Worker", parts)).openapi()["paths"]
    served = {f"{method.upper()} {path}" for path, operations in paths.items() for method in operations}
    listed = [codes(row[0])[0] for row in rows(text_of(API)) if re.match(r"`(?:GET|POST|PUT|PATCH|DELETE) /", row[0])]
    assert len(listed) == len(set(listed))
    assert set(listed) == served


def test_refusals_are_listed_in_the_order_in_which_lua_gives_them() -> None:
    words = {slug(outcome) for outcome in Outcome}
    named = [code for code in codes(section(API, "Which refusal comes first")) if code in words]
    first_named = list(dict.fromkeys(named))
    not_there = {Outcome.HELD, Outcome.WON, Outcome.IDEMPOTENCY_KEY_MISSING}
    assert first_named[0] == slug(Outcome.IDEMPOTENCY_KEY_MISSING)
    assert first_named[1:] == [slug(outcome) for outcome in Outcome if outcome not in not_there]


def test_the_keys_and_the_log_are_described_as_they_are() -> None:
    keys = CellKeys.of("x")
    campaign = keys.of_campaign("<id>")
    names = {getattr(one, part.name) for one in (keys, campaign) for part in fields(one)} - {keys.prefix}
    described = {codes(row[0])[0] for row in rows(section(ARCHITECTURE, "The cell"))}
    assert described == {name.removeprefix(keys.prefix) for name in names}
    entries = {codes(row[0])[0]: set(codes(row[1])) for row in rows(section(ARCHITECTURE, "The log"))}
    assert entries.keys() == EVENTS.keys()
    in_all = {"seq", "last_seq", "epoch", "at_ms"} | {"rows"}  # of `claims`
    for kind, event in EVENTS.items():
        assert {part.name for part in fields(cast("Any", event))} - in_all <= entries[kind], kind


def test_every_package_has_its_row_in_the_architecture() -> None:
    named = {code for row in rows(section(ARCHITECTURE, "Packages")) for code in codes(row[0]) if code.isidentifier()}
    assert named == {path.parent.name for path in (ROOT / "grab_service").glob("*/__init__.py")}


def test_every_alarm_is_explained() -> None:
    explained = [name for names, _ in items(section(TROUBLESHOOTING, "Alarms")) for name in names]
    assert sorted(explained) == sorted(AlarmKind)


def test_every_log_line_named_is_written() -> None:
    named = {name for names, _ in items(section(TROUBLESHOOTING, "Log lines")) for name in names}
    assert len(named) > 10
    code = "".join(text_of(path) for folder in ("grab_service", "reconcile") for path in (ROOT / folder).rglob("*.py"))
    assert named <= set(re.findall(r'"([a-z_]+)"', code)), named


def test_every_check_of_readiness_is_explained() -> None:
    explained = [name for names, _ in items(section(TROUBLESHOOTING, "Probes")) for name in names]
    assert sorted(explained) == sorted(CheckName)


def test_the_rule_that_is_followed_through_all_places_stands_there_as_it_is_quoted() -> None:
    text = section(ROOT / "docs/TESTING.md", "One rule, all places")
    quoted = re.findall(r"^- .+, in \[[^]]+\]\(([^)\s]+)\): `(.+)`$", text, re.MULTILINE)
    assert len(quoted) == text.count("\n- ") > 5
    for target, code in quoted:
        place = (ROOT / "docs" / target).resolve()
        assert code in text_of(place), f"{place.name} has no {code}"


def test_every_decision_is_in_the_index_by_its_title() -> None:
    pages = sorted(DECISIONS.glob("[0-9]*.md"))
    index = [[*re.findall(r"\(([^)]+)\)", row[0]), row[1]] for row in rows(text_of(DECISIONS / "README.md"))]
    titles = [re.fullmatch(r"# (\d{4}) · (.+)", text_of(page).splitlines()[0]) for page in pages]
    assert index == [[page.name, title[2]] for page, title in zip(pages, titles, strict=True) if title]
    numbers = [int(page.name[:4]) for page in pages]
    assert numbers[0] == 1
    assert all(later == earlier + 1 for earlier, later in pairwise(numbers))
    for page in pages:
        assert re.findall(r"^\*\*(\w+)\.\*\*", text_of(page), re.MULTILINE) == [
            "Context",
            "Decision",
            "Alternatives",
            "Consequences",
        ]


def test_the_picture_can_be_read_in_the_dark_and_aloud() -> None:
    picture = ROOT / "docs/flow.svg"
    parsed = ET.parse(picture).getroot()
    names = [child.tag.rpartition("}")[2] for child in parsed]
    assert {"title", "desc", "style"} <= set(names)
    assert "prefers-color-scheme: dark" in text_of(picture)
    found = re.search(r"!\[([^\]]+)\]\(docs/flow\.svg\)", text_of(README))
    assert found is not None
    assert len(found[1]) > 100
