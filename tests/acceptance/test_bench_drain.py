"""The benchmark of the drain counts a run only if every claim is in PostgreSQL."""

from pathlib import Path

import pytest
from sqlalchemy import text

from bench import backlog, claims_indexes, drain
from bench.testbed import running_testbed
from tests.harness.ready_postgres import move_in

pytestmark = pytest.mark.slow

MEMBERS = 4_000
CLAIMS = 1_000


def silently(_: str) -> None:
    pass


async def test_the_drain_is_timed_and_a_count_that_is_not_exact_is_refused(tmp_path: Path) -> None:
    """On one testbed, because it takes longer to bring up than all of this."""
    await move_in(tmp_path / "var" / "postgres")
    async with running_testbed(tmp_path) as testbed:
        members = await testbed.enrol(MEMBERS)
        figures = {figure.name: figure for figure in await drain.measure_on(testbed, members, 1, CLAIMS, silently)}
        assert set(figures) == {
            *("drain_one_core", "drain_two_cores", "drain_ledger_cpu", "drain_postgres_cpu", "drain_visible", "drain_memory"),
        }
        # Processor time ticks 100 times a second, and memory is sampled: a short drain may show none of either.
        assert all(figure.median > 0 for name, figure in figures.items() if not name.endswith(("_cpu", "_memory")))

        campaign_id = await testbed.campaign(100)
        await backlog.grow(testbed, campaign_id, members[:100])
        await testbed.drained()
        await backlog.check(testbed, campaign_id, 100)
        with pytest.raises(backlog.BacklogError, match="not everybody won"):
            await backlog.grow(testbed, campaign_id, members[:1])
        async with testbed.engine.begin() as connection:
            await connection.execute(
                text("DELETE FROM claims WHERE unit_no = 7 AND campaign_id = :campaign_id"), {"campaign_id": campaign_id}
            )
        with pytest.raises(backlog.BacklogError, match="99"):
            await backlog.check(testbed, campaign_id, 100)


async def test_the_indexes_of_claims_are_timed_in_turn_in_an_empty_table_and_in_a_full_one() -> None:
    runs: list[str] = []
    figures = {figure.name: figure for figure in await claims_indexes.measure(2, 9_000, 1_000, runs.append)}
    said = [run.removeprefix("claims_indexes ").partition(":")[0] for run in runs]
    assert said == [
        f"{number}/2, {size}, {kind}"
        for size in ("empty", "full")
        for number, kinds in ((1, ("before", "codes", "now")), (2, ("now", "codes", "before")))
        for kind in kinds
    ]
    assert all(len(figure.samples) == 2 for figure in figures.values())
    assert all(figure.median > 0 for name, figure in figures.items() if "postgres" not in name)
    assert {
        "copy_now_full",
        "copy_before_empty_wal",
        "copy_ratio_per_second_empty",
        "copy_ratio_wal_bytes_full",
    } <= figures.keys()
