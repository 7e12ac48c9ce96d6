"""The bots of a locust run: they hammer, share one pass, and replay passes, keys and claims of others.

They may gain nothing: one unit a member like everybody else, and no answer that speaks of others. Everything beyond counts as
a gain, and one gain fails the run. Importing this imports locust: see `loadtest.behaviour.callers`.
"""

import itertools
import random
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import gevent  # type: ignore[import-untyped]
from locust.exception import StopUser

from loadtest.behaviour.callers import Caller, TapReply
from loadtest.behaviour.forged import forgeries
from loadtest.contract import Meaning, read_problem

FINGERS = 8
HAMMER_S = 0.005
REPLAY_S = 0.05
EARLY_S = 3.0
SHARED_BY = 10
"""So many bots hold the same pass."""


class Cheater(Caller):
    """The common part of all cheaters: they go on from before the opening until a while after it."""

    abstract = True
    weight = 1

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._claims: set[str] = set()
        self._began_s = 0.0

    def going_on(self) -> bool:
        """Whether it is worth while: for a while after the opening, or after one came; waits until shortly before it."""
        if self.opens_in_s() > EARLY_S:
            gevent.sleep(self.opens_in_s() - EARLY_S)
        self._began_s = self._began_s or time.monotonic()
        return self.opens_in_s() > -self.scene.linger_s or time.monotonic() - self._began_s < self.scene.linger_s

    def tried(self, kind: str) -> None:
        """Count an attempt."""
        self.scene.outcomes.cheats[kind] += 1

    def gained(self, what: str) -> None:
        """Count what must not be."""
        self.scene.outcomes.gains[what] += 1

    def weigh(self, heard: TapReply, claims: set[str]) -> None:
        """Look whether an answer gives more than one member may have.

        Args:
            heard: the answer to a tap with the own pass.
            claims: those that were got with it so far.
        """
        if heard.meaning not in {Meaning.WON, Meaning.HELD} or heard.claim is None:
            return
        if heard.claim.get("member_id") != self.member_id:
            self.gained("told of somebody else's claim")
        claims.add(str(heard.claim["claim_id"]))
        if heard.meaning is Meaning.WON and self.opens_in_s() > 0.5:
            self.gained("won before the opening")
        if len(claims) > self.limit_per_member:
            self.gained("more claims than the limit")


class Hammerer(Cheater):
    """A bot that taps far more often than any rate allows, from before the opening on, and waits for nothing."""

    concurrency = FINGERS

    def act(self) -> None:
        """Tap with many fingers."""
        self.arrive()
        numbers = itertools.count()
        fingers = [gevent.spawn(self._hammer, numbers) for _ in range(FINGERS)]
        try:
            gevent.joinall(fingers, raise_error=True)
        finally:
            gevent.killall(fingers, block=False)

    def _hammer(self, numbers: Iterator[int]) -> None:
        """Tap, tap, tap; where a key is needed, with another one each time."""
        while self.going_on():
            self.tried("hammering")
            key = f"h-{self.member_id}-{next(numbers)}" if self.limit_per_member > 1 else None
            self.weigh(self.tap(name="hammer", key=key), self._claims)
            gevent.sleep(HAMMER_S)


class Sharer(Cheater):
    """One of several bots with the same member's pass, each on connections of its own."""

    def _take_pass(self) -> None:
        """Take the pass that is shared, or share one."""
        scene = self.scene
        number, scene.sharers = scene.sharers, scene.sharers + 1
        group, place = divmod(number, SHARED_BY)
        if place == 0:
            try:
                self.arrive()
            finally:
                # Also if there is no pass left: the others of the group must not wait for it for ever.
                scene.shared[group] = (self.member_id, self.bearer, self._claims)
            return
        while group not in scene.shared:
            gevent.sleep(REPLAY_S)
        member_id, bearer, self._claims = scene.shared[group]
        if not bearer:
            raise StopUser
        self.come_as(member_id, bearer)

    def act(self) -> None:
        """Tap at the opening, with all others, and then again and again."""
        self._take_pass()
        while self.going_on():
            gevent.sleep(max(0.0, self.opens_in_s()))
            self.tried("sharing a pass")
            self.weigh(self.tap(name="share", key=self.own_key()), self._claims)
            gevent.sleep(random.uniform(0, 4 * REPLAY_S))


class Replayer(Cheater):
    """A bot that sends what is not its own: passes that were forged or are good no more, keys and claims of others."""

    def act(self) -> None:
        """Try all in turn, and the own pass in between."""
        self.arrive()
        chance = random.Random()
        others = self._somebody_else(chance)
        forged = forgeries(self.bearer, others[1], chance)
        while self.going_on():
            kind, bearer = next(forged)
            self._with_pass(f"a pass {kind}", bearer)
            if self.scene.old_passes:
                self._with_pass("an old pass", chance.choice(self.scene.old_passes))
            self._with_key_of(self._somebody_else(chance)[0])
            self._look_at_claims_of_others(chance)
            gevent.sleep(REPLAY_S * random.uniform(0.5, 1.5))

    def _with_pass(self, kind: str, bearer: str) -> None:
        """Ask with a pass that must not be taken; only a refusal of the pass itself will do."""
        self.tried(kind)
        headers = {"Authorization": f"Bearer {bearer}", "Idempotency-Key": f"r-{self.member_id}"}
        with self.client.post(
            f"{self.campaign_path}/claims", headers=headers, catch_response=True, name=f"replay: {kind}"
        ) as response:
            if response.status_code:
                self.scene.outcomes.strangers[read_problem(response.content or b"").code] += 1
            if response.status_code in {0, 401, 503}:
                response.success()
                return
            self.gained(f"{kind} was taken")
            response.failure(f"{response.status_code} to {kind}")

    def _with_key_of(self, member_id: str) -> None:
        """Tap with the own pass and the Idempotency-Key of another: it must be the own claim, or none."""
        self.tried("the key of another")
        self.weigh(self.tap(name="replay: key of another", key=f"k-{member_id}"), self._claims)

    def _look_at_claims_of_others(self, chance: random.Random) -> None:
        theirs = [claim_id for claim_id, member_id in self.scene.claims[-50:] if member_id != self.member_id]
        if not theirs:
            return
        self.tried("looking at a claim of another")
        path = f"/v1/claims/{quote(chance.choice(theirs), safe='')}"
        headers = {"Authorization": f"Bearer {self.bearer}"}
        with self.client.get(path, headers=headers, catch_response=True, name="replay: claim of another") as response:
            if response.status_code == 200:
                self.gained("saw a claim of another")
                response.failure("200 to a claim of another")
            else:
                response.success()

    def _somebody_else(self, chance: random.Random) -> tuple[str, str]:
        here = [one for one in self.scene.passes[:200] if one[0] != self.member_id]
        return chance.choice(here) if here else (f"{self.member_id}-x", self.bearer[::-1])
