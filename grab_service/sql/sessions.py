"""Sessions in PostgreSQL, for all programs, and the sessions that are refused.

All programs read addresses alike and have the same limits. These are set after connecting and not as startup parameters, which
a pooler in between refuses or forgets.
"""

from collections.abc import Mapping
from typing import Final

import asyncpg

from grab_service.addresses import PostgresAddress

APPLICATION: Final = "grab-service"
LOOKS_AT_POOLER: Final = 3
_PID: Final = "SELECT pg_backend_pid()"

READS_ONLY: Final = "SELECT current_setting('transaction_read_only') = 'on'"
"""Asks whether nothing can be written: at a standby, and where it was set so."""


class SharedSessionError(OSError):
    """A pooler hands the server's sessions from caller to caller: locks and limits of a session would belong to nobody."""

    def __init__(self) -> None:
        super().__init__(
            "a pooler stands between and shares sessions (PgBouncer with pool_mode=transaction or statement);"
            " the lock of the ledger and the limits of a session need pool_mode=session, or the address of PostgreSQL itself"
        )


class Sessions:
    """Opens sessions in one database.

    Attributes:
        pooled: whether something stands between, as the session opened last has shown: a pooler such as PgBouncer.
    """

    def __init__(
        self,
        database_url: str,
        *,
        connect_timeout_s: float,
        command_timeout_s: float,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`settings` of each session, such as `{"statement_timeout": "60000"}`.

        Raises:
            AddressError: the address cannot be used.
        """
        self._address = PostgresAddress.parse(database_url)
        self._connect_timeout_s = self._address.connect_timeout_s or connect_timeout_s
        self._command_timeout_s = command_timeout_s
        self._settings = {**self._address.options, **(settings or {})}
        self._judged = False
        self.pooled = False

    async def open(self) -> asyncpg.Connection:
        """A session of the caller's own. Close it.

        Raises:
            SharedSessionError: a pooler gives the same session to others, too.
            asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError: it cannot be had.
        """
        session = await self._connect()
        try:
            await self._judge(session)
            if self._settings:
                await session.execute(
                    "; ".join(f"SET {_name(name)} = {_text(value)}" for name, value in self._settings.items())
                )
        except BaseException:
            session.terminate()
            raise
        return session

    async def _connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(
            self._address.dsn,
            timeout=self._connect_timeout_s,
            command_timeout=self._command_timeout_s,
            server_settings={"application_name": self._address.application_name or APPLICATION},
        )

    async def _judge(self, session: asyncpg.Connection) -> None:
        """Refuse sessions that are not the caller's own. Looked at once: what stands between does not change in a life."""
        if self._judged:
            return
        try:
            pid = await session.fetchval(_PID)
            self.pooled = pid != session.get_server_pid()
            for _ in range(LOOKS_AT_POOLER if self.pooled else 0):
                # While the first session is kept, a pooler that shares gives the one that it used last to the next caller.
                other = await self._connect()
                try:
                    if await other.fetchval(_PID) == await session.fetchval(_PID):
                        raise SharedSessionError
                finally:
                    other.terminate()
        except (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError):
            raise SharedSessionError from None  # prepared in one session of the server, and asked for in another
        self._judged = True


def _name(name: str) -> str:
    return ".".join(f'"{part}"' for part in name.split("."))


def _text(value: str) -> str:
    escaped = value.replace("'", "''")
    return f"'{escaped}'"
