"""The honest members of a locust run: they arrive, watch, grab at the opening, wait patiently, and look at what they got.

Importing this imports locust, which patches the process's sockets: it is for locust's own processes only.
"""

import random
from urllib.parse import quote

import gevent  # type: ignore[import-untyped]

from loadtest.behaviour.callers import REPEATS_MAX, Caller
from loadtest.contract import Meaning

POLL_MIN_S = 0.1
POLL_MAX_S = 30.0
POLL_DEFAULT_S = 2.0
THINK_MAX_S = 60.0


class Member(Caller):
    """One honest member: does what the answers ask for, and takes their time."""

    weight = 17

    def act(self) -> None:
        """The whole visit, once."""
        self.arrive()
        self.read(f"{self.campaign_path}/eligibility", name="/v1/campaigns/[id]/eligibility")
        self.think()
        self.watch()
        gevent.sleep(random.uniform(0, self.scene.reaction_s))
        claim_id = self.grab()
        self.think()
        self.read("/v1/me/claims")
        if claim_id is not None:
            self.read(f"/v1/claims/{quote(claim_id, safe='')}", name="/v1/claims/[id]")

    def think(self) -> None:
        """Look at what came for a while, but never miss the opening for it."""
        if self.scene.think_s > 0:
            left_s = self.opens_in_s()
            pause_s = min(THINK_MAX_S, random.expovariate(1 / self.scene.think_s))
            gevent.sleep(min(pause_s, left_s) if left_s > 0 else pause_s)

    def watch(self) -> None:
        """Look at the campaign as often as it says, until it opens by the server's clock."""
        while (left_s := self.opens_in_s()) > 0:
            state = self.read(f"{self.campaign_path}/state", name="/v1/campaigns/[id]/state")
            poll_s = float(state.get("poll_after_ms", POLL_DEFAULT_S * 1000)) / 1000
            gevent.sleep(max(0.0, min(left_s, max(POLL_MIN_S, min(POLL_MAX_S, poll_s)))))

    def grab(self) -> str | None:
        """Tap, and repeat for as long as the answers ask for it.

        Returns:
            The id of the claim that is now held.
        """
        outcomes = self.scene.outcomes
        for _ in range(REPEATS_MAX):
            heard = self.tap(key=self.own_key())
            if heard.meaning is not Meaning.AGAIN:
                outcomes.finals[heard.name] += 1
                return None if heard.claim is None else str(heard.claim["claim_id"])
            outcomes.repeats[heard.name] += 1
            gevent.sleep(heard.pause_s)
        outcomes.finals["gave-up"] += 1
        return None


class Refresher(Member):
    """A member who reloads page and state again and again, before, during and after, although they are told to wait."""

    weight = 17

    def act(self) -> None:
        """The whole visit, once, while another finger keeps pulling."""
        self.arrive()
        reloading = gevent.spawn(self._reload)
        try:
            gevent.sleep(max(0.0, self.opens_in_s()))
            gevent.sleep(random.uniform(0, self.scene.reaction_s))
            self.grab()
            gevent.sleep(self.scene.linger_s)
        finally:
            reloading.kill(block=False)

    def _reload(self) -> None:
        while True:
            for path, name in ((self.campaign_path, "page"), (f"{self.campaign_path}/state", "state")):
                headers = {"Authorization": f"Bearer {self.bearer}"}
                with self.client.get(path, headers=headers, catch_response=True, name=f"reload the {name}") as response:
                    # A refusal for reloading too often is no failure.
                    if response.status_code in {429, 503}:
                        response.request_meta["name"] = f"reload the {name}: {response.status_code}"
                        response.success()
                    elif response.status_code != 200:
                        response.failure(f"status {response.status_code}")
            gevent.sleep(self.scene.refresh_s * random.uniform(0.5, 1.5))
