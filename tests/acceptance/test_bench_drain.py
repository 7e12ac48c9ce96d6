"""Do the measurements of the drain measure one that is whole?"""

from pathlib import Path

import pytest
from sqlalchemy import text

from loadtest.bench import backlog, claims_indexes, drain, drain_ladder
from loadtest.bench.stand import standing
from loadtest.bench.ways_to_write import RUNGS
from tests.harness.ready_postgres import move_in

pytestmark = pytest.mark.slow

MEMBERS = 4_000
CLAIMS = 1_000


def silently(_: str) -> None:
    pass


async def test_the_drain_is_timed_in_every_way_and_what_is_not_whole_is_refused(tmp_path: Path) -> None:
    """On one stand, because it takes longer to bring up than all of this."""
    await move_in(tmp_path / "var" / "postgres")
    async with standing(tmp_path) as stand:
        members = await stand.enrol(MEMBERS)
        figures = {figure.name: figure for figure in await drain.measure_on(stand, members, 1, CLAIMS, silently)}
        assert set(figures) == {
            *("drain_one_core", "drain_two_cores", "drain_ledger_cpu", "drain_postgres_cpu", "drain_visible", "drain_memory"),
        }
        assert all(figure.median > 0 for name, figure in figures.items() if not name.endswith("_cpu"))

        campaign_id = await stand.campaign(100)
        await backlog.grow(stand, campaign_id, members[:100])
        await stand.drained()
        await backlog.check(stand, campaign_id, 100)
        with pytest.raises(backlog.BacklogError, match="not everybody won"):
            await backlog.grow(stand, campaign_id, members[:1])
        async with stand.engine.begin() as connection:
            await connection.execute(
                text("DELETE FROM claims WHERE unit_no = 7 AND campaign_id = :campaign_id"), {"campaign_id": campaign_id}
            )
        with pytest.raises(backlog.BacklogError, match="99"):
            await backlog.check(stand, campaign_id, 100)

        # Each way is checked to the last claim before its figures count.
        rungs = await drain_ladder.measure_on(stand, members[:CLAIMS], 1, silently)
        assert len({figure.name for figure in rungs}) == 3 * (len(RUNGS) + 1)


async def test_the_indexes_of_claims_are_timed_in_turn_in_an_empty_table_and_in_a_full_one() -> None:
    laps: list[str] = []
    figures = {figure.name: figure for figure in await claims_indexes.measure(2, 9_000, 1_000, laps.append)}
    said = [lap.removeprefix("claims_indexes ").partition(":")[0] for lap in laps]
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
