"""Up to a million registered members within seconds.

By SQL into PostgreSQL, and from there into the cell as every import does it: by the same records and the same Lua command.
"""

import random
import time
from collections.abc import Callable, Iterable
from typing import Final

from sqlalchemy import text

from bench.testbed import KID, PASSES_LAST_S, SECRET, Testbed
from grab_service.cell.scripts import ScriptSources
from grab_service.cell.store import Cell
from grab_service.publishing.publish import publish_members
from grab_service.vocabulary.passes import PassKeys, mint
from loadtest.passes import Member

MEMBERS_PER_UNION: Final = 190
AT_ONCE: Final = 50_000

_UNIONS: Final = text(
    "INSERT INTO orgs (org_id, name) SELECT 'u-' || n / :size, '工会' || n / :size "
    "FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n ON CONFLICT DO NOTHING"
)
_COUNT: Final = text("SELECT count(*) FROM members WHERE member_id LIKE 'p-%'")
_MEMBERS: Final = text(
    "INSERT INTO members (member_id, org_id, name, tags, birthday_month, joined_on, status, version) "
    "SELECT 'p-' || lpad(n::text, 12, '0'), 'u-' || n / :size, '张三', ARRAY['technician'], n % 12 + 1, DATE '2015-06-01', "
    "'active', nextval('members_version') FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n"
)


async def settle(testbed: Testbed, number: int, log: Callable[[str], None]) -> None:
    """Let so many be registered, together with those who are; they are numbered from 0."""
    cell = Cell(testbed.redis, testbed.settings.cell, ScriptSources.read())
    async with testbed.engine.connect() as connection:
        before = (await connection.execute(_COUNT)).scalar_one()
    began_s = time.monotonic()
    for first in range(before, number, AT_ONCE):
        span = {"first": first, "last": min(first + AT_ONCE, number) - 1, "size": MEMBERS_PER_UNION}
        async with testbed.engine.begin() as connection:
            await connection.execute(_UNIONS, span)
            await connection.execute(_MEMBERS, span)
        await publish_members(testbed.engine, cell)
        if time.monotonic() - began_s > 2:
            log(f"{span['last'] + 1:,} of {number:,} members are registered")
            began_s = time.monotonic()
    await testbed.drained()


def some(testbed: Testbed, among: int, number: int, seed: int) -> list[Member]:
    """So many of the first `among` members, in no order, with their passes."""
    return with_passes(testbed, random.Random(seed).sample(range(among), number))


def with_passes(testbed: Testbed, numbers: Iterable[int]) -> list[Member]:
    """These members with their passes."""
    keys = PassKeys.build(testbed.settings.cell, [(KID, SECRET.encode())])
    expires_at_s = int(time.time()) + PASSES_LAST_S
    names = (f"p-{number:012}" for number in numbers)
    return [Member(name.encode(), mint(keys, name, expires_at_s).encode()) for name in names]
