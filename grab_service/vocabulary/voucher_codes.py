"""What does a generated voucher code look like, and was this one read correctly?

`XXXX-XXXX-XXXX-XXXX-XXXX`: 18 characters of data (90 bits from the operating system) and 2 of check,
in Crockford's base 32, which has no I, L, O or U, so that a code can be read aloud over a counter.

The check is the data, as one number in base 32, modulo 1021. That prime is the largest one two characters can hold.
Writing the last two characters with the weights -32 and -1, every valid code sums to 0, all twenty weights differ
modulo 1021 and none is 0. Hence one wrong character is always noticed (31 · weight cannot be a multiple of a prime
above both), and so is the exchange of any two different characters, neighbours or not.
"""

import os
import sys
from collections.abc import Mapping
from types import MappingProxyType

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
DATA_LENGTH = 18
CHECK_LENGTH = 2
MODULUS = 1021
GENERATE_MAX = 1_000_000
TEXT_MAX = 64  # longer text is not a code, however many spaces somebody typed

_WORDS_A_CODE = DATA_LENGTH // 2
# Two characters for each ten bits: 9 look-ups a code instead of 18.
_PAIRS = tuple(high + low for high in ALPHABET for low in ALPHABET)
_VALUES: Mapping[str, int] = MappingProxyType({letter: value for value, letter in enumerate(ALPHABET)})


def _folding() -> Mapping[int, str | None]:
    """What a person may write for each character: any case, full-width forms, O for 0, I and L for 1, separators."""
    folding: dict[int, str | None] = {}
    for letter, meant in [(letter, letter) for letter in ALPHABET] + [("O", "0"), ("I", "1"), ("L", "1")]:
        for written in {letter, letter.lower()}:
            folding[ord(written)] = meant
            folding[ord(written) + 0xFEE0] = meant  # the full-width form that a Chinese keyboard types
    # Spaces of all widths, and the dashes that keyboards and word processors make of a hyphen.
    folding.update(dict.fromkeys(map(ord, " \t\r\n\u00a0\u2003\u3000-\u2010\u2011\u2012\u2013\u2014\u2212\uff0d"), None))
    return MappingProxyType(folding)


_FOLDING = _folding()


def generate(count: int) -> list[str]:
    """Fresh codes, as they are shown; about 1 µs each.

    Among ten million, two are equal with a chance below 10⁻¹³; the ledger's unique constraint refuses the second.

    Raises:
        ValueError: count is not in 0..GENERATE_MAX.
    """
    if not 0 <= count <= GENERATE_MAX:
        raise ValueError(f"between 0 and {GENERATE_MAX} codes at once, got {count}")
    size = count * _WORDS_A_CODE * 2
    # Ten bits of every sixteen: one AND over the whole buffer, then read as 16-bit words of this machine.
    mask = (0x3FF).to_bytes(2, sys.byteorder) * (size // 2)
    masked = (int.from_bytes(os.urandom(size), "little") & int.from_bytes(mask, "little")).to_bytes(size, "little")
    stream = iter(memoryview(masked).cast("H"))
    pairs = _PAIRS
    codes: list[str] = []
    for a, b, c, d, e, f, g, h, i in zip(*[stream] * _WORDS_A_CODE, strict=True):
        # 1024 leaves 3 modulo 1021, so Horner's rule runs in small numbers.
        check = ((((((((a * 3 + b) * 3 + c) * 3 + d) * 3 + e) * 3 + f) * 3 + g) * 3 + h) * 3 + i) % MODULUS
        codes.append(
            f"{pairs[a]}{pairs[b]}-{pairs[c]}{pairs[d]}-{pairs[e]}{pairs[f]}-{pairs[g]}{pairs[h]}-{pairs[i]}{pairs[check]}"
        )
    return codes


def normalise(text: str) -> str | None:
    """The code that somebody typed or read aloud, as it is shown; None if it cannot be one or was mistaken.

    Takes any case, full-width letters, spaces and dashes anywhere, O for 0, I and L for 1.
    """
    if len(text) > TEXT_MAX:
        return None
    folded = text.translate(_FOLDING)
    if len(folded) != DATA_LENGTH + CHECK_LENGTH:
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
