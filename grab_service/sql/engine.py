"""How is Postgres reached, and within which bounds?"""

from typing import Final

from sqlalchemy.engine import make_url
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry

CONNECT_TIMEOUT_S: Final = 5
STATEMENT_TIMEOUT_S: Final = 60
POOL_WAIT_S: Final = 1.5
WAITING_MAX: Final = 24
"""Who would be one more in the queue for a connection hears at once that there is none."""


class ShortQueuePool(AsyncAdaptedQueuePool):
    """A pool whose queue is bounded, too: not every call of the service may come to wait for a Postgres that stands still."""

    _waiting = 0

    def _do_get(self) -> ConnectionPoolEntry:
        if self._waiting >= WAITING_MAX:
            raise PoolTimeoutError(f"{self._waiting} wait for a connection already")
        self._waiting += 1
        try:
            return super()._do_get()
        finally:
            self._waiting -= 1


def asyncpg_url(database_url: str) -> str:
    """The same database, spoken to through asyncpg, however the URL names its driver."""
    return make_url(database_url).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)


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
        idle_in_transaction_timeout_s: Postgres ends the session of whoever stands still in a transaction for so long, and
            keeps others waiting for its locks.
        ask_before_use: a pooled connection whether it still lives. That takes three answers of Postgres; who tries again
            by itself, and soon, can do without.
    """
    return create_async_engine(
        asyncpg_url(database_url),
        poolclass=ShortQueuePool,
        pool_size=connections_max,
        max_overflow=0,
        pool_timeout=POOL_WAIT_S,
        pool_pre_ping=ask_before_use,
        hide_parameters=True,  # an error's text ends in the log, where no name of a member may stand
        connect_args={
            "timeout": CONNECT_TIMEOUT_S,
            "command_timeout": statement_timeout_s + CONNECT_TIMEOUT_S,
            "server_settings": {
                "application_name": "grab-service",
                "statement_timeout": str(statement_timeout_s * 1000),
                "idle_in_transaction_session_timeout": str(idle_in_transaction_timeout_s * 1000),
            },
        },
    )
