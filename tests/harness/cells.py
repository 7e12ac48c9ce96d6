"""A cell of a test's own, and its whole content.

The rules are those of the checkout, or a copy with something changed in it. Nothing here replaces a part of the real thing:
the scripts run in a real Valkey and are called through the service's own `Cell`.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from redis.asyncio import Redis

from grab_service.cell.replies import GrabReply
from grab_service.cell.scripts import ScriptSources, new_nonce
from grab_service.cell.store import Cell
from grab_service.vocabulary import events
from grab_service.vocabulary.campaigns import BenefitKind, Eligibility, Release, encode_releases, encode_set
from grab_service.vocabulary.claims import ClaimRecord
from grab_service.vocabulary.keys import CellKeys

HOUR_MS: Final = 3_600_000


def now_ms() -> int:
    """The machine's clock, which is the one that Redis reads."""
    return time.time_ns() // 1_000_000


async def arm(client: Redis, name: str, sources: ScriptSources, *, epoch: int = 1, seq: int = 0) -> str:
    """Load the rules and let the cell begin; the nonce they are baked with."""
    keys, nonce = CellKeys.of(name), new_nonce()
    baked = sources.bake(nonce)
    async with client.pipeline(transaction=False) as pipe:
        for source in baked.values():
            pipe.script_load(source)
        shas = await pipe.execute()
        table: dict[Any, Any] = {sources.table_field(script): sha for script, sha in zip(baked, shas, strict=True)}
        pipe.hset(keys.cell, mapping={"epoch": epoch, "seq": seq, "nonce": nonce})
        pipe.hset(keys.scripts, mapping=table | {"epoch": str(epoch)})
        await pipe.execute()
    return nonce


async def armed_cell(client: Redis, name: str, members: Iterable[str] = ()) -> Cell:
    """A cell that has begun and knows these members."""
    sources = ScriptSources.read()
    await arm(client, name, sources)
    cell = Cell(client, name, sources)
    await enrol(cell, members)
    return cell


@dataclass(frozen=True, slots=True)
class Published:
    """A campaign as ops define it; the default is a free, one-per-member rush of one unit for everyone, open since an hour."""

    campaign_id: str = "c"
    releases: tuple[Release, ...] | None = None
    stock: int = 1
    opens_in_ms: int = -HOUR_MS
    closes_in_ms: int = HOUR_MS
    limit_per_member: int = 1
    benefit_kind: BenefitKind = BenefitKind.NONE
    eligibility: Eligibility = field(default_factory=Eligibility)
    version: int = 1
    display: str = '{"title": "中秋"}'

    def fields(self, at_ms: int) -> dict[str, str | int]:
        """The arguments of `publish_campaign`, as of that time."""
        releases = self.releases or (Release(at_ms + self.opens_in_ms, self.stock),)
        rules = self.eligibility
        return {
            "version": self.version,
            "releases": encode_releases(releases),
            "closes_at_ms": at_ms + self.closes_in_ms,
            "limit_per_member": self.limit_per_member,
            "benefit_kind": self.benefit_kind.value,
            "orgs": encode_set(rules.orgs),
            "tags_any": encode_set(rules.tags_any),
            "birthday_months": encode_set(rules.birthday_months),
            "joined_before": rules.joined_before or "",
            "display": self.display,
        }


A_RUSH: Final = Published(
    display='{"title": "中秋", "benefit": {"kind": "generated_code", "name": "月饼", "valid_days": 30}}',
    benefit_kind=BenefitKind.GENERATED_CODE,
)
"""A campaign of one unit, whose winner gets a code."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member's record; the defaults are somebody whom nothing is wrong with."""

    version: int = 1
    status: str = "active"
    org_id: str = "org-1"
    blocked_until_ms: int | None = None
    birthday_month: int | None = 5
    joined_on: str = "2020-01-31"
    tags: tuple[str, ...] = ()

    def record(self) -> str:
        """As the cell keeps it."""
        until = "" if self.blocked_until_ms is None else self.blocked_until_ms
        month = "" if self.birthday_month is None else self.birthday_month
        return f"{self.version}|{self.status}|{self.org_id}|{until}|{month}|{self.joined_on}|{encode_set(self.tags)}"


async def publish(cell: Cell, campaign: Published, *, codes: Sequence[str] = ()) -> int:
    """Put a campaign into the cell, its codes before it; its seq."""
    for first in range(0, len(codes), 1000):
        await cell.load_codes(campaign.campaign_id, first + 1, codes[first : first + 1000])
    reply = await cell.publish_campaign(campaign.campaign_id, campaign.fields(now_ms()))
    assert reply.outcome == "published"
    return reply.seq


async def enrol(cell: Cell, members: Iterable[str] | dict[str, Member], *, version: int = 1) -> None:
    """Put members into the cell; names alone become members whom nothing is wrong with."""
    people = members if isinstance(members, dict) else dict.fromkeys(members, Member(version=version))
    pairs = [text for name, member in people.items() for text in (name, replace(member, version=version).record())]
    for first in range(0, len(pairs), 2000):
        outcome, _, _ = await cell.publish_members(version, pairs[first : first + 2000])
        assert outcome in {"members_published", "already"}


async def grab(cell: Cell, wishes: Iterable[str | tuple[str, str] | tuple[str, str, str]], campaign_id: str = "c") -> GrabReply:
    """One batch; a wish is a member, or (member, idempotency_key), or (member, idempotency_key, candidate code)."""
    triples: list[str] = []
    for wish in wishes:
        parts = (wish,) if isinstance(wish, str) else wish
        triples += (*parts, *("",) * (3 - len(parts)))
    return await cell.grab(campaign_id, b"b-1", triples)


def word(answer: bytes) -> str:
    """The outcome alone."""
    return answer.split(b"\t", 1)[0].decode()


def words(reply: GrabReply) -> list[str]:
    """The outcomes alone, in the order of the batch."""
    return [word(answer) for answer in reply.answers]


def won(answer: bytes) -> ClaimRecord:
    """The record of a win; anything else fails the test."""
    outcome, _, record = answer.partition(b"\t")
    assert outcome == b"won", answer
    return ClaimRecord.parse(record)


def held(answer: bytes) -> tuple[str, ClaimRecord]:
    """(state, record) of a claim held already; anything else fails the test."""
    outcome, _, written = answer.partition(b"\t")
    assert outcome == b"held", answer
    record = ClaimRecord.parse(written)
    return record.state.value, record


async def log_of(client: Redis, cell: Cell) -> list[events.Event]:
    """The whole log, decoded, past the store."""
    entries: Any = await client.xrange(cell.keys.log)
    return [events.decode(entry_id, [part for pair in fields.items() for part in pair]) for entry_id, fields in entries]


async def everything(client: Redis, cell: Cell) -> dict[bytes, bytes]:
    """All keys of the cell with all that is in them, to compare before and after."""
    names = sorted([name async for name in client.scan_iter(match=f"{cell.keys.prefix}*", count=1000)])
    async with client.pipeline(transaction=True) as pipe:
        for name in names:
            pipe.dump(name)
        return dict(zip(names, await pipe.execute(), strict=True))
