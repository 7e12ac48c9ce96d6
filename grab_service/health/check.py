"""The result of one readiness check."""

from dataclasses import dataclass
from enum import StrEnum


class CheckState(StrEnum):
    """`unknown`: it cannot be asked from here, which is neither well nor a fault; somebody has to see to it."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ReadinessCheck:
    """Whether one thing is as it should be, in words for the operator on call. `ok` None: it is not known."""

    ok: bool | None
    detail: str

    @property
    def state(self) -> CheckState:
        """As JSON shows it."""
        return CheckState.UNKNOWN if self.ok is None else CheckState.OK if self.ok else CheckState.FAILED
