"""The election among ledgers: the leader holds a lock in Postgres for as long as its session lives."""

import asyncio
import contextlib
from typing import Any, Final

import asyncpg
import structlog

from grab_service.sql.sessions import READS_ONLY, Sessions
from reconcile.counters import Counters

LOCK: Final = 0x6C656164
"""Postgres' advisory lock of the leader. One database serves one cell."""

CONNECT_TIMEOUT_S: Final = 2.0
ANSWER_TIMEOUT_S: Final = 2.0
LOOK_INTERVAL_S: Final = 0.5
TRY_INTERVAL_S: Final = 0.25
SILENT_MAX_S: Final = 10
"""Postgres ends the session of a leader that stands still for so long, or whose machine is gone; then another one leads."""

# asyncpg calls it a mistake of its own (`InternalClientError`) when a connection is used between the server's last words, by
# which it says that it goes down, and its hanging up.
TROUBLE: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)

log = structlog.get_logger()


class NotLeadingError(Exception):
    """This ledger does not lead, or cannot tell; its work was not done, or it is not known."""


class ReadOnlyError(Exception):
    """Postgres takes no writes: a standby, or set so; nothing can be put on record there, and nobody leads."""


async def _see_that_it_writes(session: asyncpg.Connection) -> None:
    if await session.fetchval(READS_ONLY):
        raise ReadOnlyError("Postgres takes no writes: it is a standby, or default_transaction_read_only is on")


class Leader:
    """Whether this ledger leads. Only the leader arms and rebuilds the cell; the others wait for its session to end.

    `lacks_postgres` says whether it does not for want of Postgres.
    """

    def __init__(self, database_url: str, counters: Counters) -> None:
        self._sessions = Sessions(
            database_url,
            connect_timeout_s=CONNECT_TIMEOUT_S,
            command_timeout_s=ANSWER_TIMEOUT_S,
            settings={"idle_session_timeout": str(SILENT_MAX_S * 1000)},
        )
        self._counters = counters
        self._leads = asyncio.Event()
        self._session: asyncpg.Connection | None = None
        self._asking = asyncio.Lock()
        self.lacks_postgres = False

    @property
    def leads(self) -> bool:
        """Whether it leads, as far as it knows: a session that has died is noticed within a few seconds."""
        return self._leads.is_set()

    async def wait(self) -> None:
        """Wait until this ledger leads."""
        await self._leads.wait()

    async def confirm(self) -> bool:
        """Whether it leads, asked of Postgres just now; before a step that two ledgers must not take at once."""
        session = self._session
        if session is None or not self.leads:
            return False
        try:
            await self._ask(session)
        except (*TROUBLE, ReadOnlyError):
            return False
        return self.leads

    async def fetchval(self, query: str, *values: Any) -> Any:
        """One value, asked on the very session that holds the lock: its statements run while leading.

        Raises:
            NotLeadingError: that session has ended, or Postgres did not answer, or refused.
        """
        session = self._session
        if session is None:
            raise NotLeadingError("another ledger leads, or Postgres is away")
        try:
            async with self._asking:
                return await session.fetchval(query, *values)
        except TROUBLE as error:
            raise NotLeadingError(f"the leader's session in Postgres: {error}") from error

    async def run(self) -> None:
        """Try to lead, and notice when that ends, until cancelled."""
        said = False
        while True:
            try:
                session = await self._sessions.open()
            except TROUBLE as error:
                if not said:
                    log.warning("leader_waits", waits_for="postgres", why=str(error)[:300])
                    said = True
                self.lacks_postgres = True
                await asyncio.sleep(TRY_INTERVAL_S)
                continue
            try:
                await _see_that_it_writes(session)
                said, self.lacks_postgres = False, False
                await self._lead_on(session)
            except ReadOnlyError as error:
                if not said or self.leads:
                    log.warning("leader_waits", waits_for="postgres", led=self.leads, why=str(error))
                said = self.lacks_postgres = True
            except TROUBLE as error:
                log.warning("leader_session_lost", led=self.leads, why=str(error)[:300])
            finally:
                self._resign()
                with contextlib.suppress(*TROUBLE):
                    await session.close(timeout=ANSWER_TIMEOUT_S)
            await asyncio.sleep(TRY_INTERVAL_S)

    async def _lead_on(self, session: asyncpg.Connection) -> None:
        while not await session.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
            if self._counters.leading:
                self._resign()
            await asyncio.sleep(TRY_INTERVAL_S)
        self._session = session
        self._leads.set()
        self._counters.leading = 1
        log.info("leader_leads")
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            await self._ask(session)

    async def _ask(self, session: asyncpg.Connection) -> None:
        async with self._asking:
            await _see_that_it_writes(session)

    def _resign(self) -> None:
        self._leads.clear()
        self._session = None
        self._counters.leading = 0
        self._counters.open_alarms = {}
