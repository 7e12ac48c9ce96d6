"""Errors that keep a server from running, each with its remedy.

Every error here carries two sentences: the finding, and the remedy. The command line prints both and no traceback.
"""


class ServerError(Exception):
    """A server of ours, or one we were pointed at, cannot be used.

    Attributes:
        message: the finding, with the numbers and paths that matter.
        hint: the remedy.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        # Excerpts of a log keep their own lines.
        return ("\n" if "\n" in self.message else " ").join((self.message, self.hint))


class NoServerBinaryError(ServerError):
    """There is no server program on this machine that is new enough."""


class ServerTooOldError(ServerError):
    """A server answers, but it is older than what the rules and tables need."""


class ServerUnreachableError(ServerError):
    """A server that was given by its address does not answer, or not as one of its kind."""


class PortTakenError(ServerError):
    """The port that was asked for belongs to somebody else."""


class DiskFullError(ServerError):
    """There is too little space where the data are."""


class VarDirInUseError(ServerError):
    """Another run holds the directory of the servers' data."""


class ServerStillAliveError(ServerError):
    """A server does not end although it was told to."""


class ServerDidNotStartError(ServerError):
    """A server ended, or did not get ready in time; the end of its log is part of the message."""


class BrokenLogError(ServerError):
    """Valkey finds its append-only file damaged before its end."""


class CannotRunAsRootError(ServerError):
    """PostgreSQL refuses to run as root and this machine offers no other identity."""


class UnfitDatabaseError(ServerError):
    """A database answers, but it cannot be used as it is: another program's, not UTF8, behind a pooler that shares sessions."""


class ForeignDataError(ServerError):
    """The data directory belongs to another user or another major version."""


class NotEmbeddedError(ServerError):
    """The server was given by its address: it is not ours to stop and start."""
