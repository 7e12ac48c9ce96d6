"""Characters of a text that are invisible, or that change the place of others.

Somebody reads titles, reasons and names, and decides by what they see: two that look alike must be alike. Rare Chinese
characters stay, also those of the private use area that a font of the union's has, and those that are newer than this Python.
"""

import re
import unicodedata
from typing import Final

from grab_service.problems import Text

# Controls, halves of surrogates, what Unicode calls default ignorable, line separators, controls of direction, annotations,
# blanks that are letters, and code points of no character.
_UNSEEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164"
    "\ud800-\udfff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_EMOJI: Final = "\u2190-\u21ff\u2300-\u27bf\u2900-\u297f\u2b00-\u2bff\U0001f000-\U0001faff"
_HAN: Final = "\u3400-\u9fff\ue000-\uf8ff\uf900-\ufaff\U00020000-\U0003ffff\U000f0000-\U0010fffd"
# Joiners of emojis, and selectors of a form of the character before: their effect is visible.
_SEEN: Final = re.compile(
    f"(?<=[{_EMOJI}\ufe0f])\u200d(?=[{_EMOJI}])"
    f"|(?<=[{_EMOJI}{_HAN}0-9#*\xa9\xae\u203c\u2049\u2122\u3030\u303d])[\ufe00-\ufe0f]"
    f"|(?<=[{_HAN}])[\U000e0100-\U000e01ef]"
)


def unseen_in(text: str, *, but: str = "") -> str | None:
    """The first such character, none of `but`, by its number and name; None if there is none."""
    if _UNSEEN.search(text) is None:
        return None
    found = next((letter for letter in _UNSEEN.findall(_SEEN.sub("", text)) if letter not in but), None)
    return None if found is None else f"U+{ord(found):04X} {unicodedata.name(found, '')}".rstrip()


def words_for(unseen: str) -> Text:
    """The reason to refuse a text with it."""
    return Text(
        f"有不可见或会打乱文字方向的字符 {unseen}，请删去", f"take out {unseen}: it cannot be seen, or turns text around"
    )
