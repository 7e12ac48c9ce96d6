"""Pages of lists: an opaque cursor names the end of the last page."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Final, TypeVar

import orjson
from fastapi import Query

from grab_service.http.field_errors import field_error
from grab_service.problems import Language
from grab_service.refusal import RefusalError
from grab_service.vocabulary.json_text import read_json

LIMIT_MAX: Final = 100
CURSOR_MAX: Final = 200

Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="entries a page")]
Cursor = Annotated[
    str | None, Query(max_length=CURSOR_MAX, description="`next_cursor` of the page before; without it, the first page")
]

T = TypeVar("T")


def encode_cursor(*place: int | str) -> str:
    """The cursor of a place in a list."""
    return urlsafe_b64encode(orjson.dumps(place)).decode().rstrip("=")


def decode_cursor(cursor: str | None, language: Language, *kinds: type[int] | type[str]) -> tuple[int | str, ...] | None:
    """The place that `encode_cursor` was given, of these types; None for the first page.

    Raises:
        RefusalError: validation.
    """
    if cursor is None:
        return None
    try:
        place = read_json(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        place = None
    fits = isinstance(place, list) and [type(part) for part in place] == list(kinds)
    if not fits or encode_cursor(*place) != cursor or not all(_is_ours(part) for part in place):
        raise RefusalError("validation", errors=field_error("cursor", "not_a_cursor", language))
    return tuple(place)


def _is_ours(part: int | str) -> bool:
    """Whether the database could have given it out."""
    return abs(part) >> 62 == 0 if isinstance(part, int) else part.isprintable()


def page_of(found: list[T], limit: int) -> tuple[list[T], bool]:
    """(one page, whether there is more) of up to limit + 1 entries."""
    return found[:limit], len(found) > limit
