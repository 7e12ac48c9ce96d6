"""Forged passes, as a cheater would make them from passes that were given out.

Nothing is known here of how a pass is made: the attempts are those that anybody can make with the text of some.
"""

import random
from collections.abc import Iterator

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def forgeries(own: str, others: str, chance: random.Random) -> Iterator[tuple[str, str]]:
    """Endless (kind, pass that must not be taken), each kind in turn.

    Args:
        own: a good pass.
        others: a good pass of somebody else.
        chance: where to change it.
    """
    while True:
        at = chance.randrange(len(own))
        yield "with a letter changed", own[:at] + _other_letter(own[at], chance) + own[at + 1 :]
        yield "cut short", own[: chance.randrange(1, len(own))]
        yield "lengthened", own + chance.choice(_LETTERS)
        mixed = _mixed(own, others, chance)
        if mixed is not None:
            yield "of two parts", mixed
        raised = _raised(own)
        if raised is not None:
            yield "made to last", raised
        yield "that is none", "-"


def _other_letter(letter: str, chance: random.Random) -> str:
    return chance.choice([other for other in _LETTERS if other != letter])


def _mixed(own: str, others: str, chance: random.Random) -> str | None:
    """The parts of one with one part of the other, where they differ."""
    mine, theirs = own.split("."), others.split(".")
    differing = [place for place, (one, other) in enumerate(zip(mine, theirs, strict=False)) if one != other]
    if len(mine) != len(theirs) or len(differing) < 2:
        return None
    place = chance.choice(differing)
    return ".".join([*mine[:place], theirs[place], *mine[place + 1 :]])


def _raised(own: str) -> str | None:
    """The same with its longest number, which may be when it ends, a year later."""
    parts = own.split(".")
    numbers = [place for place, part in enumerate(parts) if part.isascii() and part.isdecimal() and len(part) > 8]
    if not numbers:
        return None
    place = max(numbers, key=lambda number: len(parts[number]))
    parts[place] = str(int(parts[place]) + 366 * 24 * 3600)
    return ".".join(parts)
