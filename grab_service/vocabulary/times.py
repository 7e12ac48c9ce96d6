"""Moments in text: writing and parsing.

Inside, a moment is Unix milliseconds; outside it is RFC 3339 in UTC with milliseconds, `2026-09-20T04:00:00.000Z`.
"""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

MOMENT_MAX_MS: Final = 253_402_300_799_999
"""The last millisecond of the year 9999: no later moment can be written down."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:([Zz])|([+-])(\d\d):(\d\d))", re.ASCII
)


@lru_cache(maxsize=1024)
def _second(moment_s: int) -> str:
    # The winners of one rush share a few seconds, so nearly every call finds its text here.
    return datetime.fromtimestamp(moment_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.").rjust(20, "0")


def rfc3339(moment_ms: int) -> str:
    """The moment in UTC, to the millisecond; from 0 to MOMENT_MAX_MS."""
    second, rest = divmod(moment_ms, 1000)
    return f"{_second(second)}{rest:03d}Z"


def parse_rfc3339(text: str) -> int:
    """Unix milliseconds of a time that names its offset; fractions of a millisecond are cut off.

    Raises:
        ValueError: not such a time, or before 1970.
    """
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError("not a time with an offset, such as 2026-09-20T04:00:00Z")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    offset = UTC
    if found[9]:
        if int(found[10]) > 23 or int(found[11]) > 59:
            raise ValueError("no such offset")
        ahead = timedelta(hours=int(found[10]), minutes=int(found[11]))
        offset = timezone(ahead if found[9] == "+" else -ahead)
    whole = datetime(year, month, day, hour, minute, second, tzinfo=offset)
    moment_ms = (whole - _EPOCH) // timedelta(milliseconds=1) + int((found[7] or "0").ljust(3, "0")[:3])
    if not 0 <= moment_ms <= MOMENT_MAX_MS:
        raise ValueError("a time before 1970 or after 9999")
    return moment_ms


class Clock:
    """Writes moments as the clocks of a zone show them, for people and their spreadsheets."""

    def __init__(self, time_zone: str) -> None:
        self.name = time_zone
        try:
            self._zone: tzinfo = ZoneInfo(time_zone)
        except (ZoneInfoNotFoundError, ValueError):  # a slim system may know no zones
            self.name, self._zone = "UTC", UTC

    def show(self, moment_ms: int, *, exactly: bool = True) -> str:
        """`2026-09-20 12:00:00`, with milliseconds where there are any and they are wanted."""
        moment = datetime.fromtimestamp(moment_ms // 1000, self._zone)
        return moment.strftime("%Y-%m-%d %H:%M:%S") + (f".{moment_ms % 1000:03}" if exactly and moment_ms % 1000 else "")
