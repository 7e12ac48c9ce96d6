"""Shapes of the answers to ops, for OpenAPI only: answers are built as plain JSON."""

from grab_service.http.shapes import Shape, Time
from grab_service.vocabulary.members import MemberStatus


class Org(Shape):
    """A grassroots union."""

    org_id: str
    name: str


class OrgPage(Shape):
    """Unions by id."""

    items: list[Org]
    next_cursor: str | None


class BlockOfMember(Shape):
    """A block: a member may not grab for a time; `until` null: until lifted."""

    until: Time | None
    reason: str


class OpsMember(Shape):
    """A member as ops read them: the fields of the import, and whether they are blocked."""

    member_id: str
    org_id: str
    person_id: str | None
    name: str
    tags: list[str]
    birthday_month: int | None
    joined_on: str | None
    status: MemberStatus
    blocked: BlockOfMember | None


class OpsMemberPage(Shape):
    """Members by id."""

    items: list[OpsMember]
    next_cursor: str | None


class Block(Shape):
    """A member who may not grab for a time; `until` null: until lifted."""

    member_id: str
    until: Time | None
    reason: str


class BlockPage(Shape):
    """Blocked members by id."""

    items: list[Block]
    next_cursor: str | None
