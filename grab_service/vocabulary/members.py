"""Members, and their records in the cell."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from grab_service.vocabulary.identifiers import is_member_id, is_org_id, is_tag


class MemberStatus(StrEnum):
    """Whether somebody may take part: only the active may."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Org:
    """A grassroots union."""

    org_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Member:
    """A registered member of one union.

    `person_id` is the same for all memberships of one person, None if nobody said; `birthday_month` is 1..12.
    """

    member_id: str
    org_id: str
    person_id: str | None
    name: str
    tags: tuple[str, ...]
    birthday_month: int | None
    joined_on: date | None
    status: MemberStatus


def member_record(member: Member, blocked_until_ms: int | None, version: int) -> str:
    """The member as the cell holds it, for `lua/commands/publish_members.lua` and `lua/commands/grab.lua`; never the name.

    `version|status|org_id|blocked_until_ms|birthday_month|joined_on|,tag,tag,`, where what is not known is empty,
    `joined_on` is `YYYY-MM-DD` and the tags stand between commas, so that the rules find `,tag,` by a plain search.

    Args:
        member: with names that were checked when they came in; anything else is a bug.
        blocked_until_ms: Unix milliseconds; None if the member is not blocked.
        version: rises with every change of any member; an older record never replaces a newer one.
    """
    assert is_member_id(member.member_id)
    assert is_org_id(member.org_id)
    assert all(map(is_tag, member.tags)), "a tag with a separator in it would be read as two"
    fields = (
        str(version),
        member.status.value,
        member.org_id,
        "" if blocked_until_ms is None else str(blocked_until_ms),
        "" if member.birthday_month is None else str(member.birthday_month),
        "" if member.joined_on is None else member.joined_on.isoformat(),
        f",{','.join(member.tags)}," if member.tags else ",",
    )
    return "|".join(fields)
