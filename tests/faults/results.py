"""The stored figures of the fault suite."""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tests.faults.series import Series
from tests.harness.results import Results

RESULTS: Final = Results(Path("docs/reliability/results.jsonl"))


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one series, as they are kept."""

    name: str
    says: str
    rounds: int
    acknowledged: int
    lost: int
    oversold: int
    undersold: int
    before_audit: int | None
    resume_median_s: float | None
    resume_max_s: float | None
    requests: int
    repeats: int
    broken: list[str]
    figures: dict[str, float]
    may_lose: bool
    seed: int
    at_s: int

    @classmethod
    def of(cls, series: Series, seed: int) -> Self:
        """The result of a series."""
        fault, verdict, resume_s = series.fault, series.verdict, series.resume_s
        return cls(
            name=fault.name,
            says=fault.says,
            rounds=series.rounds,
            acknowledged=verdict.acknowledged,
            lost=verdict.lost,
            oversold=verdict.oversold,
            undersold=verdict.undersold,
            before_audit=series.before_audit if fault.closes else None,
            resume_median_s=round(statistics.median(resume_s), 2) if resume_s else None,
            resume_max_s=round(max(resume_s), 2) if resume_s else None,
            requests=verdict.requests,
            repeats=verdict.repeats,
            broken=verdict.broken,
            figures=series.figures,
            may_lose=fault.may_lose or fault.must_lose,
            seed=seed,
            at_s=int(time.time()),
        )
