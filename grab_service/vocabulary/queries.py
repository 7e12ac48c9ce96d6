"""Query parameters under `/v1`: those that the call knows, once each, and `t` on reads.

Nothing is ignored in silence: a misspelt `lmit=5` would otherwise answer with the default, and look right.
"""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl

from grab_service.problems import Text

UNDER: Final = "/v1/"
FRESH: Final = "t"
"""On every GET: web-views keep answers by their address, and a new number makes a new address. It changes nothing."""

NOT_A_NUMBER: Final = Text("应为 1 到 16 位数字", "1 to 16 digits are needed")
TWICE: Final = Text("只能出现一次", "it may stand there once")
NONE_AT_ALL: Final = Text("没有这个参数，这里不接受参数", "there is no such parameter; this call takes none")
SHOWN_MAX: Final = 10
NAME_MAX: Final = 64
_DIGITS: Final = re.compile(r"[0-9]{1,16}")


def query_errors(query: bytes, known: Iterable[str], *, reads: bool) -> list[tuple[str, Text]]:
    """(parameter, reason) of what is wrong with a query, in its order; empty if nothing is.

    Args:
        query: as it stands in the address, without the `?`.
        known: the parameters of the call.
        reads: the call is a GET.
    """
    taken = sorted(known)
    allowed = {*taken, *([FRESH] if reads else [])}
    seen: set[str] = set()
    errors = []
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name not in allowed:
            errors.append((name[:NAME_MAX], _not_known(taken)))
        elif name in seen:
            errors.append((name, TWICE))
        elif name == FRESH and not _DIGITS.fullmatch(value):
            errors.append((name, NOT_A_NUMBER))
        seen.add(name)
    return errors[:SHOWN_MAX]


def _not_known(taken: list[str]) -> Text:
    if not taken:
        return NONE_AT_ALL
    return Text(f"没有这个参数，可用的有：{'、'.join(taken)}", f"there is no such parameter; there are: {', '.join(taken)}")
