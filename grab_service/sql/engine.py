"""Connections to PostgreSQL, and their bounds."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Final

from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry
from sqlalchemy.util.concurrency import await_only

from grab_service.sql.sessions import Sessions

CONNECT_TIMEOUT_S: Final = 5
STATEMENT_TIMEOUT_S: Final = 60
POOL_WAIT_S: Final = 1.5
WAITING_MAX: Final = 24
"""In the queue for a connection, while none comes back: one more caller hears at once that there is none."""

STILL_S: Final = 0.5
"""No connection has come back for so long: Postgres stands still, and not every call of the service may come to wait for it.
While they come back the queue is bounded by the places of admission, and by the time."""


class ShortQueuePool(AsyncAdaptedQueuePool):
    """A pool whose queue is served in turn, and bounded while it does not move.

    In SQLAlchemy's own, a caller who comes at the right moment takes the connection that has just come back, and the one who
    was woken for it begins to wait anew: in a queue that moves all the time, some wait until their time is over.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._turns = asyncio.Semaphore(self.size())
        self._waiting = 0
        self._moved_at_s = 0.0
        self.on_wait: Callable[[float], object] = lambda _waited_s: None
        """Told how long each caller waited for its turn, in seconds."""

    @property
    def waiting(self) -> int:
        """Callers that wait for a connection."""
        return self._waiting

    def _do_get(self) -> ConnectionPoolEntry:
        if self._turns.locked():
            now_s = time.monotonic()
            if not self._waiting:
                self._moved_at_s = now_s
            elif self._waiting >= WAITING_MAX and now_s - self._moved_at_s > STILL_S:
                raise PoolTimeoutError(f"{self._waiting} wait for a connection already")
        await_only(self._in_turn())
        try:
            return super()._do_get()
        except BaseException:
            self._turns.release()
            raise

    async def _in_turn(self) -> None:
        self._waiting += 1
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(POOL_WAIT_S):
                await self._turns.acquire()
        except TimeoutError:
            raise PoolTimeoutError(f"no connection came back in {POOL_WAIT_S} s") from None
        finally:
            self._waiting -= 1
            self.on_wait(time.monotonic() - began_s)

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        self._moved_at_s = time.monotonic()
        super()._do_return_conn(record)
        self._turns.release()


DIALECT: Final = "postgresql+asyncpg://"
"""All that SQLAlchemy is told: sessions are opened for it."""


def connect(
    database_url: str,
    *,
    connections_max: int,
    statement_timeout_s: int = STATEMENT_TIMEOUT_S,
    idle_in_transaction_timeout_s: int = STATEMENT_TIMEOUT_S,
    ask_before_use: bool = True,
) -> AsyncEngine:
    """An engine with a bounded pool; opens nothing yet. Close it with `await engine.dispose()`.

    Args:
        database_url: of Postgres, with user and password.
        connections_max: at once.
        statement_timeout_s: Postgres ends a statement that takes longer.
        idle_in_transaction_timeout_s: Postgres ends a session that stands still in a transaction for so long,
            while others wait for its locks.
        ask_before_use: a pooled connection whether it still lives. That takes three answers of Postgres; a caller that
            tries again soon by itself can do without.

    Raises:
        AddressError: the address cannot be used.
    """
    sessions = Sessions(
        database_url,
        connect_timeout_s=CONNECT_TIMEOUT_S,
        command_timeout_s=statement_timeout_s + CONNECT_TIMEOUT_S,
        settings={
            "statement_timeout": str(statement_timeout_s * 1000),
            "idle_in_transaction_session_timeout": str(idle_in_transaction_timeout_s * 1000),
        },
    )
    return create_async_engine(
        DIALECT,
        async_creator=sessions.open,
        poolclass=ShortQueuePool,
        pool_size=connections_max,
        max_overflow=0,
        pool_timeout=POOL_WAIT_S,
        pool_pre_ping=ask_before_use,
        hide_parameters=True,  # an error's text ends in the log, where no name of a member may stand
    )


def pool_of(engine: AsyncEngine) -> ShortQueuePool:
    """The pool of an engine that `connect` has made."""
    pool = engine.sync_engine.pool
    assert isinstance(pool, ShortQueuePool), "an engine of ours"
    return pool


async def fill_pool(engine: AsyncEngine, connections: int) -> None:
    """Open the connections of a pool before they are needed: the first calls of a worker would all wait for that.

    Raises:
        sqlalchemy.exc.SQLAlchemyError, asyncpg.PostgresError, OSError, TimeoutError: not all of them could be had.
    """
    async with AsyncExitStack() as stack:
        coming = (stack.enter_async_context(engine.connect()) for _ in range(connections))
        for result in await asyncio.gather(*coming, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
