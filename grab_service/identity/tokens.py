"""The ops tokens on record, and their revocation.

A token is on record from its first use on, or from its making here. Every worker refuses a revoked one, because each asks here
at every call of ops. A call that began before the revocation is finished.
"""

from dataclasses import dataclass
from time import time

from sqlalchemy import func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.ops_log.log import logged
from grab_service.refusal import RefusalError
from grab_service.sql.tables import ops_tokens
from grab_service.vocabulary.identifiers import is_token_id
from grab_service.vocabulary.passes import OpsIdentity, OpsToken


@dataclass(frozen=True, slots=True)
class RecordedToken:
    """A token on record; times in Unix milliseconds, `ended_at_ms` None while nobody has ended it."""

    token_id: str
    actor: str
    role: str
    created_at_ms: int
    expires_at_ms: int
    ended_at_ms: int | None


async def record_token(engine: AsyncEngine, token: OpsToken) -> None:
    """Put a token on record; no change if it is."""
    row = {
        "token_id": token.token_id,
        "actor": token.identity.actor,
        "role": token.identity.role.value,
        "created_at_ms": token.created_at_s * 1000,
        "expires_at_ms": token.expires_at_s * 1000,
    }
    async with engine.begin() as connection:
        await connection.execute(insert(ops_tokens).values(row).on_conflict_do_nothing())


async def is_ended(engine: AsyncEngine, token: OpsToken) -> bool:
    """Whether somebody has ended it; a token that is not on record yet is put there."""
    query = select(ops_tokens.c.ended_at_ms).where(ops_tokens.c.token_id == token.token_id)
    async with engine.connect() as connection:
        found = (await connection.execute(query)).one_or_none()
    if found is not None:
        return found.ended_at_ms is not None
    await record_token(engine, token)
    return False


async def list_tokens(engine: AsyncEngine, *, after: tuple[int, str] | None, limit: int) -> list[RecordedToken]:
    """Tokens on record, the newest first; `after` is (created_at_ms, token_id) of the last one of the page before."""
    place = tuple_(ops_tokens.c.created_at_ms, ops_tokens.c.token_id)
    query = select(ops_tokens).order_by(place.desc()).limit(limit)
    if after is not None:
        query = query.where(place < tuple_(*after))
    async with engine.connect() as connection:
        return [RecordedToken(**row) for row in (await connection.execute(query)).mappings()]


async def end_token(engine: AsyncEngine, identity: OpsIdentity, token_id: str) -> None:
    """Have every worker refuse it from now on; no change if it was ended before.

    Raises:
        RefusalError: token-not-found.
    """
    ended = (
        update(ops_tokens)
        .where(ops_tokens.c.token_id == token_id)
        .values(ended_at_ms=func.coalesce(ops_tokens.c.ended_at_ms, int(time() * 1000)))
        .returning(ops_tokens.c.actor)
    )
    async with logged(engine, identity, "end_token", token_id) as entry:
        if not is_token_id(token_id):
            raise RefusalError("token-not-found")
        async with engine.begin() as connection:
            actor = (await connection.execute(ended)).scalar_one_or_none()
        if actor is None:
            raise RefusalError("token-not-found")
        entry.detail["actor"] = actor
