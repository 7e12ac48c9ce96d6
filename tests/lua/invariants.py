"""The invariants of a cell, which hold after every step.

Each is one function, which looks at the cell before and after a step and yields what is wrong. None asks the model, but for
the last few, which say so. A new rule adds its invariant here and names it in INVARIANTS.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from grab_service.vocabulary import events
from grab_service.vocabulary.claims import ClaimRecord, ClaimState, Source
from tests.lua.model import Model, Wish
from tests.lua.observed import Observed, as_text, released, replay


@dataclass(slots=True)
class Step:
    """One step: what was there, what is there, what was answered, and what was ever told to members."""

    before: Observed
    after: Observed
    model: Model
    codes_of: Mapping[str, Sequence[str]]
    told: dict[tuple[str, str, int], set[str]]
    answers: list[tuple[str, Wish, str]] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    @property
    def new(self) -> list[events.Event]:
        return self.after.log[len(self.before.log) :]

    @property
    def granted(self) -> Iterator[tuple[events.Granted, str, ClaimRecord]]:
        """(entry, member_id, record) of every win of this step; what ops have given is none."""
        for entry in self.new:
            if isinstance(entry, events.Granted) and not isinstance(entry, events.MadeGood):
                for seq, (member_id, unit_no, ordinal, code, key) in enumerate(entry.claims, start=entry.seq):
                    yield entry, member_id, ClaimRecord(seq, entry.epoch, unit_no, ordinal, entry.at_ms, code, key)


Invariant = Callable[[Step], Iterator[str]]


def no_oversell(step: Step) -> Iterator[str]:
    for campaign_id, campaign in step.after.campaigns.items():
        if campaign.releases:
            there = released(campaign.releases, step.model.now_ms)
            given = sum(record.source is Source.MAKE_GOOD for _, record in campaign.held)
            if len(campaign.held) > min(there + given, _total(campaign.releases)):
                yield f"{campaign_id}: {len(campaign.held)} claims on {there} units released"


def honest_refusal(step: Step) -> Iterator[str]:
    """Sold out is said only if nothing is left when the batch is done; this is also what keeps units from being left over."""
    for campaign_id, wish, answer in step.answers:
        campaign = step.after.campaigns[campaign_id]
        if answer == "sold_out" and released(campaign.releases, step.model.now_ms) > len(campaign.held):
            yield f"{campaign_id}: {wish} was told sold out with units left"


def one_answer(step: Step) -> Iterator[str]:
    back = {(e.campaign_id, e.claim_seq): e.code for e in step.after.log if isinstance(e, events.Returned)}
    for (campaign_id, member_id, seq), records in step.told.items():
        code = back.get((campaign_id, seq))
        if len(records if code is None else {_as_granted(record, code) for record in records}) > 1:
            yield f"{campaign_id}: {member_id} was told of claim {seq} in {len(records)} ways"
    held = {(campaign_id, m, r.seq): r for campaign_id, c in step.after.campaigns.items() for m, r in c.held}
    for place, record in held.items():
        for text in step.told.get(place, set()):
            if record.encode() != text:
                yield f"{place}: told {text!r}, kept {record.encode()!r}"


def _as_granted(record: str, code: str) -> str:
    """The record of a claim whose unit came back, as it was when it was granted, but for a code that went back to its pool."""
    claim = replace(ClaimRecord.parse(record.encode()), state=ClaimState.FULFILLED)
    return (replace(claim, code="") if code else claim).encode()


def unique_unit(step: Step) -> Iterator[str]:
    for campaign_id, campaign in step.after.campaigns.items():
        units = [record.unit_no for _, record in campaign.held]
        if len(units) != len(set(units)):
            yield f"{campaign_id}: a unit in two claims: {sorted(units)}"
        total = _total(campaign.releases)
        if any(not 1 <= unit <= total for unit in units):
            yield f"{campaign_id}: a unit beyond 1..{total}: {sorted(units)}"
    given: set[str] = set()
    for entry in step.after.log:
        if isinstance(entry, events.Granted):
            codes = [code for *_, code, _key in entry.claims if code]
            if len({*codes, *given}) < len(codes) + len(given):
                yield f"{entry.campaign_id}: a code in two claims at {entry.seq}"
            given.update(codes)
        elif isinstance(entry, events.Returned):
            given.discard(entry.code)


def conserved(step: Step) -> Iterator[str]:
    for campaign_id, campaign in step.after.campaigns.items():
        held = [record for _, record in campaign.held]
        if campaign.counted() != campaign.counters:
            yield f"{campaign_id}: the counters say {campaign.counters}, counted {campaign.counted()}"
        issued = campaign.counters["issued"]
        if sorted([*campaign.free, *(record.unit_no for record in held)]) != list(range(1, issued + 1)):
            yield f"{campaign_id}: held and free units are not 1..{issued}"
        pool = step.codes_of.get(campaign_id, ())
        out = [record.code for record in held if record.code in pool]
        if sorted([*out, *campaign.codes]) != sorted(pool[: campaign.codes_loaded]):
            yield f"{campaign_id}: free codes and codes held are not the {campaign.codes_loaded} loaded"


def limit_per_member(step: Step) -> Iterator[str]:
    for campaign_id, campaign in step.after.campaigns.items():
        for member_id, records in campaign.claims.items():
            limit = int(step.after.rules[campaign_id]["limit_per_member"])
            grabbed = [record.ordinal for record in records if record.source is Source.GRAB]
            if len(grabbed) > limit:
                yield f"{campaign_id}: {member_id} holds {len(grabbed)} of {limit}"
            ordinals = [record.ordinal for record in records]
            if len(set(ordinals)) != len(ordinals) or not all(1 <= ordinal <= limit for ordinal in grabbed):
                yield f"{campaign_id}: {member_id} has the ordinals {ordinals}"


def no_stranger(step: Step) -> Iterator[str]:
    for entry, member_id, _ in step.granted:
        text = step.before.members.get(member_id, "|unknown|||||")
        _, status, org_id, until_ms, month, joined_on, tags = text.split("|")
        rules = step.before.rules.get(entry.campaign_id, {})
        allowed = (
            status == "active"
            and (until_ms == "" or int(until_ms) <= entry.at_ms)
            and (not rules["orgs"] or org_id in rules["orgs"].split(","))
            and (not rules["tags_any"] or set(tags.split(",")) & set(rules["tags_any"].split(",")) - {""})
            and (not rules["birthday_months"] or month in rules["birthday_months"].split(","))
            and (not rules["joined_before"] or (joined_on and joined_on < rules["joined_before"]))
        )
        if not allowed or "" in {org_id if rules["orgs"] else "-", month if rules["birthday_months"] else "-"}:
            yield f"{entry.campaign_id}: {member_id}, {text}, won against {rules}"


def window_only(step: Step) -> Iterator[str]:
    for entry, member_id, _ in step.granted:
        campaign = step.before.campaigns[entry.campaign_id]
        opens_at_ms = int(campaign.releases.split(":")[0] or 1 << 60)
        closes_at_ms = int(step.before.rules[entry.campaign_id].get("closes_at_ms", 0))
        if not opens_at_ms <= entry.at_ms < closes_at_ms or campaign.state != "scheduled":
            yield f"{entry.campaign_id}: {member_id} won at {entry.at_ms}, {campaign.state}, {opens_at_ms} to {closes_at_ms}"
        if entry.at_ms != step.model.now_ms:
            yield f"{entry.campaign_id}: granted at {entry.at_ms}, the clock says {step.model.now_ms}"


def made_good(step: Step) -> Iterator[str]:
    """Ops give to a member who is there, never of a cancelled campaign; the total rises by the one unit, or not at all."""
    for entry in step.new:
        if isinstance(entry, events.MadeGood):
            campaign, member = step.before.campaigns[entry.campaign_id], step.before.members.get(entry.claims[0].member_id)
            if campaign.state == "cancelled" or member is None or member.split("|")[1] == "left":
                yield f"{entry.campaign_id}: {entry.claims} of a campaign that is {campaign.state}, to {member}"
            grown = _total(step.after.campaigns[entry.campaign_id].releases) - _total(campaign.releases)
            if grown != bool(entry.releases):
                yield f"{entry.campaign_id}: the total rose by {grown}"


def _total(releases: str) -> int:
    return sum(int(part.split(":")[1]) for part in releases.split(",") if part)


def gapless_log(step: Step) -> Iterator[str]:
    expected = step.before.seq + 1
    for entry in step.new:
        if entry.seq != expected:
            yield f"entry {entry.seq} comes where {expected} should"
        expected = entry.last_seq + 1
    if step.after.seq != expected - 1:
        yield f"the cell is at {step.after.seq}, its log at {expected - 1}"


def log_replays(step: Step) -> Iterator[str]:
    told = replay(step.after.log, step.codes_of)
    for campaign_id, campaign in step.after.campaigns.items():
        if campaign != told.get(campaign_id, type(campaign)()):
            yield f"{campaign_id}: in the cell {campaign}, by the log {told.get(campaign_id)}"


def keys_bind(step: Step) -> Iterator[str]:
    for campaign_id, campaign in step.before.campaigns.items():
        for binding, record in campaign.bindings.items():
            now = step.after.campaigns[campaign_id].bindings.get(binding)
            kept = {record, *(replace(record, code=code, state=ClaimState.RETURNED) for code in (record.code, ""))}
            if now not in kept:
                yield f"{campaign_id}: {binding!r} was bound to claim {record.seq}"


def published_stays(step: Step) -> Iterator[str]:
    for campaign_id, rules in step.before.rules.items():
        ended = {name: value for name, value in step.after.rules[campaign_id].items() if name == "closed_at_ms"}
        if step.before.campaigns[campaign_id].state and step.after.rules[campaign_id] != ended | rules:
            yield f"{campaign_id}: {rules} became {step.after.rules[campaign_id]}"


def answers_as_modelled(step: Step) -> Iterator[str]:
    yield from step.differences


def log_as_modelled(step: Step) -> Iterator[str]:
    expected = step.model.log[len(step.before.log) :]
    if step.new != expected:
        yield f"logged {as_text(step.new)}, should be {as_text(expected)}"


def members_as_modelled(step: Step) -> Iterator[str]:
    expected = {name: member.record() for name, member in step.model.members.items()}
    if step.after.members != expected:
        yield f"members are {as_text(step.after.members)}, should be {as_text(expected)}"
    if int(step.after.cell.get("members_version", 0)) != step.model.members_version:
        yield f"members_version is not {step.model.members_version}"


def rules_as_modelled(step: Step) -> Iterator[str]:
    published = {name: c for name, c in step.model.campaigns.items() if c.published}
    if step.after.campaign_ids != published.keys():
        yield f"the cell names {step.after.campaign_ids}"
    for campaign_id, campaign in published.items():
        assert campaign.published is not None
        names = ("limit_per_member", "benefit_kind", "orgs", "tags_any", "birthday_months", "joined_before", "display")
        fields = campaign.published.fields(0)
        expected = {"closes_at_ms": str(campaign.closes_at_ms)} | {name: str(fields[name]) for name in names}
        if campaign.closed_at_ms is not None:
            expected["closed_at_ms"] = str(campaign.closed_at_ms)
        if step.after.rules[campaign_id] != expected:
            yield f"{campaign_id}: {step.after.rules[campaign_id]}, should be {expected}"


INVARIANTS: Final[Mapping[str, Invariant]] = {
    "NoOversell": no_oversell,
    "HonestRefusal": honest_refusal,
    "OneAnswer": one_answer,
    "UniqueUnit": unique_unit,
    "Conserved": conserved,
    "LimitPerMember": limit_per_member,
    "NoStranger": no_stranger,
    "WindowOnly": window_only,
    "MadeGood": made_good,
    "GaplessLog": gapless_log,
    "LogReplays": log_replays,
    "KeysBind": keys_bind,
    "PublishedStays": published_stays,
    "answers as modelled": answers_as_modelled,
    "log as modelled": log_as_modelled,
    "members as modelled": members_as_modelled,
    "rules as modelled": rules_as_modelled,
}


def broken(step: Step) -> dict[str, list[str]]:
    """Every invariant that the step broke, by name, with what is wrong. An invariant that cannot be computed is broken too."""
    found: dict[str, list[str]] = {}
    for name, invariant in INVARIANTS.items():
        try:
            wrong = list(invariant(step))
        except (KeyError, ValueError, IndexError, AttributeError) as error:
            wrong = [f"cannot be told: {error!r}"]
        if wrong:
            found[name] = wrong
    return found
