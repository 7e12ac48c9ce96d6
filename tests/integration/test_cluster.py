"""The engine runs on a cluster as on a single server: several cells, each whole on one node."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from grab_service.audit import audit_cell
from grab_service.cell.nodes import Nodes
from grab_service.vocabulary.keys import CellKeys
from reconcile.redis_link import LinkBrokenError, RedisLink
from tests.harness.backend import Backend, backend
from tests.harness.databases import NewDatabase
from tests.harness.worker import LaneClients, grab_worker
from tests.integration.clusters import Cluster, Node, a_cluster, slot_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

STOCK = 150
MEMBERS = 400


@dataclass(frozen=True, slots=True)
class Place:
    """One cell: its backend with a ledger that runs, its members, and their way in through one worker."""

    backend: Backend
    crowd: LaneClients
    names: list[str]
    home: int

    async def audit_holds(self) -> None:
        report = await audit_cell(self.backend.cell, self.backend.engine, self.backend.service)
        assert report.holds, report.faults
        assert report.records_compared, "claims were compared one by one"

    async def rush(self, names: Sequence[str]) -> Counter[str]:
        """Each taps until there is a final answer; how often which."""
        return Counter(await asyncio.gather(*(self._tap(name) for name in names)))

    async def _tap(self, name: str) -> str:
        async with asyncio.timeout(40):
            while True:
                answer = await self.crowd.grab(name)
                if answer.status_code != 503:
                    return "won" if answer.is_success else str(answer.json()["code"])
                await asyncio.sleep(0.3)  # hundreds who ask again at once leave the move itself no time


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with a_cluster(tmp_path) as made:
        yield made


@asynccontextmanager
async def place(cluster: Cluster, new_database: NewDatabase, home: int, members: int = MEMBERS) -> AsyncIterator[Place]:
    """A cell that lives on that node; its programs are given the address of another one."""
    cell_name = next(name for name in (f"c{number}" for number in range(1000)) if cluster.owner(name) == home)
    await cluster.furnish(cell_name)
    elsewhere = cluster.nodes[(home + 1) % 3]
    async with (
        backend(elsewhere.url, await new_database(), cell_name) as here,
        here.ledger(),
        grab_worker(elsewhere.url, cell_name) as worker,
        LaneClients(worker) as crowd,
    ):
        await here.open_for_business()
        names = await here.sale(members, stock=STOCK)
        while not crowd.knows("c"):
            await asyncio.sleep(0.005)
        yield Place(here, crowd, names, home)


async def claims_on(node: Node, cell_name: str) -> int:
    return int(await node.ask("HLEN", CellKeys.of(cell_name).of_campaign("c").claims))


async def test_three_cells_on_three_nodes_each_sell_exactly_their_stock(cluster: Cluster, new_database: NewDatabase) -> None:
    async with AsyncExitStack() as stack:
        places = [await stack.enter_async_context(place(cluster, new_database, home)) for home in range(3)]
        answers = await asyncio.gather(*(one.rush(one.names) for one in places))
        for one, answer in zip(places, answers, strict=True):
            assert answer == {"won": STOCK, "sold-out": MEMBERS - STOCK}
            assert await claims_on(cluster.nodes[one.home], one.backend.settings.cell) == STOCK
            await one.backend.drained()
            rows = await one.backend.claims()
            assert {row.unit_no for row in rows} == set(range(1, STOCK + 1))
            await one.audit_holds()
            assert await one.backend.open_alarms() == {}
        # Nothing of a cell lies anywhere else.
        slots = [slot_of(one.backend.settings.cell) for one in places]
        for number, node in enumerate(cluster.nodes):
            assert [bool(await node.keys_in(slot)) for slot in slots] == [number == home for home in range(3)]


async def test_a_cell_whose_slot_moves_in_the_middle_of_a_sale_goes_on_at_its_new_node(
    cluster: Cluster, new_database: NewDatabase
) -> None:
    async with place(cluster, new_database, 0) as one:
        slot, source, target = slot_of(one.backend.settings.cell), cluster.nodes[0], cluster.nodes[2]
        assert await one.rush(one.names[:60]) == {"won": 60}
        await cluster.begin_move(slot, source, target)
        keys = await source.keys_in(slot)
        await cluster.carry(source, target, keys[::2])
        # Half of the cell is here, half of it there: nobody is answered wrongly, or twice.
        refused = await one.crowd.all_grab(one.names[60:80])
        assert {answer.json()["code"] for answer in refused} <= {"paused-for-recovery"}
        rest = asyncio.create_task(one.rush(one.names[60:]))
        await asyncio.sleep(0.2)
        await cluster.carry(source, target, await source.keys_in(slot))
        await cluster.end_move(slot, target)
        assert await rest == {"won": STOCK - 60, "sold-out": MEMBERS - STOCK}
        assert await claims_on(target, one.backend.settings.cell) == STOCK
        assert await one.rush(one.names[:60]) == {"won": 60}, "who won before is told the same at the new node"
        await one.backend.drained()
        assert len(await one.backend.claims()) == STOCK
        await one.audit_holds()


async def test_a_cell_whose_node_dies_goes_on_at_the_replica_that_takes_over(
    cluster: Cluster, new_database: NewDatabase, tmp_path: Path
) -> None:
    async with place(cluster, new_database, 0) as one, cluster.replica(cluster.nodes[0], tmp_path / "replica") as replica:
        await cluster.furnish(one.backend.settings.cell)
        assert await one.rush(one.names[:60]) == {"won": 60}
        await one.backend.drained()
        await cluster.nodes[0].kill()
        # All is well: what was told is on record, the replica is promoted, the guard audits and arms there.
        assert await one.rush(one.names[60:]) == {"won": STOCK - 60, "sold-out": MEMBERS - STOCK}
        assert await claims_on(replica, one.backend.settings.cell) == STOCK
        await one.backend.drained()
        rows = await one.backend.claims()
        assert len({row.unit_no for row in rows}) == len(rows) == STOCK
        await one.audit_holds()


async def test_it_does_not_matter_if_the_node_of_the_address_is_gone_once_the_others_are_known(
    cluster: Cluster, new_database: NewDatabase
) -> None:
    async with place(cluster, new_database, 0) as one:
        await cluster.nodes[1].kill()
        # Open connections stay; a new one finds the way without the address.
        await one.backend.service.connection_pool.disconnect()
        assert await one.rush(one.names[:10]) == {"won": 10}
        async with asyncio.timeout(15):
            while (await one.backend.service.hget(one.backend.keys.cell, "epoch")) is None:
                await asyncio.sleep(0.1)


async def test_a_link_that_hears_that_the_cell_is_elsewhere_is_broken_and_the_next_one_leads_there(cluster: Cluster) -> None:
    key = CellKeys.of("c0").cell
    home = cluster.nodes[cluster.owner("c0")]
    other = cluster.nodes[(cluster.owner("c0") + 1) % 3]
    blind = await RedisLink.open(other.url, 2)
    with pytest.raises(LinkBrokenError, match="Moved"):
        await blind.call("HGET", key, "epoch")
    with pytest.raises(LinkBrokenError, match="before"):
        await blind.call("PING")
    nodes = Nodes("c0")
    link = await RedisLink.open(other.url, 2, nodes)
    await link.call("HSET", key, "epoch", 7)
    assert nodes.at == ("127.0.0.1", home.port)
    assert await home.ask("HGET", key, "epoch") == b"7"
    await link.close()


async def test_a_single_server_is_asked_once_whether_it_is_one_of_several(valkey_url: str, cell_name: str) -> None:
    nodes = Nodes(cell_name)
    for _ in range(2):
        link = await RedisLink.open(valkey_url, 2, nodes)
        assert nodes.is_alone
        await link.close()
    assert nodes.at is None
    assert nodes.moves == 0
