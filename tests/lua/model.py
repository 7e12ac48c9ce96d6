"""The model of the rules: the same cell as plain Python, kept as a list of grants and nothing else that can go out of step.

It is written from the contract, not from the scripts: no counters, no slots of memory reused, nothing planned and then written.
Whatever can be counted is counted anew each time. Each command has one method that answers as the script should and adds the
entries the log should have.

A new rule is one more file in `tests/rules/`; a new command is one more method.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from grab_service.vocabulary import events
from grab_service.vocabulary.campaigns import BenefitKind, CampaignState, Release
from grab_service.vocabulary.claims import ClaimRecord, ClaimState
from tests.harness.cells import Member, Published
from tests.harness.standing import Standing
from tests.rules import OF_MEMBERS, counters, refusals

EPOCH = 1
SILENT_MS = 60_000
Wish = tuple[str, str, str]
TARGETS = {"pause": "paused", "resume": "scheduled", "close": "closed", "cancel": "cancelled"}


@dataclass(slots=True)
class Grant:
    """A claim that was ever made."""

    member_id: str
    record: ClaimRecord
    returned_seq: int | None = None


@dataclass(slots=True)
class Campaign:
    """A campaign in the cell, or only its codes, loaded ahead."""

    published: Published | None = None
    releases: tuple[Release, ...] = ()
    closes_at_ms: int = 0
    state: str = ""
    closed_at_ms: int | None = None
    codes: list[str] = field(default_factory=list)
    free_codes: list[str] = field(default_factory=list)
    grants: list[Grant] = field(default_factory=list)
    units_used: set[int] = field(default_factory=set)

    @property
    def total(self) -> int:
        return sum(release.quantity for release in self.releases)

    @property
    def held(self) -> list[Grant]:
        return [grant for grant in self.grants if grant.returned_seq is None]

    @property
    def pooled(self) -> bool:
        return self.published is not None and self.published.benefit_kind is BenefitKind.CODE_POOL

    @property
    def counters(self) -> dict[str, int]:
        return counters([grant.record for grant in self.held], len(self.units_used) - len(self.held))

    def available(self, now_ms: int) -> int:
        return sum(release.quantity for release in self.releases if release.opens_at_ms <= now_ms) - len(self.held)

    def next_unit(self) -> int:
        back = self.units_used - {grant.record.unit_no for grant in self.held}
        return min(back, default=max(self.units_used, default=0) + 1)


@dataclass(slots=True)
class Model:
    """The cell. `now_ms` is its clock; the driver of the model moves it."""

    now_ms: int
    seq: int = 0
    members_version: int = 0
    members: dict[str, Member] = field(default_factory=dict)
    campaigns: dict[str, Campaign] = field(default_factory=dict)
    log: list[events.Event] = field(default_factory=list)
    counts: list[tuple[str, str]] = field(default_factory=list)
    workers: dict[str, tuple[int, str]] = field(default_factory=dict)

    def campaign(self, campaign_id: str) -> Campaign | None:
        """The campaign, if it is published."""
        campaign = self.campaigns.get(campaign_id)
        return campaign if campaign and campaign.published else None

    def _place(self, count: int = 1) -> tuple[int, int, int, int]:
        first, self.seq = self.seq + 1, self.seq + count
        return (first, self.seq, EPOCH, self.now_ms)

    # counts

    def note_counts(self, worker: str, counts: str, head: str) -> tuple[object, ...]:
        """What is there afterwards: all counts, and the workers that have spoken within the last minute."""
        if counts:
            self.counts.append((worker, counts))
        self.workers[worker] = (self.now_ms, head)
        self.workers = {name: said for name, said in self.workers.items() if self.now_ms - said[0] < SILENT_MS}
        return ("noted", list(self.counts), {name: f"{at_ms} {head}" for name, (at_ms, head) in self.workers.items()})

    # grab

    def grab(self, campaign_id: str, wishes: Sequence[Wish]) -> list[str]:
        """One answer to each wish; what an earlier wish of the batch won counts for the later ones."""
        campaign = self.campaign(campaign_id)
        if campaign is None:
            return ["campaign_not_found"] * len(wishes)
        answers: list[str] = []
        won: list[Grant] = []
        for member_id, key, candidate in wishes:
            answer = next(self._answers(campaign, member_id, key), None)
            if answer is None:
                grant = self._grant(campaign, member_id, key, candidate, self.seq + len(won) + 1)
                won.append(grant)
                answer = f"won\t{grant.record.encode()}"
            answers.append(answer)
        if won:
            claims = [
                events.GrantedClaim(g.member_id, g.record.unit_no, g.record.ordinal, g.record.code, g.record.idempotency_key)
                for g in won
            ]
            self.log.append(events.Granted(*self._place(len(won)), campaign_id, claims))
        return answers

    def explain(self, campaign_id: str, wishes: Sequence[Wish]) -> list[str]:
        """What keeps each member out whatever the hour and the stock; nothing changes."""
        campaign = self.campaign(campaign_id)
        if campaign is None:
            return ["campaign_not_found"] * len(wishes)
        return [
            next((said for said in self._answers(campaign, member_id, key) if said.startswith(OF_MEMBERS)), "eligible")
            for member_id, key, _ in wishes
        ]

    def _answers(self, campaign: Campaign, member_id: str, key: str) -> Iterator[str]:
        """Everything that keeps this member from a unit now; the first is the answer."""
        published = campaign.published
        assert published is not None
        limit = published.limit_per_member
        mine = [grant for grant in campaign.grants if grant.member_id == member_id]
        held = [grant for grant in mine if grant.returned_seq is None]
        if limit > 1 and not key:
            yield "idempotency_key_missing"
        for grant in mine:
            if key and grant.record.idempotency_key == key:
                yield f"held\t{grant.record.encode()}"
        if limit == 1 and held:
            yield f"held\t{held[0].record.encode()}"
        yield from refusals(
            Standing(
                now_ms=self.now_ms,
                published=published,
                state=campaign.state,
                opens_at_ms=campaign.releases[0].opens_at_ms,
                closes_at_ms=campaign.closes_at_ms,
                available=campaign.available(self.now_ms),
                counters=campaign.counters,
                holding=[grant.record for grant in held],
                member=self.members.get(member_id),
            )
        )

    def _grant(self, campaign: Campaign, member_id: str, key: str, candidate: str, seq: int) -> Grant:
        assert campaign.published is not None
        ordinals = {grant.record.ordinal for grant in campaign.held if grant.member_id == member_id}
        unit_no = campaign.next_unit()
        code = candidate if campaign.published.benefit_kind is BenefitKind.GENERATED_CODE else ""
        if campaign.pooled and campaign.free_codes:
            code = campaign.free_codes.pop(0)
        ordinal = next(ordinal for ordinal in range(1, 101) if ordinal not in ordinals)
        grant = Grant(member_id, ClaimRecord(seq, EPOCH, unit_no, ordinal, self.now_ms, code, key))
        campaign.grants.append(grant)
        campaign.units_used.add(unit_no)
        return grant

    # What ops do

    def publish_campaign(self, published: Published) -> tuple[str, int, str]:
        campaign = self.campaigns.setdefault(published.campaign_id, Campaign())
        if campaign.published:
            return "already" if campaign.published.version == published.version else "published_before", self.seq, ""
        assert published.releases is not None
        total = sum(release.quantity for release in published.releases)
        if published.benefit_kind is BenefitKind.CODE_POOL and len(campaign.codes) < total:
            return "too_few_codes", self.seq, f"{len(campaign.codes)}\t{total}"
        campaign.published, campaign.releases, campaign.state = published, published.releases, "scheduled"
        campaign.closes_at_ms = self.now_ms + published.closes_in_ms
        self.log.append(events.Published(*self._place(), published.campaign_id, published.version, campaign.releases))
        return "published", self.seq, ""

    def set_state(self, campaign_id: str, action: str) -> tuple[str, int, str]:
        campaign, target = self.campaign(campaign_id), TARGETS[action]
        if campaign is None:
            return "campaign_not_found", self.seq, ""
        if campaign.state == target:
            return "already", self.seq, campaign.state
        over = self.now_ms >= campaign.closes_at_ms and target != "closed"
        if campaign.state in {"closed", "cancelled"} or over:
            return "wrong_state", self.seq, campaign.state
        campaign.state = target
        if target in {"closed", "cancelled"}:
            campaign.closed_at_ms = self.now_ms
        self.log.append(events.StateSet(*self._place(), campaign_id, CampaignState(target)))
        return "state_set", self.seq, target

    def set_stock(self, campaign_id: str, expected: int, total: int) -> tuple[str, int, int, int]:
        campaign = self.campaign(campaign_id)
        if campaign is None:
            return "campaign_not_found", self.seq, 0, 0
        before, lowest = campaign.total, max([1, *(grant.record.unit_no for grant in campaign.held)])
        refusal = None
        if campaign.state in {"closed", "cancelled"} or self.now_ms >= campaign.closes_at_ms:
            refusal = "wrong_state"
        elif before != expected:
            refusal = "stock_changed"
        elif total < lowest:
            refusal = "below_issued"
        elif campaign.pooled and len(campaign.free_codes) < total - len(campaign.held):
            refusal = "too_few_codes"
        elif total == before:
            refusal = "already"
        if refusal:
            return refusal, self.seq, before, lowest
        if total > before:
            self._raise(campaign, total - before)
        releases = list(campaign.releases)
        for _ in range(before - total):  # one unit after the other, off the last release that has one
            place = max(place for place, release in enumerate(releases) if release.quantity)
            releases[place] = replace(releases[place], quantity=releases[place].quantity - 1)
        campaign.releases = tuple(releases)
        campaign.units_used = {unit for unit in campaign.units_used if unit <= total}
        self.log.append(events.StockSet(*self._place(), campaign_id, total, campaign.releases))
        return "stock_set", self.seq, total, lowest

    def make_good(
        self, campaign_id: str, member_id: str, key: str, candidate: str, *, beyond_stock: bool
    ) -> tuple[str, int, str]:
        campaign, member = self.campaign(campaign_id), self.members.get(member_id)
        if campaign is None:
            return "campaign_not_found", self.seq, ""
        for grant in campaign.grants:
            if (grant.member_id, grant.record.idempotency_key) == (member_id, key):
                return "already", self.seq, grant.record.encode()
        left = campaign.total + beyond_stock - len(campaign.held)
        refusal = None
        if campaign.state == "cancelled":
            refusal = "wrong_state"
        elif member is None or member.status == "left":
            refusal = "member_unknown"
        elif not left:
            refusal = "sold_out"
        elif campaign.pooled and len(campaign.free_codes) < left:
            refusal = "too_few_codes"
        if refusal:
            return refusal, self.seq, ""
        if beyond_stock:
            self._raise(campaign, 1)
        place = self._place()
        grant = self._grant(campaign, member_id, key, candidate, self.seq)
        grant.record = replace(grant.record, parts="\tsource=make_good")
        record = grant.record
        claims = [events.GrantedClaim(member_id, record.unit_no, record.ordinal, record.code, key)]
        releases = campaign.releases if beyond_stock else ()
        self.log.append(events.MadeGood(*place, campaign_id, claims, releases=releases))
        return "made_good", self.seq, record.encode()

    def _raise(self, campaign: Campaign, units: int) -> None:
        """More units, which join the newest release that is open, or the first."""
        open_ones = [place for place, release in enumerate(campaign.releases) if release.opens_at_ms <= self.now_ms]
        newest, releases = max(open_ones, default=0), list(campaign.releases)
        releases[newest] = replace(releases[newest], quantity=releases[newest].quantity + units)
        campaign.releases = tuple(releases)

    def load_codes(self, campaign_id: str, first_position: int, codes: Sequence[str]) -> tuple[str, int, int]:
        campaign = self.campaigns.setdefault(campaign_id, Campaign())
        loaded = len(campaign.codes)
        if first_position > loaded + 1:
            return "gap", self.seq, loaded
        new = codes[loaded + 1 - first_position :]
        if not new:
            return "already", self.seq, loaded
        campaign.codes += new
        campaign.free_codes += new
        self.log.append(events.CodesLoaded(*self._place(), campaign_id, len(campaign.codes)))
        return "codes_loaded", self.seq, len(campaign.codes)

    def publish_members(self, version: int, members: Sequence[tuple[str, Member]]) -> tuple[str, int, int]:
        changed, held, org_changed = 0, dict(self.members), list[str]()
        for member_id, member in members:
            before = self.members.get(member_id)
            if before is None or before.version < member.version:
                self.members[member_id] = member
                changed += 1
                if member_id in held and held[member_id].org_id != member.org_id:
                    org_changed.append(member_id)
        if not changed and version <= self.members_version:
            return "already", self.seq, 0
        self.members_version = max(version, self.members_version)
        self.log.append(events.MembersPublished(*self._place(), self.members_version, changed, tuple(org_changed)))
        return "members_published", self.seq, changed

    # What becomes of a claim

    def return_unit(self, campaign_id: str, member_id: str, claim_seq: int, reason: str) -> tuple[str, int]:
        campaign = self.campaign(campaign_id)
        if campaign is None:
            return "campaign_not_found", self.seq
        for grant in campaign.grants:
            if grant.record.seq == claim_seq and grant.returned_seq is not None:
                return "already", grant.returned_seq
        grants = [grant for grant in campaign.held if (grant.member_id, grant.record.seq) == (member_id, claim_seq)]
        if not grants:
            return "unknown_claim", self.seq
        place, record = self._place(), grants[0].record
        grants[0].returned_seq = self.seq
        grants[0].record = replace(record, state=ClaimState(reason))
        code = record.code if campaign.pooled else ""
        if code:  # nobody has seen it: it goes to somebody else, and the claim that gave it up has none
            campaign.free_codes.append(code)
            grants[0].record = replace(grants[0].record, code="")
        self.log.append(events.Returned(*place, campaign_id, member_id, claim_seq, record.unit_no, reason, code))
        return "returned", self.seq
