"""Outcomes of members and cheaters, counted beside locust's own statistics, which know only requests."""

from collections import Counter
from collections.abc import Mapping

KINDS = ("finals", "repeats", "answers", "strangers", "cheats", "gains", "gone")

WIDTH = 36


class Outcomes:
    """Counts that add up over worker processes.

    Attributes:
        finals: final answers of honest members, by name.
        repeats: what made them ask again.
        answers: every answer to a grab with a good pass, of any caller, by name.
        strangers: every answer to a grab with a pass that must not be taken.
        cheats: what cheaters tried, by kind.
        gains: their illicit gains: there must be none.
        gone: how many have done what they came for, cheaters included.
    """

    def __init__(self) -> None:
        self.finals: Counter[str] = Counter()
        self.repeats: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.strangers: Counter[str] = Counter()
        self.cheats: Counter[str] = Counter()
        self.gains: Counter[str] = Counter()
        self.gone: Counter[str] = Counter()

    def take(self) -> dict[str, dict[str, int]]:
        """Hand over what was counted and begin anew: what a worker reports to its master."""
        report = {kind: dict(self._of(kind)) for kind in KINDS}
        self.clear()
        return report

    def add(self, report: Mapping[str, Mapping[str, int]]) -> None:
        """Add what a worker handed over."""
        for kind in KINDS:
            self._of(kind).update(report.get(kind, {}))

    def clear(self) -> None:
        """Begin anew."""
        for kind in KINDS:
            self._of(kind).clear()

    def to_document(self) -> dict[str, dict[str, int]]:
        """As it is written to JSON."""
        return {kind: dict(self._of(kind).most_common()) for kind in KINDS}

    def table_lines(self) -> list[str]:
        """Tables for a person."""
        lines = [*_table("outcome", "members", self.finals), f"{'all':<{WIDTH}} {self.finals.total():>10,}"]
        for title, unit, kind in (
            ("asked again after", "times", "repeats"),
            ("cheaters tried", "times", "cheats"),
            ("CHEATERS GAINED", "times", "gains"),
        ):
            counts = self._of(kind)
            if counts:
                lines += ["", *_table(title, unit, counts)]
        return lines

    def _of(self, kind: str) -> Counter[str]:
        counts: Counter[str] = getattr(self, kind)
        return counts


def _table(title: str, unit: str, counts: Counter[str]) -> list[str]:
    return [f"{title:<{WIDTH}} {unit:>10}", *(f"{name:<{WIDTH}} {count:>10,}" for name, count in counts.most_common())]
