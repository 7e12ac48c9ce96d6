"""The content of a cell, decoded; and the content that its log alone says should be there."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from redis.asyncio import Redis

from grab_service.vocabulary import events
from grab_service.vocabulary.campaigns import Release, encode_releases
from grab_service.vocabulary.claims import ClaimRecord, ClaimState, parse_holding
from grab_service.vocabulary.keys import CellKeys
from tests.rules import COUNTERS, counters


@dataclass(slots=True)
class Holdings:
    """One campaign, as its keys tell it, or as the log does: what changes after it is published."""

    state: str = ""
    version: str = ""
    releases: str = ""
    counters: dict[str, int] = field(default_factory=lambda: counters((), 0))
    codes_loaded: int = 0
    claims: dict[str, list[ClaimRecord]] = field(default_factory=dict)
    bindings: dict[str, ClaimRecord] = field(default_factory=dict)
    free: list[int] = field(default_factory=list)
    returns: dict[int, int] = field(default_factory=dict)
    codes: list[str] = field(default_factory=list)

    @property
    def held(self) -> list[tuple[str, ClaimRecord]]:
        """(member_id, record) of every claim that holds a unit."""
        return [(member_id, record) for member_id, records in self.claims.items() for record in records]

    def counted(self) -> dict[str, int]:
        """What the counters should be, from claims and free units."""
        return counters([record for _, record in self.held], len(self.free))


@dataclass(frozen=True, slots=True)
class Observed:
    """A whole cell at one moment. `rules` are the facts of a published campaign that never change."""

    cell: dict[str, str]
    members: dict[str, str]
    campaign_ids: set[str]
    campaigns: dict[str, Holdings]
    rules: dict[str, dict[str, str]]
    log: list[events.Event]

    @property
    def seq(self) -> int:
        return int(self.cell["seq"])


CHANGING = ("state", "version", "releases", "codes_loaded", *COUNTERS)


def _texts(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in fields.items()}


async def observe(
    client: Redis, keys: CellKeys, campaign_ids: Iterable[str], log_so_far: Sequence[events.Event] = ()
) -> Observed:
    """Everything at once; of the log only what comes after `log_so_far` is read, and its length compared."""
    after = f"({log_so_far[-1].last_seq}-0" if log_so_far else "-"
    ids = list(campaign_ids)
    async with client.pipeline(transaction=True) as pipe:
        pipe.hgetall(keys.cell)
        pipe.hgetall(keys.members)
        pipe.smembers(keys.campaigns)
        pipe.xlen(keys.log)
        pipe.xrange(keys.log, after)
        for campaign_id in ids:
            campaign = keys.of_campaign(campaign_id)
            pipe.hgetall(campaign.campaign)
            pipe.hgetall(campaign.claims)
            pipe.hgetall(campaign.bindings)
            pipe.zrange(campaign.free, 0, -1, withscores=True)
            pipe.hgetall(campaign.returns)
            pipe.lrange(campaign.codes, 0, -1)
        cell, members, published, length, entries, *rest = await pipe.execute()
    log = list(log_so_far)
    log += [events.decode(entry_id, [part for pair in pairs.items() for part in pair]) for entry_id, pairs in entries]
    assert len(log) == length, "an entry of the log was lost, or came in between"
    campaigns, rules = {}, {}
    for place, campaign_id in enumerate(ids):
        facts, claims, bindings, free, returns, codes = rest[6 * place : 6 * place + 6]
        facts = _texts(facts)
        assert all(score == int(unit) for unit, score in free), "a free unit whose score is not its number"
        campaigns[campaign_id] = Holdings(
            state=facts.get("state", ""),
            version=facts.get("version", ""),
            releases=facts.get("releases", ""),
            counters={name: int(facts.get(name, 0)) for name in COUNTERS},
            codes_loaded=int(facts.get("codes_loaded", 0)),
            claims={name.decode(): parse_holding(holding) for name, holding in claims.items()},
            bindings={name.decode(): ClaimRecord.parse(record) for name, record in bindings.items()},
            free=[int(unit) for unit, _ in free],
            returns={int(claim_seq): int(seq) for claim_seq, seq in returns.items()},
            codes=[code.decode() for code in codes],
        )
        rules[campaign_id] = {name: value for name, value in facts.items() if name not in CHANGING}
    return Observed(
        cell=_texts(cell),
        members=_texts(members),
        campaign_ids={name.decode() for name in published},
        campaigns=campaigns,
        rules=rules,
        log=log,
    )


def replay(log: Iterable[events.Event], codes_of: Mapping[str, Sequence[str]]) -> dict[str, Holdings]:
    """What the log says of every campaign in it; `codes_of` has the codes of each pool, by position.

    Written from the meaning of the entries and not from the scripts: it is what a recovery has to go by.
    """
    campaigns: dict[str, Holdings] = {}
    for entry in log:
        if not isinstance(entry, events.OfCampaign):
            continue
        campaign = campaigns.setdefault(entry.campaign_id, Holdings())
        match entry:
            case events.Published():
                campaign.state, campaign.version = "scheduled", str(entry.version)
                campaign.releases = encode_releases(entry.releases)
            case events.StateSet():
                campaign.state = entry.state.value
            case events.StockSet():
                campaign.releases = encode_releases(entry.releases)
                campaign.free = [unit for unit in campaign.free if unit <= entry.total]
            case events.CodesLoaded():
                campaign.codes += codes_of.get(entry.campaign_id, ())[campaign.codes_loaded : entry.codes_loaded]
                campaign.codes_loaded = entry.codes_loaded
            case events.Granted():
                if isinstance(entry, events.MadeGood) and entry.releases:
                    campaign.releases = encode_releases(entry.releases)
                for seq, (member_id, unit_no, ordinal, code, key) in enumerate(entry.claims, start=entry.seq):
                    parts = f"\tsource={entry.SOURCE}" if isinstance(entry, events.MadeGood) else ""
                    record = ClaimRecord(seq, entry.epoch, unit_no, ordinal, entry.at_ms, code, key, entry.state, parts)
                    campaign.claims.setdefault(member_id, []).append(record)
                    if key:
                        campaign.bindings[f"{member_id}\t{key}"] = record
                    if unit_no in campaign.free:
                        campaign.free.remove(unit_no)
                    if code in campaign.codes:
                        campaign.codes.remove(code)
            case events.Returned():
                kept = [record for record in campaign.claims[entry.member_id] if record.seq != entry.claim_seq]
                campaign.claims[entry.member_id] = kept
                if not kept:
                    del campaign.claims[entry.member_id]
                campaign.free = sorted([*campaign.free, entry.unit_no])
                campaign.returns[entry.claim_seq] = entry.seq
                if entry.code:
                    campaign.codes.append(entry.code)
                for binding, record in campaign.bindings.items():
                    if record.seq == entry.claim_seq:
                        code = "" if entry.code else record.code
                        campaign.bindings[binding] = replace(record, code=code, state=ClaimState(entry.reason))
    for campaign in campaigns.values():
        campaign.counters = campaign.counted()
    return campaigns


def released(releases: str, now_ms: int) -> int:
    """The units there by now, counted anew from the text in the cell."""
    pairs = [Release(*map(int, part.split(":"))) for part in releases.split(",")]
    return sum(release.quantity for release in pairs if release.opens_at_ms <= now_ms)


def as_text(value: Any) -> str:
    """Short enough for a message."""
    return f"{value!r:.300}"
