"""What does one look say?"""

from dataclasses import asdict, dataclass
from enum import StrEnum


class State(StrEnum):
    """What comes of a look.

    `unseen`: it cannot be seen from here, and that is as it should be. `warn`: it works, and something may be lost or may fail
    under load. `fail`: it does not work, or must not be used.
    """

    OK = "ok"
    UNSEEN = "unseen"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: what was found, and what to do about it where that is not ok."""

    name: str
    state: State
    found: str
    mend: str = ""

    def as_json(self) -> dict[str, str]:
        return asdict(self)


def ok(name: str, found: str) -> Finding:
    """All is well."""
    return Finding(name, State.OK, found)


def unseen(name: str, found: str) -> Finding:
    """Who looks may not see it, and need not."""
    return Finding(name, State.UNSEEN, found)


def warn(name: str, found: str, mend: str) -> Finding:
    """It works, but."""
    return Finding(name, State.WARN, found, mend)


def fail(name: str, found: str, mend: str) -> Finding:
    """It does not work."""
    return Finding(name, State.FAIL, found, mend)
