"""Who may change the cell? The ledger that took hold of it last, and nobody who slept through that.

A ledger may be suspended in the middle of a recovery, lose its lock in Postgres, and wake up when its successor has long
recovered and sells. So every write of the guard is conditional on a mark in Redis, checked by Redis itself in the moment of
the write. The mark is set only by a ledger that was told by Postgres, after it had begun to watch the mark, that it leads.
"""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Self

from redis.exceptions import ResponseError

from grab_service.vocabulary.keys import CellKeys
from reconcile.leader import NotLeadingError
from reconcile.redis_link import Command, Wire

TRIES_MAX: Final = 5

Confirm = Callable[[], Awaitable[bool]]
"""Asks Postgres, now, whether this ledger leads."""


class FencedOffError(Exception):
    """Another ledger has taken hold of the cell since, or somebody has emptied it; nothing was written."""


class Hold:
    """The cell in the hands of one ledger, on one connection, which ends with the hold. Build it with `take`."""

    def __init__(self, wire: Wire, keys: CellKeys, mark: bytes) -> None:
        self.wire = wire
        self.keys = keys
        self._mark = mark

    @classmethod
    async def take(cls, wire: Wire, keys: CellKeys, confirm: Confirm) -> Self:
        """Take hold; whoever held the cell before cannot change it any more.

        Whoever sleeps between the question to Postgres and the mark, and is replaced meanwhile, finds the mark changed.

        Raises:
            NotLeadingError: this ledger does not lead.
            FencedOffError: others take hold all the time.
            WireBrokenError, ResponseError: Redis did not answer, or refuses.
        """
        mark = secrets.token_hex(8).encode()
        for _ in range(TRIES_MAX):
            await wire.call("WATCH", keys.hold)
            if not await confirm():
                await wire.close()
                raise NotLeadingError("another ledger leads")
            if await _carry_out(wire, [["HSET", keys.hold, "mark", mark]], None) is not None:
                return cls(wire, keys, mark)
        raise FencedOffError("others take hold of the cell all the time")

    async def write(self, commands: Sequence[Command], timeout_s: float | None = None) -> list[Any]:
        """Carry the commands out at one moment, all or none, if the cell is still in this ledger's hands.

        Args:
            commands: what to do; their answers come in their order.
            timeout_s: how long to wait for the answers, if not as long as for others on this wire.

        Raises:
            FencedOffError: it is not; nothing was done.
            WireBrokenError: no answer came; they may have been carried out or not.
            ResponseError: Redis refused one of them.
        """
        _, mark = await self.wire.calls([["WATCH", self.keys.hold], ["HGET", self.keys.hold, "mark"]])
        if mark != self._mark:
            await self.wire.close()
            raise FencedOffError("the cell was emptied" if mark is None else "another ledger has taken hold of the cell")
        answers = await _carry_out(self.wire, commands, timeout_s)
        if answers is None:
            raise FencedOffError("another ledger has taken hold of the cell, or emptied it, this moment")
        return answers


async def _carry_out(wire: Wire, commands: Sequence[Command], timeout_s: float | None) -> list[Any] | None:
    """A transaction; None if what is watched has changed."""
    answers: list[Any] | None = (await wire.calls([["MULTI"], *commands, ["EXEC"]], timeout_s))[-1]
    for answer in answers or ():
        if isinstance(answer, ResponseError):
            raise answer
    return answers
