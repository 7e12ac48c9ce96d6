"""What does a rush look like? Grants and answers per 100 ms since opening, for a terminal and as SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

BAR_CELLS: Final = 46
WIDTH: Final = 860
HEIGHT: Final = 360
LEFT: Final = 64
TOP: Final = 48
BOTTOM: Final = 52
RIGHT: Final = 20
LABELS_MAX: Final = 12
TICKS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
GRANTED: Final = "#c2410c"
ANSWERED: Final = "#94a3b8"


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


def svg(moments: Sequence[Moment], title: str) -> str:
    """The same as a picture: two bars a moment on one scale of the square root, so that the few are seen beside the many."""
    inner_w, inner_h = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    top = max((moment.answers for moment in moments), default=0) or 1
    step = inner_w / max(1, len(moments))

    def height(value: int) -> float:
        return inner_h * math.sqrt(value / top)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-size="12">',
        f"<title>{_escaped(title)}</title>",
        "<style>text { font-family: sans-serif }</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="15" fill="#0f172a">{_escaped(title)}</text>',
        f'<text x="{LEFT}" y="40" fill="#475569">per 100 ms since opening; height grows with the square root</text>',
        f'<rect x="{WIDTH - 240}" y="31" width="10" height="10" fill="{GRANTED}"/>',
        f'<text x="{WIDTH - 225}" y="40">grants</text>',
        f'<rect x="{WIDTH - 150}" y="31" width="10" height="10" fill="{ANSWERED}"/>',
        f'<text x="{WIDTH - 135}" y="40">all answers</text>',
    ]
    for share in (0.0, 0.25, 1.0):
        value = int(top * share)
        y = TOP + inner_h - height(value)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e2e8f0"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#475569">{value:,}</text>')
    for place, moment in enumerate(moments):
        x = LEFT + place * step
        for value, colour, offset in ((moment.answers, ANSWERED, 0.08), (moment.grants, GRANTED, 0.5)):
            bar = height(value)
            parts.append(
                f'<rect x="{x + step * offset:.1f}" y="{TOP + inner_h - bar:.1f}" width="{max(0.5, step * 0.42):.1f}" '
                f'height="{bar:.1f}" fill="{colour}"><title>{moment.after_ms} ms: {value:,}</title></rect>'
            )
    every = next((ticks for ticks in TICKS if len(moments) / ticks <= LABELS_MAX), TICKS[-1])
    for place in range(0, len(moments), every):
        x = LEFT + place * step
        label = f"{moments[place].after_ms / 1000:g} s"
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 30}" text-anchor="middle" fill="#475569">{label}</text>')
    parts.append(f'<text x="{LEFT + inner_w / 2}" y="{HEIGHT - 10}" text-anchor="middle" fill="#0f172a">since opening</text>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
