"""Exact under faults: whatever dies, lies or stands still, no promise is lost, no unit is sold twice or kept back.

`make test` runs a few rounds of what needs nothing but Python. `make faults` runs all of it, `ROUNDS=` of each, and writes the
table in docs/RELIABILITY.md; `ARGS="-k power_cut"` picks.
"""

import os
import secrets
from pathlib import Path

import pytest

from tests.faults.catalogue import FAULTS
from tests.faults.fault import Fault
from tests.faults.results import RESULTS, Result
from tests.faults.series import Scale, run_series
from tests.harness.district import running_district
from tests.harness.pace import slowness
from tests.harness.powercut import NO_COMPILER, build_shim, compiler
from tests.harness.recipes import lacks
from tests.harness.tmpfs import NO_MOUNT, may_mount

ROUNDS = int(os.environ.get("GRAB_FAULT_ROUNDS", "0"))
SEED = int(os.environ.get("GRAB_FAULT_SEED", "0")) or secrets.randbelow(1 << 30)
SHORT = Scale(rounds=2, rounds_of_block=100, stock=6_500)
BLOCK = 20


def long(fault: Fault) -> Scale:
    """As many rounds as are asked for, and stock for as many as one campaign serves."""
    rounds = min(ROUNDS, fault.rounds_max)
    return Scale(rounds, BLOCK, stock=1_500 + fault.units_a_round * min(rounds, BLOCK))


pytestmark = [pytest.mark.slow]


@pytest.mark.skipif(ROUNDS > 0, reason="the long form does it all")
@pytest.mark.timeout(180)
async def test_a_few_rounds_of_faults_lose_nothing_and_sell_exactly_the_stock(tmp_path: Path) -> None:
    faults = [fault for fault in FAULTS if fault.short]
    async with running_district(tmp_path, faults[0].site, members=SHORT.members) as district:
        for series in (await run_series(district, faults, SHORT, SEED)).values():
            result = Result.of(series, SEED)
            assert result.rounds == SHORT.rounds, result
            assert (result.oversold, result.undersold, result.broken) == (0, 0, []), result
            assert not result.before_audit, result


@pytest.mark.skipif(ROUNDS == 0, reason="`make faults` runs it")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.name) for fault in FAULTS])
async def test_a_series_of_one_fault(fault: Fault, tmp_path: Path) -> None:
    if fault.site.watched and compiler() is None:
        pytest.skip(NO_COMPILER)
    if fault.site.small_disk_mb and not may_mount():
        pytest.skip(NO_MOUNT)
    if fault.site.recipe is not None and (why := lacks(fault.site.recipe)):
        pytest.skip(why)
    shim = build_shim(tmp_path) if fault.site.watched else None
    scale = long(fault)
    async with running_district(tmp_path, fault.site, shim=shim, members=scale.members) as district:
        result = Result.of((await run_series(district, [fault], scale, SEED))[fault.name], SEED)
    RESULTS.keep(result)
    assert result.rounds == min(ROUNDS, fault.rounds_max), result
    if fault.must_lose:
        assert result.lost > 0, f"a power cut that loses nothing simulates nothing: {result}"
        return
    assert (result.oversold, result.undersold, result.broken) == (0, 0, []), result
    assert not result.before_audit, result
    assert fault.may_lose or result.lost == 0, result
    if fault.resumes_s is not None and result.resume_median_s is not None:
        assert result.resume_median_s <= fault.resumes_s * slowness(), result
