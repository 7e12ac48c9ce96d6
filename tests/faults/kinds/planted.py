"""Entries that no rule ever wrote, planted into the log: unreadable, too far, said twice."""

import random
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from redis.exceptions import ResponseError

from tests.harness.district import District

Entry = dict[Any, Any]

OPEN_ALARMS: Final = "SELECT count(*) FROM alarms WHERE kind LIKE 'log_%' AND cleared_at_ms IS NULL"


def poison_entry(district: District, dice: random.Random) -> AsyncIterator[None]:
    return _plant(district, lambda last: {"type": "rubbish", "seq": dice.choice(["NaN", "-1", ""])})


def gap_in_the_log(district: District, dice: random.Random) -> AsyncIterator[None]:
    def far(last: Entry) -> Entry:
        seq = int(last[b"last_seq"]) + dice.randrange(2, 50)
        return {**last, b"seq": seq, b"last_seq": seq}

    return _plant(district, far)


def entry_said_twice(district: District, dice: random.Random) -> AsyncIterator[None]:
    return _plant(district, dict)


async def _plant(district: District, made_of: Callable[[Entry], Entry]) -> AsyncIterator[None]:
    """Put an entry behind the last one, see that the ledger stops and raises an alarm, take it out again."""
    log = district.keys.log
    planted = ""
    async with district.valkey.client() as redis:
        while not planted:
            found: Any = await redis.xrevrange(log, count=1)
            last_id, last = found[0]
            place = f"{last_id.decode().split('-')[0]}-7"
            try:
                await redis.xadd(log, made_of(last), id=place)
                planted = place
            except ResponseError:
                continue  # the sale was faster

        async def has_stopped() -> bool:
            return bool(await district.ask_postgres(OPEN_ALARMS))

        await district.until(has_stopped)
        await redis.xdel(log, planted)
    yield

    async def goes_on() -> bool:
        return not await has_stopped()

    await district.until(goes_on)
