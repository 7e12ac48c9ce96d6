"""The fields of a grab's refusal, beside its code.

One function for all who say it: the grab, the answer to a member who asks whether they may take part, and the one to ops.
"""

from typing import Any

from grab_service.vocabulary.outcomes import Outcome
from grab_service.vocabulary.times import MOMENT_MAX_MS, rfc3339


def fields_of_refusal(
    outcome: Outcome, rest: bytes, opens_at_ms: int, next_release_at_ms: int | None, now_ms: int
) -> dict[str, Any]:
    """The fields by name: strings, numbers, None, and tuples of these.

    Args:
        outcome: the refusal.
        rest: what follows the outcome's word, as the header of its rule says.
        opens_at_ms: when the campaign opens.
        next_release_at_ms: when its next units come; None: never.
        now_ms: the cell's clock at the refusal.
    """
    match outcome:
        case Outcome.NOT_OPEN_YET:
            # Never 0: at 0 the caller would ask again at once and be told the same.
            return {"opens_at_ms": opens_at_ms, "opens_in_ms": max(1, opens_at_ms - now_ms)}
        case Outcome.MEMBER_BLOCKED:
            lasts = not rest or int(rest) >= MOMENT_MAX_MS  # until somebody lifts it
            return {"until": None if lasts else rfc3339(int(rest))}
        case Outcome.NOT_ELIGIBLE:
            return {"failed_rules": tuple(rest.decode().split(","))}
        case Outcome.PER_MEMBER_LIMIT:
            limit, used = rest.split(b"\t")
            return {"limit": int(limit), "used": int(used)}
        case Outcome.SOLD_OUT:
            return {"next_release_at_ms": next_release_at_ms, "waitlist": False}
        case _:
            return {}
