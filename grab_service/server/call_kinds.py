"""The kind of each call, by declaration: its kind says which bound it has.

A call that is not declared here is ordinary, and counts against `GRAB_ORDINARY_MAX`. A stream would hold one of these places
for long: the first one brings a kind, and a bound, of its own.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class CallKind(StrEnum):
    """GRAB: bounded by the queue of the batcher. POLLED: as cheap as a refusal. PROBE: must pass whatever else waits."""

    ORDINARY = "ordinary"
    GRAB = "grab"
    POLLED = "polled"
    PROBE = "probe"


DECLARED: Final[Mapping[str, CallKind]] = {
    "/livez": CallKind.PROBE,
    "/readyz": CallKind.PROBE,
    "/metrics": CallKind.PROBE,
    "/v1/time": CallKind.POLLED,
    "/v1/campaigns/{campaign_id}/state": CallKind.POLLED,
    "/v1/campaigns/{campaign_id}/claims": CallKind.GRAB,
}
"""By the address, as its route writes it."""

_CAMPAIGN: Final = "/v1/campaigns/"


def kind_of(path: str) -> CallKind:
    """The kind of a call to this address."""
    declared = DECLARED.get(path)
    if declared is None and path.startswith(_CAMPAIGN):
        campaign_id, slash, rest = path[len(_CAMPAIGN) :].partition("/")
        declared = DECLARED.get(f"{_CAMPAIGN}{{campaign_id}}/{rest}") if campaign_id and slash else None
    return CallKind.ORDINARY if declared is None else declared
