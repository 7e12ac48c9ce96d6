"""The finding of one check of the doctor."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """The result of a check.

    `unseen`: it cannot be checked from here, and need not be. `warn`: it works, and something may be lost or may fail
    under load. `fail`: it does not work, or must not be used.
    """

    OK = "ok"
    UNSEEN = "unseen"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """One check: its result, and a hint for the reader where that is not ok."""

    name: str
    state: State
    found: str
    hint: str = ""

    def as_json(self) -> dict[str, str]:
        """The finding in the form of `grab doctor --json`."""
        return {"name": self.name, "state": self.state, "found": self.found, "mend": self.hint}


def ok(name: str, found: str) -> DoctorFinding:
    """All is well."""
    return DoctorFinding(name, State.OK, found)


def unseen(name: str, found: str) -> DoctorFinding:
    """The user of the doctor may not check it, and need not."""
    return DoctorFinding(name, State.UNSEEN, found)


def warn(name: str, found: str, hint: str) -> DoctorFinding:
    """It works, but."""
    return DoctorFinding(name, State.WARN, found, hint)


def fail(name: str, found: str, hint: str) -> DoctorFinding:
    """It does not work."""
    return DoctorFinding(name, State.FAIL, found, hint)
