"""When several refusals apply to one grab, the answer is the first of them in the order of the contract.

Every situation is built: each way in which a campaign can be shut, sold out and picky, times each way in which a member can
be wrong, hold a claim already, be at the limit and have forgotten the key; one batch asks for all members of a campaign.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from redis.asyncio import Redis

from grab_service.cell.store import Cell
from grab_service.vocabulary.campaigns import Eligibility
from grab_service.vocabulary.outcomes import Outcome
from tests.harness.cells import HOUR_MS, Member, Published, enrol, grab, now_ms, publish, words

WANTED: dict[str, Any] = {
    "orgs": ("org-1", "org-2"),
    "tags_any": ("cyclist", "cook"),
    "birthday_months": (5, 12),
    "joined_before": "2021-06-01",
}
WELCOME: dict[str, Any] = {"org_id": "org-2", "tags": ("new", "cook"), "birthday_month": 12, "joined_on": "2021-05-31"}
FAILING: dict[str, dict[str, Any]] = {
    "orgs": {"org_id": "org-3"},
    "tags_any": {"tags": ("new",)},
    "birthday_months": {"birthday_month": 1},
    "joined_before": {"joined_on": "2021-06-01"},
}
RULE_SETS = [subset for size in range(len(WANTED) + 1) for subset in itertools.combinations(WANTED, size)]


@dataclass(frozen=True)
class Person:
    """What may be wrong with a member, apart from what the campaign says."""

    name: str
    standing: str
    failing: tuple[str, ...]
    history: str
    forgets_key: bool

    def member(self, at_ms: int) -> Member | None:
        facts = dict(WELCOME)
        for rule in self.failing:
            facts |= FAILING[rule]
        match self.standing:
            case "never heard of":
                return None
            case "left" | "suspended":
                facts["status"] = self.standing
            case "blocked for an hour":
                facts["blocked_until_ms"] = at_ms + HOUR_MS
            case "blocked until a while ago":
                facts["blocked_until_ms"] = at_ms - 1
        return Member(**facts)

    def refusals(self, limit: int, campaign_refusals: set[str]) -> set[str]:
        found = set(campaign_refusals) | {"won"}
        if limit > 1 and self.forgets_key:
            found.add("idempotency_key_missing")
        if self.standing in {"never heard of", "left"}:
            found.add("member_unknown")
        if self.standing in {"suspended", "blocked for an hour"}:
            found.add("member_blocked")
        if self.failing:
            found.add("not_eligible")
        if "full" in self.history:
            found.add("per_member_limit")
        if (limit == 1 and self.history != "new") or "same key" in self.history:
            found.add("held")
        return found


def people(limit: int) -> Iterator[Person]:
    histories = ("new", "same key", "full") if limit == 1 else ("new", "one with the same key", "full", "full, same key", "one")
    standings = ("well", "never heard of", "left", "suspended", "blocked for an hour", "blocked until a while ago")
    for number, (standing, failing, history, forgets_key) in enumerate(
        itertools.product(standings, RULE_SETS, histories, (False, True))
    ):
        yield Person(f"m{number}", standing, failing, history, forgets_key)


def first(refusals: set[str]) -> str:
    return next(outcome for outcome in Outcome if outcome in refusals)


@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize("state", ["scheduled", "paused", "closed", "cancelled"])
async def test_the_first_refusal_that_applies_is_the_answer(state: str, limit: int, armed_cell: Cell, raw: Redis) -> None:
    crowd = list(people(limit))
    winners = [(p.name, key) for p in crowd for key in claims_of(p, limit)]
    campaign = Published(stock=len(winners), limit_per_member=limit, eligibility=Eligibility(**WANTED))
    await publish(armed_cell, campaign)
    await enrol(armed_cell, {p.name: Member(**WELCOME) for p in crowd})
    for wishes in in_batches(winners):
        assert set(words(await grab(armed_cell, wishes))) == {"won"}
    at_ms = now_ms()
    now_so = {p.name: member for p in crowd if (member := p.member(at_ms))}
    await enrol(armed_cell, now_so, version=2)
    await raw.hdel(armed_cell.keys.members, *({p.name for p in crowd} - now_so.keys()))
    key = armed_cell.keys.of_campaign("c").campaign
    seen: set[str] = set()
    for ended, early, sold_out in itertools.product((False, True), repeat=3):
        # Closing before opening is no campaign that anybody can schedule; here it makes both refusals apply.
        facts: dict[Any, Any] = {
            "state": state,
            "releases": f"{at_ms + (HOUR_MS if early else -HOUR_MS)}:{len(winners) + (0 if sold_out else len(crowd))}",
            "closes_at_ms": at_ms + (-1 if ended else HOUR_MS),
        }
        await raw.hset(key, mapping=facts)
        shut = {"cancelled"} if state == "cancelled" else set()
        shut |= {"ended"} if state == "closed" or ended else set()
        shut |= {"not_open_yet"} if early else set()
        shut |= {"paused"} if state == "paused" else set()
        shut |= {"sold_out"} if sold_out else set()
        expected = [first(p.refusals(limit, shut)) for p in crowd]
        seen |= set(expected)
        wishes = [(p.name, "" if p.forgets_key else "key-0") for p in crowd]
        answers = [answer for part in in_batches(wishes) for answer in await without_winning(raw, armed_cell, part)]
        assert [(p, answer.split("\t")[0]) for p, answer in zip(crowd, answers, strict=True)] == list(
            zip(crowd, expected, strict=True)
        )
        for person, answer in zip(crowd, answers, strict=True):
            outcome, *said = answer.split("\t")
            if outcome == "not_eligible":
                assert said == [",".join(person.failing)]
            elif outcome == "member_blocked":
                assert said == [str(at_ms + HOUR_MS) if "hour" in person.standing else ""]
            elif outcome == "per_member_limit":
                assert said == [str(limit), str(limit)]
    if state == "scheduled":
        of_several = {"idempotency_key_missing", "per_member_limit"} if limit > 1 else set()
        assert seen == of_several | {
            *("held", "ended", "not_open_yet", "member_unknown", "member_blocked", "not_eligible", "sold_out", "won"),
        }


def claims_of(person: Person, limit: int) -> list[str]:
    """The keys with which a person has won before: key-0 is the one that is sent again."""
    match person.history:
        case "new":
            return []
        case "same key" | "one with the same key":
            return ["key-0"]
        case "one":
            return ["key-1"]
        case "full":
            return [f"key-{number + 1}" for number in range(limit)]
        case _:
            return [f"key-{number}" for number in range(limit)]


def in_batches(wishes: list[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    for start in range(0, len(wishes), 256):
        yield wishes[start : start + 256]


async def without_winning(raw: Redis, cell: Cell, wishes: list[tuple[str, str]]) -> list[str]:
    """What is answered; then claims and counters are as before, so that every situation is met with the same past."""
    names = [
        cell.keys.of_campaign("c").campaign,
        cell.keys.of_campaign("c").claims,
        cell.keys.of_campaign("c").bindings,
    ]
    for name in names:
        await raw.copy(name, name + ":kept", replace=True)
    answers = [answer.decode() for answer in (await grab(cell, wishes)).answers]
    for name in names:
        await raw.copy(name + ":kept", name, replace=True)
        await raw.unlink(name + ":kept")
    return answers


async def test_of_a_campaign_that_is_not_there_nothing_else_is_said(armed_cell: Cell) -> None:
    await enrol(armed_cell, {"gone": Member(status="left"), "well": Member()})
    reply = await grab(armed_cell, ["gone", ("well", "key-0"), "stranger"])
    assert words(reply) == ["campaign_not_found"] * 3
    assert (reply.available, reply.opens_at_ms, reply.next_release_at_ms) == (0, 0, None)


async def test_codes_loaded_ahead_do_not_make_a_campaign(armed_cell: Cell) -> None:
    await armed_cell.load_codes("c", 1, ["a", "b"])
    assert words(await grab(armed_cell, ["m1"])) == ["campaign_not_found"]


@pytest.mark.parametrize("rules", RULE_SETS)
async def test_only_the_rules_that_are_set_refuse_anybody(rules: tuple[str, ...], armed_cell: Cell) -> None:
    await publish(armed_cell, Published(stock=20, eligibility=Eligibility(**{rule: WANTED[rule] for rule in rules})))
    await enrol(armed_cell, {rule: Member(**(WELCOME | FAILING[rule])) for rule in WANTED})
    await enrol(armed_cell, {"nothing known": Member(org_id="", birthday_month=None, joined_on="")})
    reply = await grab(armed_cell, [*WANTED, "nothing known"])
    refused = dict(zip([*WANTED, "nothing known"], reply.answers, strict=True))
    for rule in WANTED:
        assert (refused[rule] == f"not_eligible\t{rule}".encode()) == (rule in rules)
    if rules:
        assert refused["nothing known"] == f"not_eligible\t{','.join(rules)}".encode()
    assert words(reply).count("won") == 5 - len(rules) - bool(rules)


@pytest.mark.parametrize(
    ("rules", "member"),
    [
        (Eligibility(orgs=("org-10",)), Member(org_id="org-1")),
        (Eligibility(orgs=("org-1",)), Member(org_id="org-10")),
        (Eligibility(tags_any=("骑行爱好者",)), Member(tags=("骑行",))),
        (Eligibility(tags_any=("骑行",)), Member(tags=("骑行爱好者", "厨师"))),
        (Eligibility(birthday_months=(1, 2)), Member(birthday_month=12)),
        (Eligibility(birthday_months=(10, 11, 12)), Member(birthday_month=1)),
        (Eligibility(joined_before="2021-06-01"), Member(joined_on="2021-06-01")),
    ],
)
async def test_a_rule_is_met_by_a_whole_name_only(rules: Eligibility, member: Member, armed_cell: Cell) -> None:
    await publish(armed_cell, Published(eligibility=rules))
    await enrol(armed_cell, {"m1": member})
    assert words(await grab(armed_cell, ["m1"])) == ["not_eligible"]


async def test_a_record_that_cannot_be_read_lets_nobody_in(armed_cell: Cell, raw: Redis) -> None:
    await publish(armed_cell, Published(stock=5))
    await raw.hset(armed_cell.keys.members, mapping={"m1": "1|active", "m2": "", "m3": "active|1||||", "m4": "1||||||"})
    assert words(await grab(armed_cell, ["m1", "m2", "m3", "m4"])) == ["member_blocked"] * 4
