"""The experiments about cost and growth give figures, and none where a run was not exact."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench import arrivals, costs
from bench.arrivals import arrive
from bench.figures import Results
from bench.growth import campaigns, connections, members, stock
from bench.registered_members import settle, with_passes
from bench.runs import InexactError, MeasureOnTestbed, check, refusals, wins
from bench.testbed import Testbed as Bed  # pytest takes a class whose name begins with Test for one of tests
from bench.testbed import running_testbed
from tests.harness.ready_postgres import move_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

EXPERIMENTS: dict[str, MeasureOnTestbed] = {
    "growth_members": members.measure,
    "growth_stock": stock.measure,
    "growth_campaigns": campaigns.measure,
    "growth_connections": connections.measure,
    "costs": costs.measure,
}


def quiet(_: str) -> None:
    """Nobody listens."""


@pytest.fixture
async def testbed(tmp_path: Path) -> AsyncIterator[Bed]:
    await move_in(tmp_path / "var" / "postgres")
    async with running_testbed(tmp_path) as made:
        await made.persist(None)
        yield made


async def test_every_experiment_ends_exact_with_its_figures_and_curves(testbed: Bed, tmp_path: Path) -> None:
    for name, measure in EXPERIMENTS.items():
        results = await measure(testbed, quick=True, log=quiet)
        assert results.experiment == name
        assert all(figure.reached for figure in results.figures if figure.name == "connections_forgotten")
        assert Results.read(results.write(tmp_path)) == results
        assert all(figure.samples for figure in results.figures)
        assert all(len(curve.points) > 1 and all(point.samples for point in curve.points) for curve in results.curves)
        assert all(min(point.samples) > 0 for curve in results.curves for point in curve.points if "second" in curve.title)


async def test_a_run_that_is_not_exact_has_no_figures(testbed: Bed) -> None:
    await settle(testbed, 50, quiet)
    crowd = with_passes(testbed, range(50))
    with pytest.raises(InexactError, match="200"):
        await wins(testbed, [*crowd, crowd[7]], 8)
    with pytest.raises(InexactError, match="200"):
        await refusals(testbed, [*crowd, crowd[0]], 8)
    campaign_id = await testbed.campaign(5)
    run = await refusals(testbed, crowd, 8)
    with pytest.raises(InexactError, match="0 claims, where"):
        await check(testbed, campaign_id, run, run.result.by_status, 1)


async def test_who_is_cut_off_or_forgotten_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "PATIENCE_S", 1.0)
    answer = b"HTTP/1.1 409 Conflict\r\ncontent-length: 2\r\n\r\n{}"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(1024):
            if request == b"cut":
                break
            if request == b"answer":
                writer.write(answer[:20])
                await asyncio.sleep(0.02)
                writer.write(answer[20:])
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        requests = [b"answer"] * 20 + [b"cut"] * 3 + [b"forget"] * 2
        found = await asyncio.to_thread(arrive, port, requests, 3)
    assert (found.by_status, found.broken, found.unanswered) == ({409: 60}, 3, 2)
    assert len(found.first_s) == len(found.later_s) == 20
    assert min(found.later_s) >= 0.02
    refused = await asyncio.to_thread(arrive, port, [b"answer"] * 4, 1)
    assert refused.broken == 4, "nobody listens there any more"
