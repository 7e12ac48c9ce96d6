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


def bars(moments: Sequence[Moment], rows_max: int = 24) -> list[str]:
    """One line a moment for the terminal: `▇` a share of the answers that was a grant, `·` the other answers."""
    shown = list(moments[:rows_max])
    top = max((moment.answers for moment in shown), default=0) or 1
    lines = []
    for moment in shown:
        cells = round(BAR_CELLS * moment.answers / top)
        granted = round(cells * moment.grants / moment.answers) if moment.answers else 0
        if moment.grants:
            granted = max(1, granted)
        bar = "▇" * granted + "·" * max(0, cells - granted)
        lines.append(f"{moment.after_ms / 1000:5.1f} s  {moment.grants:6,} won  {moment.answers:7,} answers  {bar}")
    if len(moments) > rows_max:
        lines.append(f"   …     and {len(moments) - rows_max} more tenths of a second")
    return lines
