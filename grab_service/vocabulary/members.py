"""How is a member written down in the cell? Without name or person: only what the rules read."""

from collections.abc import Iterable
from datetime import date

from grab_service.vocabulary.campaigns import encode_set


def member_record(
    *,
    version: int,
    status: str,
    org_id: str,
    blocked_until_ms: int | None,
    birthday_month: int | None,
    joined_on: date | None,
    tags: Iterable[str],
) -> str:
    """`version|status|org_id|blocked_until_ms|birthday_month|joined_on|,tag,tag,`, as `lua/grab.lua` reads it."""
    fields = (
        version,
        status,
        org_id,
        "" if blocked_until_ms is None else blocked_until_ms,
        "" if birthday_month is None else birthday_month,
        "" if joined_on is None else joined_on.isoformat(),
        encode_set(tags),
    )
    return "|".join(str(field) for field in fields)
