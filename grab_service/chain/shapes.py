"""Shapes of the chain's answers, for OpenAPI only: answers are built as plain JSON."""

from typing import Final

from pydantic import Field

from grab_service.http.shapes import Shape, Time

HASH: Final = "^[0-9a-f]{64}$"


class ChainBreak(Shape):
    """A life of the cell that began here, because the one before was lost or given up."""

    epoch: int
    reason: str
    lost_up_to_seq: int | None = Field(description="members may have heard of the life before up to there; null: none is lost")


class ChainLink(Shape):
    """One entry of the log: `head = SHA-256(head before ‖ digest)`."""

    first_seq: int
    last_seq: int
    digest: str = Field(pattern=HASH, description="SHA-256 of the entry's bytes")
    break_: ChainBreak | None = Field(alias="break", description="where another life of the cell began; else null")


class ChainPage(Shape):
    """Entries in the order of the log."""

    items: list[ChainLink]
    next_cursor: str | None


class Checkpoint(Shape):
    """A head of the chain that the ledger has signed."""

    seq: int
    head: str = Field(pattern=HASH)
    at: Time
    signature: str = Field(description="detached JWS (EdDSA) over the compact JSON of the other members, with sorted keys")


class CheckpointPage(Shape):
    """Checkpoints in the order of the log."""

    items: list[Checkpoint]
    next_cursor: str | None


class PublicKey(Shape):
    """A key as RFC 7517 and RFC 8037 write it."""

    kty: str
    crv: str
    kid: str
    alg: str
    use: str
    x: str


class PublicKeys(Shape):
    """The keys of all signatures of the service; the first signs now."""

    keys: list[PublicKey]
