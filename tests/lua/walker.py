"""The walker leads the rules and the model through the same steps, and compares them after each.

The cell's clock is a value that a step sets: it is baked into the scripts in place of Redis TIME, so that windows can be
crossed, and hit to the millisecond, without waiting. Everything else is real: the scripts, the server, and the store.

A new command is one more method of `Walker`. What else it needs: a method of the model, an invariant, a rule of the random
machine, a walk that shows it, and a mutant that leaves it out.
"""

import asyncio
import itertools
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from redis.asyncio import Redis

from grab_service.cell.replies import CampaignsReply, ExplainReply, GrabReply, Question, SnapshotReply, TailReply
from grab_service.cell.scripts import ScriptSources
from grab_service.cell.store import Cell, CellClosedError, CellError
from grab_service.vocabulary import events
from grab_service.vocabulary.campaigns import CampaignState, Phase, decode_releases, phase_of
from grab_service.vocabulary.claims import ClaimRecord, make_good_key, parse_holding
from tests.harness.cells import Member, Published, grab
from tests.harness.every_command import CALLS
from tests.lua.invariants import Step, broken
from tests.lua.model import EPOCH, Campaign, Model, Wish
from tests.lua.observed import Observed, observe

CAMPAIGNS: Final = ("a", "b")
START_MS: Final = 1_790_000_000_000
POOL_SIZE: Final = 200
TIME: Final = "redis.call('TIME')"
CLOCK: Final = "redis.call('HMGET', KEYS[1], 'clock_s', 'clock_us')"


class BrokenError(AssertionError):
    """A step broke invariants."""

    def __init__(self, found: dict[str, list[str]]) -> None:
        self.names = tuple(found)
        super().__init__("\n".join(f"{name}: {what}" for name, wrong in found.items() for what in wrong))


class Laboratory:
    """Scripts whose clock can be set, loaded once by two armings, and cells that run them. One event loop for all."""

    def __init__(self, valkey_url: str, sources: ScriptSources) -> None:
        clocked = {name: source.replace(TIME, CLOCK) for name, source in sources.by_name.items()}
        self.sources = ScriptSources(clocked, sources.digest)
        self.loop = asyncio.new_event_loop()
        self.client = Redis.from_url(valkey_url, protocol=2)
        self.nonces = (secrets.token_hex(8), secrets.token_hex(8))
        self.met: Counter[tuple[str, str]] = Counter()
        self.shas = tuple(self.run(self._load(nonce)) for nonce in self.nonces)

    async def _load(self, nonce: str) -> dict[str, str]:
        baked = self.sources.bake(nonce)
        async with self.client.pipeline(transaction=False) as pipe:
            for source in baked.values():
                pipe.script_load(source)
            return dict(zip(baked, await pipe.execute(), strict=True))

    def run(self, call: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(call)

    def close(self) -> None:
        self.run(self.client.aclose())
        self.loop.close()

    def cell(self, name: str, arming: int = 0) -> "ClockedCell":
        """A cell as a caller sees it who knows the scripts of one of the armings; the first is that of the cell."""
        return ClockedCell(self.client, name, self.sources, self.shas[arming])


class ClockedCell(Cell):
    """The store, with its scripts given; it never looks for others."""

    def __init__(self, client: Redis, name: str, sources: ScriptSources, shas: dict[str, str]) -> None:
        super().__init__(client, name, sources)
        self._shas = shas
        self.epoch = EPOCH

    async def reload(self) -> None:
        return


class Walker:
    """A cell and its model, in step. Every method is one step, and raises `BrokenError` if something does not hold after it."""

    def __init__(self, lab: Laboratory) -> None:
        self.lab = lab
        self.cell = lab.cell(f"t{secrets.token_hex(6)}")
        self.model = Model(START_MS)
        self.codes_of = {campaign_id: [f"{campaign_id}-{n}" for n in range(1, POOL_SIZE)] for campaign_id in CAMPAIGNS}
        self._candidates = (f"code-{number}" for number in itertools.count(1))
        self._told: dict[tuple[str, str, int], set[str]] = {}
        self._answers: list[tuple[str, Wish, str]] = []
        self._differences: list[str] = []
        self._plant({"epoch": EPOCH, "seq": 0, "nonce": lab.nonces[0], "clock_s": START_MS // 1000, "clock_us": 0})
        self._seen: Observed = lab.run(self._observe([]))

    def close(self) -> None:
        keys = self.cell.keys
        names = [keys.cell, keys.log, keys.members, keys.campaigns, keys.counts, keys.workers]
        for campaign in map(keys.of_campaign, CAMPAIGNS):
            names += [campaign.campaign, campaign.claims, campaign.bindings, campaign.free, campaign.returns, campaign.codes]
        self.lab.run(self.lab.client.unlink(*names))

    def _plant(self, fields: dict[Any, Any]) -> None:
        self.lab.run(self.lab.client.hset(self.cell.keys.cell, mapping=fields))

    def _observe(self, log: list[events.Event]) -> Awaitable[Observed]:
        return observe(self.lab.client, self.cell.keys, CAMPAIGNS, log)

    def _check(self) -> None:
        before = self._seen
        try:
            self._seen = self.lab.run(self._observe(before.log))
        except (events.BadEntryError, ValueError, AssertionError) as error:
            raise BrokenError({"Readable": [str(error)]}) from error
        step = Step(before, self._seen, self.model, self.codes_of, self._told, self._answers, self._differences)
        found = broken(step)
        self._answers, self._differences = [], []
        if found:
            raise BrokenError(found)

    def _compare(
        self, what: str, call: Awaitable[Any], expected: Any, shape: Callable[[Any], Any] = lambda reply: reply
    ) -> Any:
        """Carry out a call, and note where its answer is not the expected one; None if the rules failed."""
        outcomes = expected if what in {"grab", "explain"} else expected[:1]
        self.lab.met.update((what, outcome.split("\t")[0]) for outcome in outcomes if isinstance(outcome, str))
        try:
            reply = self.lab.run(call)
        except CellError as error:
            self._differences.append(f"{what}: {error}, should be {expected!r}")
            return None
        if shape(reply) != expected:
            self._differences.append(f"{what}: {shape(reply)!r}, should be {expected!r}")
        return reply

    # The clock

    def clock(self, now_ms: int, us: int = 0) -> None:
        """Let it be that time, and some microseconds."""
        self.model.now_ms = now_ms
        self._plant({"clock_s": now_ms // 1000, "clock_us": now_ms % 1000 * 1000 + us})

    def later(self, ms: int) -> None:
        """Let time pass."""
        self.clock(self.model.now_ms + ms, 999)

    # The commands

    def grab(self, wishes: Sequence[str | tuple[str, str]], campaign_id: str = "a") -> list[str]:
        """A batch of members, or of (member, key); the answers."""
        pairs = [(wish, "") if isinstance(wish, str) else wish for wish in wishes]
        triples = [(member_id, key, next(self._candidates)) for member_id, key in pairs]
        beside = self._beside(campaign_id)
        members = self.model.explain(campaign_id, triples)
        expected = self.model.grab(campaign_id, triples)
        for question, answers in ((Question.MEMBER, members), (Question.GRAB, expected)):
            flat = [part for triple in triples for part in triple]
            explained = self._compare("explain", self.cell.explain(campaign_id, question, flat), answers, _decoded)
            if explained is not None and (said := explained[2:5]) != beside:
                self._differences.append(f"explain: beside the answers {said}, should be {beside}")
        reply = self._compare("grab", grab(self.cell, triples, campaign_id), expected, _decoded)
        if reply is not None:
            self._answers = [(campaign_id, wish, a.decode()) for wish, a in zip(triples, reply.answers, strict=True)]
            self._remember()
            self._compare_beside(campaign_id, reply)
        self._check()
        return expected

    def _remember(self) -> None:
        """What members were told of their claims; it must stay true."""
        for campaign_id, (member_id, _, _), answer in self._answers:
            outcome, _, rest = answer.partition("\t")
            if outcome in {"won", "held"}:
                place = (campaign_id, member_id, ClaimRecord.parse(rest.encode()).seq)
                self._told.setdefault(place, set()).add(rest)

    def _beside(self, campaign_id: str) -> tuple[Phase | None, int, int | None]:
        """The campaign's phase, its opening and its next release."""
        campaign, now_ms = self.model.campaign(campaign_id), self.model.now_ms
        if campaign is None:
            return (None, 0, None)
        coming = [r.opens_at_ms for r in campaign.releases if r.quantity and now_ms < r.opens_at_ms < campaign.closes_at_ms]
        state, held = CampaignState(campaign.state), len(campaign.held)
        phase = phase_of(state, tuple(campaign.releases), campaign.closes_at_ms, held, now_ms)
        return (phase, campaign.releases[0].opens_at_ms, min(coming, default=None))

    def _compare_beside(self, campaign_id: str, reply: Any) -> None:
        campaign, now_ms = self.model.campaign(campaign_id), self.model.now_ms
        if campaign is None:
            return
        said = (reply.now_ms, reply.seq, reply.available, reply.opens_at_ms, reply.next_release_at_ms)
        true = (now_ms, self.model.seq, campaign.available(now_ms), *self._beside(campaign_id)[1:])
        if said != true:
            self._differences.append(f"grab: beside the answers {said}, should be {true}")

    def publish(self, campaign: Published) -> None:
        fields = campaign.fields(self.model.now_ms)
        expected = self.model.publish_campaign(campaign)
        self._compare("publish_campaign", self.cell.publish_campaign(campaign.campaign_id, fields), expected)
        self._check()

    def load_codes(self, first: int, count: int, campaign_id: str = "a") -> None:
        codes = self.codes_of[campaign_id][first - 1 : first - 1 + count]
        expected = self.model.load_codes(campaign_id, first, codes)
        self._compare("load_codes", self.cell.load_codes(campaign_id, first, codes), expected)
        self._check()

    def publish_members(self, version: int, members: Sequence[tuple[str, Member]]) -> None:
        pairs = [text for name, member in members for text in (name, member.record())]
        expected = self.model.publish_members(version, members)
        self._compare("publish_members", self.cell.publish_members(version, pairs), expected)
        self._check()

    def set_state(self, action: str, campaign_id: str = "a") -> None:
        expected = self.model.set_state(campaign_id, action)
        self._compare("set_state", self.cell.set_state(campaign_id, action), expected)
        self._check()

    def set_stock(self, expected_total: int, total: int, campaign_id: str = "a") -> None:
        expected = self.model.set_stock(campaign_id, expected_total, total)
        call = self.cell.set_stock(campaign_id, expected_total, total)
        self._compare("set_stock", call, expected, lambda r: (r.outcome, r.seq, r.total, r.lowest))
        self._check()

    def return_unit(self, member_id: str, claim_seq: int, campaign_id: str = "a") -> None:
        expected = self.model.return_unit(campaign_id, member_id, claim_seq, "returned")
        self._compare("return_unit", self.cell.return_unit(campaign_id, member_id, claim_seq, "returned"), expected)
        self._check()

    def make_good(self, member_id: str, key: str, campaign_id: str = "a", *, beyond_stock: bool = False) -> int:
        """The seq of the claim; 0 in a refusal. `key` is that of ops."""
        candidate, bound = next(self._candidates), make_good_key(key)
        expected = self.model.make_good(campaign_id, member_id, bound, candidate, beyond_stock=beyond_stock)
        call = self.cell.make_good(campaign_id, member_id, bound, candidate, beyond_stock=beyond_stock)
        self._compare("make_good", call, expected, lambda reply: (reply.outcome, reply.seq, reply.record.decode()))
        self._check()
        return ClaimRecord.parse(expected[2].encode()).seq if expected[2] else 0

    def note_counts(self, worker: str, counts: str, head: str = "") -> None:
        expected = self.model.note_counts(worker, counts, head)
        self._compare("note_counts", self.cell.note_counts(worker, counts.encode(), head), expected, self._noted)
        self._check()

    def _noted(self, _: Any) -> tuple[Any, ...]:
        """What there is of counts and workers."""
        entries = self.lab.run(self.lab.client.xrange(self.cell.keys.counts))
        workers = self.lab.run(self.lab.client.hgetall(self.cell.keys.workers))
        counts = [(entry[b"worker"].decode(), entry[b"counts"].decode()) for _, entry in entries]
        return ("noted", counts, {name.decode(): said.decode() for name, said in workers.items()})

    # A caller who knows another life of the cell; nothing that is asked is done

    def another_life(self, command: str, how: str) -> None:
        """Call as somebody of another epoch, or of another arming (nonce), or for whom the cell lies behind."""
        caller = self.lab.cell(self.cell.name, arming=1 if how == "nonce" else 0)
        caller.epoch = EPOCH + (how == "epoch")
        caller.seen_seq = self.model.seq + (how == "behind")
        self.lab.met[command, "went_back"] += 1
        call = caller.tail(caller.seen_seq, 1) if command == "tail" else CALLS[command](caller, 1)
        try:
            reply = self.lab.run(call)
        except CellClosedError as error:
            if "went back" not in str(error):
                self._differences.append(f"{command}, {how}: {error}, should be refused as of another life")
        else:
            self._differences.append(f"{command}, {how}: {reply!r}, should be refused as of another life")
        self._check()

    # Those who only look

    def look(self, member_id: str, after_seq: int = 0) -> None:
        """All that can be read, once."""
        model = self.model
        later = [entry for entry in model.log if entry.last_seq > after_seq]
        self._compare("tail", self.cell.tail(after_seq, 1000), (model.now_ms, model.seq, len(later)), _shape_of_tail)
        there = {name: campaign for name, campaign in model.campaigns.items() if campaign.published}
        facts = sorted((name, c.state, c.releases, len(c.held)) for name, c in there.items())
        self._compare(
            "read_campaigns",
            self.cell.read_campaigns(CAMPAIGNS),
            (model.now_ms, model.seq, sorted(there), facts),
            _shape_of_campaigns,
        )
        held = {name: there[name].held if name in there else [] for name in CAMPAIGNS}
        mine = [[grant.record for grant in held[name] if grant.member_id == member_id] for name in CAMPAIGNS]
        self._compare(
            "read_claims", self.cell.read_claims(member_id, CAMPAIGNS), mine, lambda r: [parse_holding(each) for each in r]
        )
        for name in there:
            holders = {grant.member_id.encode() for grant in held[name]}
            key = self.cell.keys.of_campaign(name).claims
            self._compare("scan_holders", self.cell.scan_holders(key, b"0", 100), (b"0", holders), lambda r: (r[0], set(r[1])))
        self._compare("snapshot", self.cell.snapshot(CAMPAIGNS), self._snapshot(), _shape_of_snapshot)
        self._check()

    def _snapshot(self) -> tuple[Any, ...]:
        campaigns = []
        for campaign in (self.model.campaigns.get(name, Campaign()) for name in CAMPAIGNS):
            held = campaign.held
            numbers = {
                "codes_loaded": len(campaign.codes),
                "holders": len({grant.member_id for grant in held}),
                "free_units": len(campaign.units_used) - len(held),
                "returns": len(campaign.grants) - len(held),
                "free_codes": len(campaign.free_codes),
            }
            campaigns.append((campaign.state, campaign.releases, numbers | campaign.counters))
        return (self.model.now_ms, self.model.seq, self.model.members_version, campaigns)


def _decoded(reply: ExplainReply | GrabReply) -> list[str]:
    return [answer.decode() for answer in reply.answers]


def _shape_of_tail(reply: TailReply) -> tuple[int, int, int]:
    return (reply.now_ms, reply.seq, len(reply.entries))


def _shape_of_campaigns(reply: CampaignsReply) -> tuple[Any, ...]:
    facts = sorted((name, c.state.value, c.releases, c.active) for name, c in reply.campaigns.items())
    return (reply.now_ms, reply.seq, sorted(reply.campaign_ids), facts)


def _shape_of_snapshot(reply: SnapshotReply) -> tuple[Any, ...]:
    campaigns = []
    for snapshot in reply.campaigns:
        facts = {name.decode(): value for name, value in snapshot.items()}
        state, releases = (bytes(facts.pop(name)).decode() for name in ("state", "releases"))
        campaigns.append((state, decode_releases(releases), {name: int(value or 0) for name, value in facts.items()}))
    return (reply.now_ms, reply.seq, reply.members_version, campaigns)
