"""The rules answer as they did before each had a file of its own.

`before/` holds `grab` and `return_unit` as they were when all rules stood in one loop. Random cells are led through the same
grabs and returns by both; all answers and all that the keys hold are compared. Records of claims are written in another form
since then, so old ones are translated, by position. Rules that came since then are left out.
"""

import random
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from grab_service.cell import scripts
from grab_service.cell.scripts import NONCE_MARK, ScriptSources
from grab_service.vocabulary.campaigns import BenefitKind
from grab_service.vocabulary.claims import ClaimRecord, ClaimState
from grab_service.vocabulary.keys import CellKeys
from tests.lua.walker import CLOCK, START_MS, TIME, Laboratory
from tests.rules import COUNTERS

CELLS: Final = 400
STEPS: Final = 6
ANSWERS_MIN: Final = 30_000
MEMBERS: Final = tuple(f"m{number}" for number in range(12))
BEFORE: Final = Path(__file__).parent / "before"
RULES_BEFORE: Final = frozenset({"window", "member", "eligibility", "limit", "stock"})
"""Newer rules are left out."""


def _record_of(old: str, state: ClaimState) -> str:
    seq, epoch, unit_no, slot, granted_at_ms, code, key = old.split("\t")
    numbers = (int(seq), int(epoch), int(unit_no), int(slot), int(granted_at_ms))
    return ClaimRecord(*numbers, code, key, state).encode()


def _answer_of(old: str) -> str:
    outcome, _, rest = old.partition("\t")
    if outcome == "won":
        return f"won\t{_record_of(rest, ClaimState.FULFILLED)}"
    if outcome == "held":
        state, _, record = rest.partition("\t")
        return f"held\t{_record_of(record, ClaimState(state))}"
    return old


class Twins:
    """Two cells that begin alike: the old scripts decide in one, the new ones in the other."""

    def __init__(self, lab: Laboratory, dice: random.Random) -> None:
        self.lab, self.dice, self.now_ms, self.answers = lab, dice, START_MS, 0
        self.nonce = secrets.token_hex(8)
        self.new = lab.cell(f"t{secrets.token_hex(6)}")
        self.old_keys = CellKeys.of(f"t{secrets.token_hex(6)}")
        self.candidates = 0
        self.held: list[tuple[str, int]] = []
        self.old_shas = {path.stem: self._load(path) for path in BEFORE.glob("*.lua")}
        facts, members, codes = self._campaign(), self._members(), [f"pool-{number}" for number in range(20)]
        for keys, nonce in ((self.old_keys, self.nonce), (self.new.keys, lab.nonces[0])):
            lab.run(lab.client.hset(keys.cell, mapping={"epoch": 1, "seq": 0, "nonce": nonce}))
            lab.run(lab.client.hset(keys.of_campaign("a").campaign, mapping=facts))
            lab.run(lab.client.hset(keys.members, mapping=members))
            lab.run(lab.client.rpush(keys.of_campaign("a").codes, *codes))
        self._tick()

    def _load(self, path: Path) -> str:
        source = path.read_text(encoding="utf-8").replace(NONCE_MARK, self.nonce).replace(TIME, CLOCK)
        return str(self.lab.run(self.lab.client.script_load(source)))

    def _campaign(self) -> Any:
        dice = self.dice
        times = sorted(dice.sample(range(-40, 40), dice.randint(1, 3)))
        return {
            "state": dice.choices(["scheduled", "paused", "closed", "cancelled"], [12, 1, 1, 1])[0],
            "releases": ",".join(f"{START_MS + at}:{dice.randint(0, 5)}" for at in times),
            "closes_at_ms": START_MS + dice.randint(10, 80),
            "limit_per_member": dice.choice([1, 1, 2, 3]),
            "benefit_kind": dice.choice(list(BenefitKind)).value,
            "orgs": dice.choice(["", "", ",o1,", ",o1,o10,"]),
            "tags_any": dice.choice(["", "", ",t1,t2,"]),
            "birthday_months": dice.choice(["", "", ",1,12,"]),
            "joined_before": dice.choice(["", "", "2021-06-01"]),
            **dict.fromkeys(COUNTERS, 0),
        }

    def _members(self) -> Any:
        dice = self.dice

        def record() -> str:
            status = dice.choices(["active", "suspended", "left"], [8, 1, 1])[0]
            blocked = dice.choice(["", "", "", START_MS + dice.randint(-5, 30)])
            org, month, tag = dice.choice(["o1", "o10", "o2"]), dice.choice(["", 1, 2]), dice.randint(1, 3)
            return f"1|{status}|{org}|{blocked}|{month}|{dice.choice(['', '2021-05-31', '2021-06-01'])}|,t{tag},"

        return {name: record() for name in MEMBERS if dice.random() < 0.9}

    def _tick(self) -> None:
        self.now_ms += self.dice.choice([0, 1, 3, 10])
        clock: Any = {"clock_s": self.now_ms // 1000, "clock_us": self.now_ms % 1000 * 1000}
        for keys in (self.old_keys, self.new.keys):
            self.lab.run(self.lab.client.hset(keys.cell, mapping=clock))

    def grab(self) -> None:
        wishes: list[str] = []
        for _ in range(self.dice.randint(8, 32)):
            self.candidates += 1
            wishes += (self.dice.choice(MEMBERS), self.dice.choice(["", "k1", "k2", "k3"]), f"code-{self.candidates}")
        keys, campaign = self.old_keys, self.old_keys.of_campaign("a")
        of_campaign = (campaign.campaign, campaign.claims, campaign.bindings, campaign.free, campaign.returns, campaign.codes)
        names = (keys.cell, *of_campaign, keys.members, keys.log)
        call: Any = self.lab.client.evalsha(self.old_shas["grab"], len(names), *names, "1", "0", "b", "a", *wishes)
        old = self.lab.run(call)
        new = self.lab.run(self.new.grab("a", b"b", wishes))
        assert [_answer_of(answer.decode()) for answer in old[7:]] == [answer.decode() for answer in new.answers]
        beside = (new.now_ms, new.seq, new.available, new.opens_at_ms, new.next_release_at_ms)
        assert (old[2], int(old[3]), old[4], int(old[5]), int(old[6]) if old[6] else None) == beside
        for member_id, answer in zip(wishes[::3], new.answers, strict=True):
            if answer.startswith(b"won\t"):
                self.held.append((member_id, ClaimRecord.parse(answer[4:]).seq))
        self.answers += len(new.answers)

    def return_unit(self) -> None:
        if not self.held:
            return
        member_id, seq = self.dice.choice(self.held)
        keys, campaign = self.old_keys, self.old_keys.of_campaign("a")
        of_campaign = (campaign.campaign, campaign.claims, campaign.free, campaign.returns, campaign.codes)
        names = (keys.cell, *of_campaign, keys.log, campaign.bindings)
        call: Any = self.lab.client.evalsha(
            self.old_shas["return_unit"], len(names), *names, "1", "a", member_id, seq, "returned"
        )
        outcome, at_seq = self.lab.run(call)
        assert self.lab.run(self.new.return_unit("a", member_id, seq, "returned")) == (outcome.decode(), int(at_seq))

    def compare(self) -> None:
        """All keys of both cells, the old records translated."""
        run, client = self.lab.run, self.lab.client
        old, new = self.old_keys.of_campaign("a"), self.new.keys.of_campaign("a")
        for name in ("campaign", "returns"):
            assert run(client.hgetall(getattr(old, name))) == run(client.hgetall(getattr(new, name))), name
        assert run(client.lrange(old.codes, 0, -1)) == run(client.lrange(new.codes, 0, -1))
        assert run(client.zrange(old.free, 0, -1, withscores=True)) == run(client.zrange(new.free, 0, -1, withscores=True))
        back = {int(seq) for seq in run(client.hkeys(old.returns))}
        for name in ("claims", "bindings"):
            kept = {field.decode(): holding.decode() for field, holding in run(client.hgetall(getattr(new, name))).items()}
            translated = {
                field.decode(): "\n".join(self._kept(record, back) for record in holding.decode().split("\n"))
                for field, holding in run(client.hgetall(getattr(old, name))).items()
            }
            assert kept == translated, name

    def _kept(self, record: str, back: set[int]) -> str:
        gave_back = int(record.split("\t", 1)[0]) in back
        return _record_of(record, ClaimState.RETURNED if gave_back else ClaimState.FULFILLED)

    def close(self) -> None:
        for keys in (self.old_keys, self.new.keys):
            campaign = keys.of_campaign("a")
            of_campaign = (
                campaign.campaign,
                campaign.claims,
                campaign.bindings,
                campaign.free,
                campaign.returns,
                campaign.codes,
            )
            self.lab.run(self.lab.client.unlink(keys.cell, keys.members, keys.log, *of_campaign))


@pytest.fixture
def lab(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Laboratory]:
    rules_of = scripts.rules_of
    monkeypatch.setattr(scripts, "rules_of", lambda texts: [rule for rule in rules_of(texts) if rule.name in RULES_BEFORE])
    laboratory = Laboratory(valkey_url, ScriptSources.read())
    yield laboratory
    laboratory.close()


@pytest.mark.slow
def test_every_answer_and_every_key_is_what_it_was_when_the_rules_were_one_loop(lab: Laboratory) -> None:
    answers = 0
    for seed in range(CELLS):
        twins = Twins(lab, random.Random(seed))
        for _ in range(STEPS):
            twins.grab()
            twins.return_unit()
            twins._tick()
        twins.compare()
        answers += twins.answers
        twins.close()
    assert answers >= ANSWERS_MIN
