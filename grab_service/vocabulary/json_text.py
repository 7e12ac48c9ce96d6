"""JSON of others, read by one strict parser, no deeper than anything of ours is nested.

The parser itself goes down a thousand levels. Later steps (patches, checks, wording of errors) go down by
calls of Python, which has room for fewer levels, and the less the deeper it stands already.
"""

from typing import Any, Final

import orjson

NESTING_MAX: Final = 32


def read_json(text: bytes | str) -> Any:
    """The value of the text.

    Raises:
        orjson.JSONDecodeError: it is no JSON, or nested too deeply.
    """
    value = orjson.loads(text)
    # Nearly all that comes has fewer brackets than that.
    openings = text.count("[") + text.count("{") if isinstance(text, str) else text.count(b"[") + text.count(b"{")
    if openings > NESTING_MAX and not _is_shallow(value):
        raise orjson.JSONDecodeError(f"nested more than {NESTING_MAX} deep", "", 0)
    return value


def _is_shallow(value: Any) -> bool:
    level = [value]
    for _ in range(NESTING_MAX):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
            if isinstance(inner, dict | list)
        ]
        if not level:
            return True
    return False
