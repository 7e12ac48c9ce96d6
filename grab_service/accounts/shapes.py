"""Shapes of the answers to ops, for OpenAPI only: answers are built as plain JSON."""

from grab_service.http.shapes import Shape, Time
from grab_service.vocabulary.passes import Role


class Token(Shape):
    """A token of ops: its holder and its validity; `ended_at` null: nobody has ended it before its time."""

    token_id: str
    actor: str
    role: Role
    created_at: Time
    created_at_ms: int
    expires_at: Time
    expires_at_ms: int
    ended_at: Time | None
    ended_at_ms: int | None


class TokenPage(Shape):
    """Tokens of ops, newest first."""

    items: list[Token]
    next_cursor: str | None
