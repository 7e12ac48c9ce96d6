"""What became of the members of a locust run? Counted beside locust's own statistics, which know only requests."""

from collections import Counter
from collections.abc import Mapping

OUTCOMES = "outcomes"
REPEATS = "repeats"


class Outcomes:
    """Final answers by name, and repeats by what made them necessary; adds up over worker processes."""

    def __init__(self) -> None:
        self.finals: Counter[str] = Counter()
        self.repeats: Counter[str] = Counter()

    def take(self) -> dict[str, dict[str, int]]:
        """Hand over what was counted and begin anew: what a worker reports to its master."""
        report = {OUTCOMES: dict(self.finals), REPEATS: dict(self.repeats)}
        self.finals.clear()
        self.repeats.clear()
        return report

    def add(self, report: Mapping[str, Mapping[str, int]]) -> None:
        """Add what a worker handed over."""
        self.finals.update(report.get(OUTCOMES, {}))
        self.repeats.update(report.get(REPEATS, {}))

    def table_lines(self) -> list[str]:
        """A table for a person."""
        lines = [f"{'outcome':<28} {'members':>10}"]
        lines += [f"{name:<28} {count:>10,}" for name, count in self.finals.most_common()]
        lines.append(f"{'all':<28} {self.finals.total():>10,}")
        if self.repeats:
            lines += ["", f"{'asked again after':<28} {'times':>10}"]
            lines += [f"{name:<28} {count:>10,}" for name, count in self.repeats.most_common()]
        return lines
