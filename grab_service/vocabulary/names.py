"""Names of persons and unions, and tags of members: one rule for every way in.

Blanks around a name are no part of it, a run of blanks of any kind is one, and all other characters must be visible. Rare
characters of Chinese names stay, also those of the private use area.
"""

from collections.abc import Iterable
from typing import Final

from grab_service.vocabulary.identifiers import is_tag
from grab_service.vocabulary.invisible import unseen_in

PERSON_NAME_MAX: Final = 64
ORG_NAME_MAX: Final = 100
TAGS_MAX: Final = 16
BLANKS: Final = "\t\r\n"
"""Blanks that a file or a form may hold, beside those that are seen; in a name each run of blanks is one."""


class NameRefusedError(Exception):
    """It is no name; `kind` is empty, too_long, unseen, too_many or not_a_tag, `what` the bound, the character or the tag."""

    def __init__(self, kind: str, what: str | int = "") -> None:
        super().__init__(kind)
        self.kind = kind
        self.what = what


def tidy_name(text: str, length_max: int) -> str:
    """The name as it is kept.

    Raises:
        NameRefusedError: empty, too_long, unseen.
    """
    unseen = unseen_in(text, but=BLANKS)
    if unseen is not None:
        raise NameRefusedError("unseen", unseen)
    name = " ".join(text.split())
    if not name:
        raise NameRefusedError("empty")
    if len(name) > length_max:
        raise NameRefusedError("too_long", length_max)
    return name


def tidy_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags as they are kept: without blanks around them, each once, in their order; empty ones are none.

    Raises:
        NameRefusedError: too_many, not_a_tag.
    """
    found = tuple(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))
    if len(found) > TAGS_MAX:
        raise NameRefusedError("too_many", TAGS_MAX)
    for tag in found:
        if not is_tag(tag):
            raise NameRefusedError("not_a_tag", tag)
    return found
