"""The format of a calendar day."""

import re
from datetime import date
from typing import Final

_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def parse_day(text: str) -> date:
    """The day written as `YYYY-MM-DD`, and in no other way.

    Raises:
        ValueError: not such a day.
    """
    if _DAY.fullmatch(text) is None:
        raise ValueError("not a day, such as 2020-01-31")
    return date.fromisoformat(text)
