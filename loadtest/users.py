"""How does a member behave on the day: arrive, watch, grab at opening, be patient, look at what they got?

Importing this imports locust, which patches the process's sockets: it is for locust's own processes only.
"""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote

import gevent  # type: ignore[import-untyped]
import orjson
from locust import FastHttpUser, task
from locust.exception import StopUser

from loadtest.clock import Sample, ServerClock, anchor_ns, estimate
from loadtest.contract import UNREADABLE, Meaning, meaning_of, read_problem
from loadtest.outcomes import Outcomes

TIME_SAMPLES = 3
POLL_MIN_S = 0.1
POLL_MAX_S = 30.0
POLL_DEFAULT_S = 2.0
REPEATS_MAX = 50
RETRY_AFTER_DEFAULT_S = 0.5
RETRY_AFTER_MAX_S = 10.0


@dataclass(frozen=True, slots=True)
class Setting:
    """What all members of a process share.

    Attributes:
        campaign: its id.
        members: who comes next: member id, and pass if there is one already.
        reaction_s: how long a member may take to tap once it is open.
        outcomes: where their final answers are counted.
    """

    campaign: str
    members: Iterator[tuple[str, str | None]]
    reaction_s: float
    outcomes: Outcomes


class Member(FastHttpUser):
    """One member with a phone.

    Business refusals are outcomes, counted apart and shown as requests of their own name; what the contract does not know
    is a failure.
    """

    setting: ClassVar[Setting]
    network_timeout = 10.0
    connection_timeout = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._headers: dict[str, str] = {}
        self._anchor_ns = anchor_ns()
        self._clock = ServerClock(0, 0, 0)
        self._opens_at_ms = 0

    def on_start(self) -> None:
        """Arrive: take a pass, set the clock, read the campaign's page."""
        try:
            member_id, bearer = next(self.setting.members)
        except StopIteration:
            raise StopUser from None  # everyone is here already
        if bearer is None:
            bearer = str(self._read("/v1/dev/sessions", post={"member_id": member_id})["pass"])
        self._headers = {"Authorization": f"Bearer {bearer}"}
        self._clock = estimate([self._time_sample() for _ in range(TIME_SAMPLES)])
        page = self._read(self._campaign_path(), name="/v1/campaigns/[id]")
        self._opens_at_ms = int(page["opens_at_ms"])

    @task
    def come_for_the_campaign(self) -> None:
        """The whole visit, once."""
        self._watch()
        gevent.sleep(random.uniform(0, self.setting.reaction_s))
        claim_id = self._grab()
        self._read("/v1/me/claims")
        if claim_id is not None:
            self._read(f"/v1/claims/{quote(claim_id, safe='')}", name="/v1/claims/[id]")
        raise StopUser

    def _watch(self) -> None:
        """Look at the campaign as often as it says, until it opens by the server's clock."""
        while (left_s := self._opens_at_ms / 1000 - self._server_now_s()) > 0:
            state = self._read(f"{self._campaign_path()}/state", name="/v1/campaigns/[id]/state")
            poll_s = float(state.get("poll_after_ms", POLL_DEFAULT_S * 1000)) / 1000
            gevent.sleep(min(left_s, max(POLL_MIN_S, min(POLL_MAX_S, poll_s))))

    def _grab(self) -> str | None:
        """Tap, and repeat for as long as the answers ask for it.

        Returns:
            The id of the claim that is now held.
        """
        outcomes = self.setting.outcomes
        for _ in range(REPEATS_MAX):
            meaning, name, pause_s, claim_id = self._tap()
            if meaning is not Meaning.AGAIN:
                outcomes.finals[name] += 1
                return claim_id
            outcomes.repeats[name] += 1
            gevent.sleep(pause_s)
        outcomes.finals["gave-up"] += 1
        return None

    def _tap(self) -> tuple[Meaning, str, float, str | None]:
        """One request: what it means, by which name, how long to wait before the next, which claim."""
        path = f"{self._campaign_path()}/claims"
        with self.client.post(path, headers=self._headers, catch_response=True, name="grab") as response:
            status = response.status_code
            if status == 0:
                response.failure(f"no answer: {response.error}")
                return Meaning.AGAIN, "connection-lost", RETRY_AFTER_DEFAULT_S, None
            body = response.content or b""
            if status < 300:
                meaning = meaning_of(status, "")
                name = f"{status}" if meaning is Meaning.BROKEN else meaning.value
                pause_s = 0.0
            else:
                problem = read_problem(body)
                meaning, name = meaning_of(status, problem.code), problem.code
                if name == UNREADABLE:
                    name = f"{status} {UNREADABLE}"
                pause_s = _retry_after_s(response.headers.get("retry-after"), problem.opens_in_ms)
            response.request_meta["name"] = f"grab: {name}"
            claim_id = _claim_id(body) if meaning in {Meaning.WON, Meaning.HELD} else None
            if meaning is Meaning.BROKEN or (status >= 500 and status != 503):
                response.failure(f"{status} {name} is no answer of the contract")
            elif meaning in {Meaning.WON, Meaning.HELD} and claim_id is None:
                response.failure("a claim without an id")
            else:
                response.success()
        return meaning, name, pause_s, claim_id

    def _read(self, path: str, *, name: str | None = None, post: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask and insist on 200 and an object; 503 is waited out."""
        for _ in range(REPEATS_MAX):
            with self.client.request(
                "GET" if post is None else "POST",
                path,
                headers=self._headers,
                json=post,
                catch_response=True,
                name=name or path,
            ) as response:
                if response.status_code == 503:
                    response.request_meta["name"] = f"{name or path}: 503"
                    response.success()
                    self.setting.outcomes.repeats[f"{name or path}: 503"] += 1
                    pause_s = _retry_after_s(response.headers.get("retry-after"), None)
                elif response.status_code == 200:
                    document = _object(response.content or b"")
                    if document is not None:
                        response.success()
                        return document
                    response.failure("not a JSON object")
                    raise StopUser
                else:
                    response.failure(f"status {response.status_code}")
                    raise StopUser
            gevent.sleep(pause_s)
        raise StopUser

    def _time_sample(self) -> Sample:
        asked_us = self._now_us()
        now_ms = int(self._read("/v1/time")["now_ms"])
        return Sample(asked_us, self._now_us(), now_ms)

    def _now_us(self) -> int:
        return (time.monotonic_ns() + self._anchor_ns) // 1000

    def _server_now_s(self) -> float:
        return (self._now_us() + self._clock.offset_us) / 1e6

    def _campaign_path(self) -> str:
        return f"/v1/campaigns/{quote(self.setting.campaign, safe='')}"


def _retry_after_s(header: str | None, opens_in_ms: int | None) -> float:
    if opens_in_ms is not None:
        return max(1, opens_in_ms) / 1000
    try:
        asked_s = RETRY_AFTER_DEFAULT_S if header is None else float(header)
    except ValueError:
        asked_s = RETRY_AFTER_DEFAULT_S
    return min(RETRY_AFTER_MAX_S, max(0.05, asked_s)) * random.uniform(1.0, 1.5)


def _claim_id(body: bytes) -> str | None:
    claim_id = (_object(body) or {}).get("claim_id")
    return claim_id if isinstance(claim_id, str) else None


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None
