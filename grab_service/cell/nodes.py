"""The node of a cluster that has the cell, and how connections find it.

All keys of a cell carry one hash tag, so the whole cell lives on one node, and a client needs connections to that node alone.
A node says by `MOVED` who has the cell instead. This module sends nothing a second time: a call answered by MOVED was refused,
and the next connection that is taken from the pool leads to the node that was named.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from redis.asyncio import Connection, ConnectionPool, SSLConnection
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError, ResponseError, TryAgainError
from redis.exceptions import ConnectionError as NoConnectionError

from grab_service.vocabulary.keys import CellKeys

HOPS_MAX: Final = 4
NODES_MAX: Final = 1000
NOT_HERE: Final = (AskError, ClusterDownError, TryAgainError)
"""The cell has moved (`MovedError` is an `AskError`) or is on its way, or its cluster is not whole. Nothing was done."""

Address = tuple[str, int]


class Nodes:
    """The known servers behind one address, for the connections of one client. A single server is its only node.

    Attributes:
        at: where the cell was seen last; None: where the address leads.
        moves: how often that has changed; a connection made before the last change leads to another node.
        is_alone: this server is no part of a cluster.
    """

    def __init__(self, cell_name: str) -> None:
        self.key = CellKeys.of(cell_name).cell
        self.at: Address | None = None
        self.moves = 0
        self.is_alone = False
        self._named: tuple[Address, ...] = ()
        self._others: list[Address] = []
        self._learned_at_move = -1

    @property
    def wants_to_learn(self) -> bool:
        """Whether the cell has moved since the nodes were asked who they are."""
        return self._learned_at_move != self.moves

    def moved(self, to: Address) -> None:
        """A node has named another one as that of the cell."""
        self.is_alone = False
        if to != self.at:
            self.at = to
            self.moves += 1

    def lost(self, first: Address, address: Address) -> None:
        """No answer from there, or none that names a node: another node may know which one has the cell now."""
        candidates = list(dict.fromkeys((first, *self._others, *self._named)))
        at = candidates.index(address) if address in candidates else -1
        other = candidates[(at + 1) % len(candidates)]
        if other != address:
            self.moved(other)

    def named(self, addresses: tuple[Address, ...]) -> None:
        """The address of the settings names these; any of them may be the first to answer."""
        self._named = addresses

    @property
    def must_be_a_cluster(self) -> bool:
        """Whether the address names several nodes: single servers beside each other would be two cells."""
        return len(self._named) > 1

    def learned(self, others: list[Address]) -> None:
        """These are the nodes of the cluster."""
        self._others = others[:NODES_MAX]
        self._learned_at_move = self.moves


class _Following(Connection):
    """A connection that leads to the node of the cell whenever it is made."""

    def __init__(self, *, nodes: Nodes, **settings: Any) -> None:
        super().__init__(**settings)
        self._nodes = nodes
        self._first = (self.host, self.port)
        self._made_at_move = -1

    @property
    def is_where_the_cell_is(self) -> bool:
        """Whether the cell has not moved since it was made."""
        return self._made_at_move == self._nodes.moves

    async def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        nodes = self._nodes
        if self.is_connected:
            if self.is_where_the_cell_is:
                return
            await self.disconnect(nowait=True)
        refused: NoConnectionError | None = None
        for _ in range(HOPS_MAX):
            self._made_at_move = nodes.moves
            self.host, self.port = nodes.at or self._first
            try:
                await super().connect_check_health(check_health, retry_socket_connect)
                if not nodes.is_alone:
                    await self._look_around()
            except BaseException as error:
                if self.is_where_the_cell_is:
                    nodes.lost(self._first, (self.host, self.port))
                await self.disconnect(nowait=True)
                # An immediate refusal costs no time: another node may know better. A time-out has cost enough.
                if not isinstance(error, NoConnectionError) or self.is_where_the_cell_is:
                    raise
                refused = error
                continue
            if self.is_where_the_cell_is:
                return
            await self.disconnect(nowait=True)
        raise refused or NoConnectionError("the nodes of the cluster do not agree on who has the cell")

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        """Sent at once if the kernel takes it: redis-py would make a task of it, and be a turn of the loop later."""
        writer = self._writer
        if writer is not None and not isinstance(command, bytes | str) and not self.health_check_interval:
            writer.writelines(command)
            if not writer.transport.get_write_buffer_size():
                return
            command = ()
        await super().send_packed_command(command, check_health)

    async def read_response(self, *args: Any, **settings: Any) -> Any:
        try:
            return await super().read_response(*args, **settings)
        except MovedError as error:
            # In MOVED, an empty host means the host of the node that answered.
            if self.is_where_the_cell_is:
                self._nodes.moved((error.host or self.host, error.port))
            raise
        except ClusterDownError:
            if self.is_where_the_cell_is:
                self._nodes.lost(self._first, (self.host, self.port))
            raise

    async def _look_around(self) -> None:
        """Ask whether the cell is here, and once after each move which other nodes there are."""
        if isinstance(await self._ask("HGET", self._nodes.key, "epoch"), MovedError):
            return
        if self._nodes.wants_to_learn:
            found = await self._ask("CLUSTER", "SLOTS")
            if isinstance(found, ResponseError):
                self._nodes.is_alone = "cluster support disabled" in str(found)
                if self._nodes.is_alone and self._nodes.must_be_a_cluster:
                    self._nodes.is_alone = False
                    raise NoConnectionError(
                        f"the address names several nodes, and {self.host}:{self.port} is no node of a cluster"
                    )
                found = ()
            self._nodes.learned(addresses(found, self.host))

    async def _ask(self, *command: str) -> Any:
        """The answer, also if it is a refusal."""
        await self.send_command(*command, check_health=False)
        try:
            return await self.read_response()
        except ResponseError as refusal:
            return refusal


class _FollowingTls(_Following, SSLConnection):
    """The same, encrypted."""


async def leads_on(connection: AbstractConnection) -> bool:
    """Whether a connection whose replies have all been read is still open, and leads to where the cell is."""
    if not connection.is_connected or (isinstance(connection, _Following) and not connection.is_where_the_cell_is):
        return False
    try:
        return not await connection.can_read()  # an end, or what nobody asked for
    except (RedisError, OSError):
        return False


def follow(pool: ConnectionPool, nodes: Nodes, named: tuple[Address, ...]) -> None:
    """Let the connections that this pool will make lead to the node of the cell. A Unix socket leads where it leads.

    `named` are the nodes that the address names; the first that answers tells of the others.
    """
    nodes.named(named)
    kinds: dict[type, type[_Following]] = {Connection: _Following, SSLConnection: _FollowingTls}
    kind = kinds.get(pool.connection_class)
    if kind is not None:
        pool.connection_class = kind
        pool.connection_kwargs["nodes"] = nodes


def addresses(slots: Sequence[Any], host: str) -> list[Address]:
    """All nodes, primaries and replicas, in the answer of CLUSTER SLOTS, which may leave out `host`, that of the node asked."""
    found = ((node[0] or b"", int(node[1])) for part in slots for node in part[2:])
    return list(dict.fromkeys(((name.decode() if isinstance(name, bytes) else name) or host, port) for name, port in found))
