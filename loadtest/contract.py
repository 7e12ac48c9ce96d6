"""The meaning of an answer to a grab, and how long it asks the client to wait before the same request again.

The words come from the published HTTP contract: statuses and problem codes. Nothing here is shared with the service
in code, so a service that drifts from its contract is noticed.
"""

import random
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

SOLD_OUT = "sold-out"
NOT_OPEN_YET = "not-open-yet"
UNREADABLE = "unreadable"

RETRY_AFTER_DEFAULT_S = 0.2
RETRY_AFTER_MIN_S = 0.02
RETRY_AFTER_MAX_S = 5.0

# A problem code is a slug; anything else is not one of the contract's.
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,63}", re.ASCII)

_WON, _HELD, _ENTERED = 201, 200, 202
_REFUSALS = frozenset({403, 409, 410})
# 502 and 504 are a proxy's way to say that it does not know; a repeat is safe, as after a 503.
_AGAIN = frozenset({429, 502, 503, 504})


class Meaning(StrEnum):
    """The conclusion of the asker, which decides the next step of an honest client."""

    WON = "won"
    HELD = "held"
    ENTERED = "entered"
    REFUSED = "refused"
    AGAIN = "again"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Problem:
    """The parts of a problem document that decide what a client does.

    Attributes:
        code: the problem's slug; `unreadable` if the body is not a problem document.
        opens_in_ms: how long until the opening, where the answer says so.
    """

    code: str
    opens_in_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer to a grab, as every client of the load tools reads it.

    Attributes:
        meaning: the conclusion of the asker.
        name: of the outcome, or the problem's code; with the status where the contract knows neither.
        code: the problem's code, empty for an answer that is no problem.
        opens_in_ms: how long until the opening, where a problem says so.
    """

    meaning: Meaning
    name: str
    code: str = ""
    opens_in_ms: int | None = None


def read_answer(status: int, body: bytes) -> Reading:
    """Read the final answer to a grab."""
    if 200 <= status < 300:
        meaning = meaning_of(status, "")
        return Reading(meaning, str(status) if meaning is Meaning.BROKEN else meaning.value)
    problem = read_problem(body)
    name = f"{status} {UNREADABLE}" if problem.code == UNREADABLE else problem.code
    return Reading(meaning_of(status, problem.code), name, problem.code, problem.opens_in_ms)


def pause_s(retry_after: str | None, opens_in_ms: int | None) -> float:
    """Wait that an answer asks for before the same request again: bounded, and not the same for all."""
    if opens_in_ms is not None:
        return max(1, opens_in_ms) / 1000
    try:
        asked_s = RETRY_AFTER_DEFAULT_S if retry_after is None else float(retry_after)
    except ValueError:
        asked_s = RETRY_AFTER_DEFAULT_S
    return min(RETRY_AFTER_MAX_S, max(RETRY_AFTER_MIN_S, asked_s)) * random.uniform(1.0, 1.5)


def meaning_of(status: int, code: str) -> Meaning:
    """Say what a final status and problem code mean; `code` is empty for answers that are no problem."""
    if status == _WON:
        return Meaning.WON
    if status == _HELD:
        return Meaning.HELD
    if status in _REFUSALS:
        if code == NOT_OPEN_YET:
            return Meaning.AGAIN
        return Meaning.BROKEN if code == UNREADABLE else Meaning.REFUSED
    if status in _AGAIN:
        return Meaning.AGAIN
    if status == _ENTERED:
        return Meaning.ENTERED
    return Meaning.BROKEN


def read_problem(body: bytes) -> Problem:
    """Read a problem document; never raises, an unreadable body is a problem of its own."""
    document = _object(body)
    code = document.get("code")
    if not isinstance(code, str) or not _SLUG.fullmatch(code):
        return Problem(UNREADABLE)
    opens_in_ms = document.get("opens_in_ms")
    return Problem(code, opens_in_ms if isinstance(opens_in_ms, int) else None)


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}
