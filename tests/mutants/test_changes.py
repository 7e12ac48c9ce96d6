"""The changes of a sample are those that a test should notice, and a sample is drawn fairly."""

from collections import Counter

import pytest

from tests.mutants.changes import changes_of
from tests.mutants.equivalents import EQUIVALENTS
from tests.mutants.laboratory import ROOT
from tests.mutants.sample import draw, population

SNIPPETS = {
    "if a < b: pass": {"if a <= b: pass", "if not (a < b): pass"},
    "x = a is None or not b": {
        "x = a is not None or not b",
        "x = a is None and not b",
        "x = (not b)",
        "x = (a is None)",
        "x = a is None or bool(b)",
    },
    "while a + 1 > (b): break": {
        "while a - 1 > (b): break",
        "while a + 2 > (b): break",
        "while a + 1 >= (b): break",
        "while a + 1 > (b): continue",
    },
    "def f(a: int = 3) -> bool:\n '''Text.'''\n log.info('x', n=1)\n b(a)\n return True": {
        "def f(a: int = 4) -> bool:\n '''Text.'''\n log.info('x', n=1)\n b(a)\n return True",
        "def f(a: int = 3) -> bool:\n '''Text.'''\n log.info('x', n=1)\n pass\n return True",
        "def f(a: int = 3) -> bool:\n '''Text.'''\n log.info('x', n=1)\n b(a)\n return False",
        "def f(a: int = 3) -> bool:\n '''Text.'''\n log.info('x', n=1)\n b(a)\n return None",
    },
    "async def f():\n await g()\n raise E from None\n n += m": {
        "async def f():\n pass\n raise E from None\n n += m",
        "async def f():\n await g()\n pass\n n += m",
        "async def f():\n await g()\n raise E from None\n pass",
    },
    "q = text('SELECT 中 FROM t WHERE a < 2 FOR UPDATE')": {
        "q = text('SELECT 中 FROM t WHERE a <= 2 FOR UPDATE')",
        "q = text('SELECT 中 FROM t WHERE a < 2')",
    },
    "q = select(t).where(t.a == 中)": {"q = select(t)", "q = select(t).where(t.a != 中)"},
    # Nobody should notice these.
    "@dataclass(frozen=True)\nclass A:\n    at_ms: int": set[str](),
    "RETRY_S: Final = 1.0\nMOST = 5 * 1024": set[str](),
    "if TYPE_CHECKING:\n import x\nf'{a + 1}'\nassert a < b\n'a text with 3 words'": set[str](),
}


@pytest.mark.parametrize("written", SNIPPETS)
def test_all_changes_of_a_text_are_found_and_no_others(written: str) -> None:
    source = written.encode()
    assert {change.of(source).decode() for change in changes_of("x.py", source)} == SNIPPETS[written]


def test_a_change_says_where_it_is_and_how_it_reads() -> None:
    source = "a = 1\nif 中 <  b:\n    c()\n".encode()
    comparison = next(change for change in changes_of("x.py", source) if change.kind == "comparison")
    assert (comparison.line, comparison.shown(source)) == (2, "- if 中 < b:\n+ if 中 <= b:")


def test_a_seed_draws_the_same_sample_and_every_change_has_its_chance() -> None:
    changes = population()
    assert len(set(changes)) == len(changes) > 3_000
    assert draw(changes, 100, 1) == draw(changes, 100, 1) != draw(changes, 100, 2)
    drawn = Counter(change for seed in range(300) for change in draw(changes[:20], 5, seed))
    for change in draw(changes, 100, 1):
        compile(change.of((ROOT / change.path).read_bytes()), change.path, "exec")
    assert set(drawn) == set(changes[:20])
    assert max(drawn.values()) < 2 * min(drawn.values())


def test_a_change_that_is_known_to_make_no_difference_can_still_be_made() -> None:
    for (path, shown), reason in EQUIVALENTS.items():
        source = (ROOT / path).read_bytes()
        assert shown in {change.shown(source) for change in changes_of(path, source)}, path
        assert reason
