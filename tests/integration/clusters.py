"""Clusters for tests: a few nodes that share the slots, slots that move, replicas that take over."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis
from redis.crc import key_slot

from grab_service.embedded.ports import LOOPBACK, free_port
from grab_service.embedded.provision import provision_redis
from grab_service.embedded.redis_users import derived_passwords
from grab_service.embedded.valkey import AppendFsync, ValkeyServer
from grab_service.vocabulary.keys import CellKeys
from tests.harness.logins import SECRET

SLOTS: Final = 16_384
PASSWORD: Final = "the-one-that-all-nodes-know"  # of servers that live as long as the test
GONE_AFTER_MS: Final = 1_500
PATIENCE_S: Final = 20.0


class Node(ValkeyServer):
    """One node, as the project runs its servers, but as a member of a cluster."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, appendfsync=AppendFsync.ALWAYS)
        self.bus_port = free_port()
        home.mkdir(parents=True)
        (home / "password").write_text(PASSWORD, encoding="ascii")

    def _settings(self) -> dict[str, object]:
        return {
            **super()._settings(),
            "cluster-enabled": "yes",
            "cluster-port": self.bus_port,
            "cluster-node-timeout": GONE_AFTER_MS,
            "masterauth": PASSWORD,
            "repl-diskless-sync-delay": 0,
        }

    async def ask(self, *command: Any) -> Any:
        """One command on a connection of its own, as the admin."""
        async with Redis.from_url(self.url, socket_timeout=5) as client:
            return await client.execute_command(*command)  # type: ignore[no-untyped-call]

    async def node_id(self) -> str:
        """Its name in the cluster."""
        return str((await self.ask("CLUSTER", "MYID")).decode())

    async def keys_in(self, slot: int) -> list[bytes]:
        """The keys of a slot that it has."""
        found: list[bytes] = await self.ask("CLUSTER", "GETKEYSINSLOT", slot, 10_000)
        return found


class Cluster:
    """Nodes that share all slots out evenly, in their order."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = list(nodes)

    def owner(self, cell_name: str) -> int:
        """Index of the node that has the cell at first."""
        return slot_of(cell_name) * len(self.nodes) // SLOTS

    async def join(self) -> None:
        """Make one cluster of the nodes."""
        bounds = [-(-SLOTS * number // len(self.nodes)) for number in range(len(self.nodes) + 1)]
        first = self.nodes[0]
        for number, node in enumerate(self.nodes):
            await node.ask("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
            await node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            await node.ask("CLUSTER", "MEET", LOOPBACK, first.port, first.bus_port)
        await self.whole(len(self.nodes))

    async def whole(self, known: int) -> None:
        """Wait until every node that runs knows of so many, and serves."""
        async with asyncio.timeout(PATIENCE_S):
            for node in (one for one in self.nodes if one.running):
                while True:
                    told = (await node.ask("CLUSTER", "INFO")).decode()
                    if "cluster_state:ok" in told and f"cluster_known_nodes:{known}" in told:
                        break
                    await asyncio.sleep(0.05)

    async def furnish(self, cell_name: str) -> None:
        """Let every node know the users of a cell, as `grab provision` does it by the address of one of them."""
        passwords = {login.value: password for login, password in derived_passwords(SECRET, cell_name).items()}
        assert await provision_redis(self.nodes[0].url, cell_name, passwords)

    async def begin_move(self, slot: int, source: Node, target: Node) -> None:
        """From now on both know that the slot is on its way; its keys are still with the source."""
        await target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", await source.node_id())
        await source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", await target.node_id())

    async def carry(self, source: Node, target: Node, keys: Sequence[bytes]) -> None:
        """Take some keys of the slot over."""
        await source.ask("MIGRATE", LOOPBACK, target.port, "", 0, 5000, "AUTH", PASSWORD, "KEYS", *keys)

    async def end_move(self, slot: int, target: Node) -> None:
        """Say to all that the slot is the target's."""
        for node in (target, *self.nodes):
            await node.ask("CLUSTER", "SETSLOT", slot, "NODE", await target.node_id())

    @asynccontextmanager
    async def replica(self, primary: Node, home: Path) -> AsyncIterator[Node]:
        """One more node, which follows the primary and has all that it had a moment ago."""
        replica = Node(home)
        await replica.start()
        try:
            await replica.ask("CLUSTER", "MEET", LOOPBACK, primary.port, primary.bus_port)
            self.nodes.append(replica)
            async with asyncio.timeout(PATIENCE_S):
                while (await primary.node_id()) not in (await replica.ask("CLUSTER", "NODES")).decode():
                    await asyncio.sleep(0.05)
                await replica.ask("CLUSTER", "REPLICATE", await primary.node_id())
                while (await replica.ask("ROLE"))[3] != b"connected":
                    await asyncio.sleep(0.05)
                while f"'{LOOPBACK}', {replica.port}" not in str(await self.nodes[0].ask("CLUSTER", "SLOTS")):
                    await asyncio.sleep(0.05)
            await self.whole(len(self.nodes))
            yield replica
        finally:
            await replica.stop()


def slot_of(cell_name: str) -> int:
    """The slot of all keys of a cell."""
    return int(key_slot(CellKeys.of(cell_name).cell.encode()))


@asynccontextmanager
async def a_cluster(home: Path, size: int = 3) -> AsyncIterator[Cluster]:
    """A cluster, until the block ends."""
    async with AsyncExitStack() as stack:
        nodes = [Node(home / f"node-{number}") for number in range(size)]
        for node in nodes:
            await node.start()
            stack.push_async_callback(node.stop)
        cluster = Cluster(nodes)
        await cluster.join()
        yield cluster
