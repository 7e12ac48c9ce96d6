"""Exceptions for a call that is refused, and for one whose outcome is unknown.

A problem of the catalogue names the refusal or the outage, with its status and words. One table maps failures of Redis and
Postgres to problems, for the answers over HTTP, for the log of ops and for the command line.
"""

from asyncpg import PostgresError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from grab_service.cell.store import CellClosedError, CellSilentError, CellUnreachableError
from grab_service.vocabulary.claims import UnknownRecordError


class RefusalError(Exception):
    """A call was refused; `name` is a problem of the catalogue, `extra` what its answer says beside.

    What in `extra` can be said in two languages has a method `in_language` and is put into words where the caller's is known.
    Unless it is `outcome-unknown` or `ledger-behind`, nothing was changed.
    """

    def __init__(self, name: str, *, retry_after_s: int | None = None, **extra: object) -> None:
        super().__init__(name)
        self.name = name
        self.retry_after_s = retry_after_s
        self.extra = extra


def refusal_of(error: BaseException) -> RefusalError | None:
    """What an error means to the caller; None for a bug."""
    match error:
        case RefusalError():
            return error
        case CellClosedError():
            return RefusalError("paused-for-recovery")
        case CellUnreachableError() | UnknownRecordError():
            return RefusalError("paused-for-recovery")
        case CellSilentError():
            return RefusalError("outcome-unknown")
        case InterfaceError() | OperationalError() | PoolTimeoutError() | ConnectionError() | TimeoutError():
            return RefusalError("ledger-unavailable")
        case DBAPIError() if error.connection_invalidated or _says_unavailable(error.orig):
            return RefusalError("ledger-unavailable")
        case PostgresError() if _says_unavailable(error):
            # Raised by the driver while it connects, before SQLAlchemy could wrap it.
            return RefusalError("ledger-unavailable")
        case _:
            return None


# Of SQLSTATE: connection, read-only, insufficient resources, operator intervention (shut down, starting up, cancelled).
_UNAVAILABLE = ("08", "25006", "53", "57", "58")


def _says_unavailable(error: BaseException | None) -> bool:
    sqlstate = getattr(error, "sqlstate", None)
    return isinstance(sqlstate, str) and sqlstate.startswith(_UNAVAILABLE)
