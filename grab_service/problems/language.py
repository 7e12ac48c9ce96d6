"""The choice between our two languages for a caller."""

import re
from typing import Literal

Language = Literal["zh", "en"]

HEADER_MAX_BYTES = 512
RANGES_MAX = 16

_QUALITY = re.compile(rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


def choose_language(accept_language: bytes | None) -> Language:
    """Chinese, unless `Accept-Language` (RFC 9110) prefers English; never raises.

    Of two equal wishes the first one written wins. `*` stands for Chinese. A range that is malformed is passed over, and
    so is everything beyond HEADER_MAX_BYTES or RANGES_MAX.
    """
    # Most phones here send `zh-CN,zh;q=0.9,…`: wanted first and without reserve.
    if not accept_language or accept_language in {b"zh", b"zh-CN"} or accept_language.startswith((b"zh-CN,", b"zh,")):
        return "zh"
    chosen: Language = "zh"
    best = 0.0
    for part in accept_language[:HEADER_MAX_BYTES].split(b",")[:RANGES_MAX]:
        tag, *parameters = part.split(b";")
        language = _language_of(tag.strip().lower())
        quality = _quality_of(parameters)
        if language is not None and quality is not None and quality > best:
            chosen, best = language, quality
    return chosen


def _language_of(tag: bytes) -> Language | None:
    primary = tag.partition(b"-")[0]
    if primary == b"en":
        return "en"
    return "zh" if primary in {b"zh", b"*"} else None


def _quality_of(parameters: list[bytes]) -> float | None:
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if name.strip().lower() == b"q":
            if not _QUALITY.fullmatch(value.strip()):
                return None
            quality = float(value)
    return quality
