"""The timeline of a rush in a terminal: grants and answers per 100 ms since opening, as bars."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

BAR_CELLS: Final = 46


@dataclass(frozen=True, slots=True)
class Moment:
    """One tenth of a second: since opening, how many grants and how many answers of any kind it saw."""

    after_ms: int
    grants: int
    answers: int


def bar(grants: int, answers: int, top: int) -> str:
    """`▇` a share of the answers that was a grant, `·` the other answers; as long as allowed for `top` answers."""
    cells = round(BAR_CELLS * answers / top) if top else 0
    granted = max(bool(grants), round(cells * grants / answers) if answers else 0)
    return "▇" * granted + "·" * max(0, cells - granted)


def bars(moments: Sequence[Moment], rows_max: int = 24) -> list[str]:
    """One line a moment for the terminal: `▇` a share of the answers that was a grant, `·` the other answers."""
    shown = list(moments[:rows_max])
    top = max((moment.answers for moment in shown), default=0) or 1
    lines = []
    for moment in shown:
        drawn = bar(moment.grants, moment.answers, top)
        lines.append(f"{moment.after_ms / 1000:5.1f} s  {moment.grants:6,} won  {moment.answers:7,} answers  {drawn}")
    if len(moments) > rows_max:
        lines.append(f"   …     and {len(moments) - rows_max} more tenths of a second")
    return lines
