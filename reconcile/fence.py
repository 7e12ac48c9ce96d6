"""The fence: only the ledger that set the fencing token of the cell last may change the cell.

A ledger may be suspended in the middle of a recovery, lose its lock in Postgres, and wake up when its successor has long
recovered and sells. So every write of the guard is conditional on a token in Redis, checked by Redis itself in the moment of
the write. A ledger sets the token only if Postgres confirms, after the ledger has begun to watch the token, that it leads. The
token is the field `mark` of the key `hold`.
"""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Self

from redis.exceptions import ResponseError

from grab_service.vocabulary.keys import CellKeys
from reconcile.leader import NotLeadingError
from reconcile.redis_link import Command, RedisLink

TRIES_MAX: Final = 5

Confirm = Callable[[], Awaitable[bool]]
"""Asks Postgres, now, whether this ledger leads."""


class FencedOffError(Exception):
    """Another ledger has set its token since, or the cell was emptied; nothing was written."""


class Fence:
    """The right of one ledger to change the cell, on one connection, which ends with it. Build it with `take`."""

    def __init__(self, link: RedisLink, keys: CellKeys, token: bytes) -> None:
        self.link = link
        self.keys = keys
        self._token = token

    @classmethod
    async def take(cls, link: RedisLink, keys: CellKeys, confirm: Confirm) -> Self:
        """Set a new token: a former leader cannot change the cell any more.

        A ledger that sleeps between the question to Postgres and the token, and is replaced meanwhile, finds the token changed.

        Raises:
            NotLeadingError: this ledger does not lead.
            FencedOffError: other ledgers set their tokens all the time.
            LinkBrokenError, ResponseError: Redis did not answer, or refuses.
        """
        token = secrets.token_hex(8).encode()
        for _ in range(TRIES_MAX):
            await link.call("WATCH", keys.hold)
            if not await confirm():
                await link.close()
                raise NotLeadingError("another ledger leads")
            if await _carry_out(link, [["HSET", keys.hold, "mark", token]], None) is not None:
                return cls(link, keys, token)
        raise FencedOffError("other ledgers take the cell over all the time")

    async def write(self, commands: Sequence[Command], timeout_s: float | None = None) -> list[Any]:
        """Carry the commands out at one moment, all or none, if the token is still this ledger's.

        Args:
            commands: their answers come in their order.
            timeout_s: how long to wait for the answers, if not as long as for other commands of this link.

        Raises:
            FencedOffError: it is not; nothing was done.
            LinkBrokenError: no answer came; they may have been carried out or not.
            ResponseError: Redis refused one of them.
        """
        _, token = await self.link.calls([["WATCH", self.keys.hold], ["HGET", self.keys.hold, "mark"]])
        if token != self._token:
            await self.link.close()
            raise FencedOffError("the cell was emptied" if token is None else "another ledger has taken hold of the cell")
        answers = await _carry_out(self.link, commands, timeout_s)
        if answers is None:
            raise FencedOffError("another ledger has taken hold of the cell, or emptied it, this moment")
        return answers


async def _carry_out(link: RedisLink, commands: Sequence[Command], timeout_s: float | None) -> list[Any] | None:
    """A transaction; None if a watched key has changed."""
    answers: list[Any] | None = (await link.calls([["MULTI"], *commands, ["EXEC"]], timeout_s))[-1]
    for answer in answers or ():
        if isinstance(answer, ResponseError):
            raise answer
    return answers
