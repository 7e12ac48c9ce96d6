"""Generated voucher codes: format and check character.

`XXXX-XXXX-XXXX-XXXX-XXXX-XXXX`: 4 characters of time, 18 of chance (90 bits from the operating system) and 2 of check,
in Crockford's base 32, which has no I, L, O or U, so that a code can be read aloud over a counter.

The time is for the unique index over all codes. Codes that are made one after the other begin alike and so lie side by side in
the index: a rush writes to a few of its pages, and not to all of them. The time counts steps of ten minutes since 2025 and is
rounded down. Four characters are the fewest that keep whole groups of four, and last until December 2044; then they begin
again at 0000, which only sets new codes among old ones of the same step. Nobody reads the time back, and a clock that is wrong
costs nothing but order: that no two codes are equal, and that nobody guesses one, rests on the 90 bits alone.

The check is time and chance, as one number in base 32, modulo 1021. That prime is the largest one two characters can hold.
Writing the last two characters with the weights -32 and -1, every valid code sums to 0, all 24 weights differ
modulo 1021 and none is 0. Hence one wrong character is always noticed (31 · weight cannot be a multiple of a prime
above both), and so is the exchange of any two different characters, neighbours or not.

Codes of before had no time: five groups, with the same check over their 18 characters. They are still read.
"""

import os
import sys
import time
from collections.abc import Mapping
from types import MappingProxyType

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
TIME_LENGTH = 4
RANDOM_LENGTH = 18
CHECK_LENGTH = 2
LENGTHS = (TIME_LENGTH + RANDOM_LENGTH + CHECK_LENGTH, RANDOM_LENGTH + CHECK_LENGTH)
"""Of the codes that are made now, and of those that were made before."""

TIME_STEP_S = 600
TIME_BEGAN_AT_S = 1_735_689_600  # 2025-01-01 in UTC
MODULUS = 1021
GENERATE_MAX = 1_000_000
TEXT_MAX = 64  # longer text is not a code, however many spaces somebody typed

_WORDS_A_CODE = RANDOM_LENGTH // 2
# Two characters for each ten bits: 9 look-ups a code instead of 18.
_PAIRS = tuple(high + low for high in ALPHABET for low in ALPHABET)
_VALUES: Mapping[str, int] = MappingProxyType({letter: value for value, letter in enumerate(ALPHABET)})


def _folding() -> Mapping[int, str | None]:
    """Accepted spellings of each character: any case, full-width forms, O for 0, I and L for 1, separators."""
    folding: dict[int, str | None] = {}
    for letter, meant in [(letter, letter) for letter in ALPHABET] + [("O", "0"), ("I", "1"), ("L", "1")]:
        for written in {letter, letter.lower()}:
            folding[ord(written)] = meant
            folding[ord(written) + 0xFEE0] = meant  # the full-width form that a Chinese keyboard types
    # Spaces of all widths, and the dashes that keyboards and word processors make of a hyphen.
    folding.update(dict.fromkeys(map(ord, " \t\r\n\u00a0\u2003\u3000-\u2010\u2011\u2012\u2013\u2014\u2212\uff0d"), None))
    return MappingProxyType(folding)


_FOLDING = _folding()


def generate(count: int, at_s: float | None = None) -> list[str]:
    """Fresh codes of one moment (now, if none is given), as they are shown; about 1 µs each.

    Among ten million, two are equal with a chance below 10⁻¹³; the ledger's unique constraint refuses the second.

    Raises:
        ValueError: count is not in 0..GENERATE_MAX.
    """
    if not 0 <= count <= GENERATE_MAX:
        raise ValueError(f"between 0 and {GENERATE_MAX} codes at once, got {count}")
    steps = int((time.time() if at_s is None else at_s) - TIME_BEGAN_AT_S) // TIME_STEP_S % 32**TIME_LENGTH
    pairs = _PAIRS
    began = f"{pairs[steps >> 10]}{pairs[steps & 1023]}"
    # 1024 leaves 3 modulo 1021, so Horner's rule runs in small numbers.
    t = ((steps >> 10) * 3 + (steps & 1023)) * 3 % MODULUS
    size = count * _WORDS_A_CODE * 2
    # Ten bits of every sixteen: one AND over the whole buffer, then read as 16-bit words of this machine.
    mask = (0x3FF).to_bytes(2, sys.byteorder) * (size // 2)
    masked = (int.from_bytes(os.urandom(size), "little") & int.from_bytes(mask, "little")).to_bytes(size, "little")
    stream = iter(memoryview(masked).cast("H"))
    codes: list[str] = []
    for a, b, c, d, e, f, g, h, i in zip(*[stream] * _WORDS_A_CODE, strict=True):
        check = (((((((((t + a) * 3 + b) * 3 + c) * 3 + d) * 3 + e) * 3 + f) * 3 + g) * 3 + h) * 3 + i) % MODULUS
        codes.append(
            f"{began}-{pairs[a]}{pairs[b]}-{pairs[c]}{pairs[d]}-{pairs[e]}{pairs[f]}-{pairs[g]}{pairs[h]}-{pairs[i]}{pairs[check]}"
        )
    return codes


def normalise(text: str) -> str | None:
    """The code that somebody typed or read aloud, as it is shown; None if it cannot be one or was mistaken.

    Takes any case, full-width letters, spaces and dashes anywhere, O for 0, I and L for 1.
    """
    if len(text) > TEXT_MAX:
        return None
    folded = text.translate(_FOLDING)
    if len(folded) not in LENGTHS:
        return None
    number = 0
    for letter in folded:
        value = _VALUES.get(letter)
        if value is None:
            return None
        number = number << 5 | value
    data, check = number >> 5 * CHECK_LENGTH, number & (1 << 5 * CHECK_LENGTH) - 1
    if data % MODULUS != check:
        return None
    return "-".join([folded[start : start + 4] for start in range(0, len(folded), 4)])
