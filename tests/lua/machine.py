"""The state machine draws steps at random; the walker takes them and compares.

A new command is one more `@rule` here.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from grab_service.vocabulary.campaigns import BenefitKind, Eligibility, Release, total_of
from tests.harness.cells import Member, Published
from tests.harness.every_command import CALLS
from tests.lua.walker import START_MS, Laboratory, Walker

# A small world, so that everything meets everything else within a few steps.
MEMBERS: Final = ("m1", "m2", "m3", "m4", "m5")
KEYS: Final = ("", "k1", "k2", "k3", "k4")
WELCOME: Final = Member(org_id="o1", birthday_month=1, joined_on="2021-05-31", tags=("t1",))

some = st.sampled_from


@dataclass(frozen=True, slots=True)
class Configuration:
    """What ops may write down; times as of when it is published."""

    opens_in_ms: list[int]
    quantities: tuple[int, ...]
    closes_in_ms: int
    limit: int
    kind: BenefitKind
    rules: Eligibility

    def open_now(self) -> "Configuration":
        return replace(self, opens_in_ms=[-1, *(at for at in self.opens_in_ms if at > 0)], closes_in_ms=30)

    def of(self, campaign_id: str, at_ms: int) -> Published:
        times = sorted(self.opens_in_ms)
        releases = [Release(at_ms + at, quantity) for at, quantity in zip(times, self.quantities, strict=False)]
        return Published(
            campaign_id,
            tuple(releases),
            closes_in_ms=self.closes_in_ms,
            limit_per_member=self.limit,
            benefit_kind=self.kind,
            eligibility=self.rules,
        )


# What is drawn; the first value of each is the simplest, and what a failure is reduced to.
CAMPAIGN = some(["a", "a", "a", "b"])
WISHES = st.lists(st.tuples(some(MEMBERS), some(KEYS)), min_size=1, max_size=6)
RULES = st.builds(
    Eligibility,
    orgs=some([(), ("o1",), ("o1", "o10")]),
    tags_any=some([(), ("t1",), ("t1", "t2")]),
    birthday_months=some([(), (1,), (1, 12)]),
    joined_before=some([None, "2021-06-01"]),
)
CONFIGURATIONS = st.builds(
    Configuration,
    opens_in_ms=st.lists(some([-1, -2, 0, 1, 2, 4, 6]), min_size=1, max_size=3, unique=True),
    quantities=st.tuples(*[some([3, 2, 1, 5])] * 3),
    closes_in_ms=some([20, 30, 40, 5, 1]),
    limit=some([1, 2, 3]),
    kind=some([BenefitKind.NONE, BenefitKind.CODE_POOL, BenefitKind.CODE_POOL, BenefitKind.GENERATED_CODE]),
    rules=st.just(Eligibility()) | RULES,
)
OPEN_NOW = CONFIGURATIONS.map(Configuration.open_now)
PEOPLE = st.builds(
    Member,
    status=some(["active", "active", "active", "suspended", "left"]),
    org_id=some(["o1", "o2", "o10", "o", ""]),
    birthday_month=some([1, 2, 12, None]),
    joined_on=some(["2021-05-31", "2021-06-01", ""]),
    tags=some([("t1",), ("t2", "t3"), ("t3",), ()]),
)


class Rules(RuleBasedStateMachine):
    """A walker that goes wherever the draw leads it."""

    lab: ClassVar[Laboratory]

    def __init__(self) -> None:
        super().__init__()
        self.walker = Walker(self.lab)
        self.model = self.walker.model

    def teardown(self) -> None:
        self.walker.close()

    # The world

    @initialize(members=some([4, 5, 3]), spare=some([0, 2, -1]), first=OPEN_NOW, second=st.none() | CONFIGURATIONS)
    def begin(self, members: int, spare: int, first: Configuration, second: Configuration | None) -> None:
        """Most of what there is to see is seen with members who are welcome, and a campaign that is there."""
        self.walker.publish_members(1, [(name, WELCOME) for name in MEMBERS[:members]])
        for campaign_id, configuration in (("a", first), ("b", second)):
            if configuration is not None:
                campaign = configuration.of(campaign_id, START_MS)
                if campaign.benefit_kind is BenefitKind.CODE_POOL:
                    self.walker.load_codes(1, total_of(campaign.releases or ()) + spare, campaign_id)
                self.walker.publish(campaign)

    @rule(ms=some([1, 0, 2]), us=st.integers(0, 999))
    def time_goes_by(self, ms: int, us: int) -> None:
        self.walker.clock(self.model.now_ms + ms, us)

    @precondition(lambda self: self.moments())
    @rule(which=some([0, 0, 0, 1, 2]), early=st.booleans())
    def it_is_the_moment(self, which: int, early: bool) -> None:
        """The very millisecond at which something opens, closes or ends, or the one before."""
        moments = self.moments()
        self.walker.clock(max(self.model.now_ms, moments[which % len(moments)] - early), 0)

    def moments(self) -> list[int]:
        moments = {member.blocked_until_ms or 0 for member in self.model.members.values()}
        for campaign in self.model.campaigns.values():
            moments |= {campaign.closes_at_ms, *(release.opens_at_ms for release in campaign.releases)}
        return sorted(moment for moment in moments if moment > self.model.now_ms)

    # The commands

    @rule(campaign_id=CAMPAIGN, wishes=WISHES)
    def grab(self, campaign_id: str, wishes: list[tuple[str, str]]) -> None:
        self.walker.grab(wishes, campaign_id)

    @rule(campaign_id=CAMPAIGN)
    def rush(self, campaign_id: str) -> None:
        """Everybody at once, more than once."""
        self.walker.grab([(member_id, key) for member_id in MEMBERS for key in KEYS], campaign_id)

    @rule(campaign_id=CAMPAIGN, version=some([1, 1, 1, 2]), configuration=CONFIGURATIONS)
    def publish(self, campaign_id: str, version: int, configuration: Configuration) -> None:
        self.walker.publish(replace(configuration.of(campaign_id, self.model.now_ms), version=version))

    @rule(campaign_id=CAMPAIGN, ahead=some([1, 0, -2, 2]), count=some([3, 1, 0]))
    def load_codes(self, campaign_id: str, ahead: int, count: int) -> None:
        campaign = self.model.campaigns.get(campaign_id)
        self.walker.load_codes(max(1, (len(campaign.codes) if campaign else 0) + ahead), count, campaign_id)

    @rule(
        version=some([1, 2, 0, -1]),
        people=st.lists(st.tuples(some(MEMBERS), some([1, 0, -1, 2]), PEOPLE, some([None, None, 2, 0, -1])), max_size=3),
    )
    def import_members(self, version: int, people: list[tuple[str, int, Member, int | None]]) -> None:
        base = self.model.members_version
        members = []
        for name, member_version, person, blocked_in_ms in people:
            until_ms = None if blocked_in_ms is None else self.model.now_ms + blocked_in_ms
            newer = max(1, base + member_version)
            members.append((name, replace(person, version=newer, blocked_until_ms=until_ms)))
        self.walker.publish_members(max(1, base + version), members)

    @rule(member_id=some(MEMBERS))
    def member_is_welcome(self, member_id: str) -> None:
        version = 1 + max([self.model.members_version, *(member.version for member in self.model.members.values())])
        self.walker.publish_members(version, [(member_id, replace(WELCOME, version=version))])

    @rule(campaign_id=CAMPAIGN, action=some([*["pause", "resume"] * 4, "cancel", "close"]))
    def set_state(self, campaign_id: str, action: str) -> None:
        self.walker.set_state(action, campaign_id)

    @rule(campaign_id=CAMPAIGN, mistake=some([0, 0, 0, 0, 1, -1]), change=st.integers(-4, 5))
    def set_stock(self, campaign_id: str, mistake: int, change: int) -> None:
        campaign = self.model.campaign(campaign_id)
        known = campaign.total if campaign else 1
        self.walker.set_stock(known + mistake, max(1, known + change), campaign_id)

    @rule(campaign_id=CAMPAIGN, member_id=some([*MEMBERS, "m9"]), key=some(KEYS[1:]), beyond_stock=st.booleans())
    def make_good(self, campaign_id: str, member_id: str, key: str, beyond_stock: bool) -> None:
        self.walker.make_good(member_id, key, campaign_id, beyond_stock=beyond_stock)

    @precondition(lambda self: any(campaign.grants for campaign in self.model.campaigns.values()))
    @rule(campaign_id=CAMPAIGN, which=st.integers(0, 5), somebody=some([None] * 9 + ["m1"]), beside=some([0] * 6 + [1]))
    def return_unit(self, campaign_id: str, which: int, somebody: str | None, beside: int) -> None:
        campaign = self.model.campaign(campaign_id)
        grants = campaign.grants[-6:] if campaign else []
        grant = grants[which % len(grants)] if grants else None
        member_id = somebody or (grant.member_id if grant else "m1")
        self.walker.return_unit(member_id, (grant.record.seq if grant else 1) + beside, campaign_id)

    @precondition(lambda self: any(campaign.held for campaign in self.model.campaigns.values()))
    @rule(campaign_id=CAMPAIGN, which=st.integers(0, 5))
    def come_and_go(self, campaign_id: str, which: int) -> None:
        """Somebody gives back, and everybody asks again."""
        campaign = self.model.campaign(campaign_id)
        if campaign and campaign.held:
            grant = campaign.held[which % len(campaign.held)]
            self.walker.return_unit(grant.member_id, grant.record.seq, campaign_id)
            self.walker.grab([(member_id, key) for member_id in MEMBERS for key in KEYS], campaign_id)

    @rule(worker=some(["w1", "w2", "w3"]), counts=some(["{}", ""]), later_ms=some([*[0] * 18, 1, 59_999]))
    def note_counts(self, worker: str, counts: str, later_ms: int) -> None:
        self.walker.clock(self.model.now_ms + later_ms)
        self.walker.note_counts(worker, counts)

    @rule(command=some(sorted(CALLS)), how=some(["epoch", "nonce", "behind"]))
    def another_life(self, command: str, how: str) -> None:
        knows_seq = command in {"explain", "grab", "tail"}
        self.walker.another_life(command, how if how != "behind" or knows_seq else "nonce")

    @rule(member_id=some(MEMBERS), after=st.integers(0, 50))
    def look(self, member_id: str, after: int) -> None:
        self.walker.look(member_id, min(after, self.model.seq))


def machine_in(lab: Laboratory) -> type[Rules]:
    """The machine, bound to a laboratory."""
    bound: dict[str, Any] = {"lab": lab}
    return type("Rules", (Rules,), bound)
