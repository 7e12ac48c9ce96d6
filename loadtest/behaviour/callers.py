"""The common part of all users of a locust run: they arrive with a pass, tap, and read pages.

Importing this imports locust, which patches the process's sockets: it is for locust's own processes only.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import quote

import gevent  # type: ignore[import-untyped]
import orjson
from locust import FastHttpUser, task
from locust.exception import StopUser

from loadtest.behaviour.outcomes import Outcomes
from loadtest.behaviour.recorder import Recorder
from loadtest.clock import Sample, ServerClock, anchor_ns, estimate
from loadtest.contract import Meaning, Reading, pause_s, read_answer

TIME_SAMPLES = 3
REST_S = 24 * 3600.0
REPEATS_MAX = 50
LOSS_PAUSE_S = 0.5
CLAIMS_REMEMBERED_MAX = 1_000


@dataclass(slots=True)
class Scene:
    """The state that all of one process share.

    Attributes:
        campaign: its id.
        members: the next ones to come: member id, and pass if there is one already.
        reaction_s: how long a member may take to tap once it is open.
        think_s: how long a member looks at what came, on average, before the next thing.
        refresh_s: time between two reloads of a caller who does nothing else, on average.
        linger_s: how long reloaders and cheaters go on after the opening, or after their answer.
        outcomes: where what they hear is counted.
        recorder: where it is written down.
        old_passes: passes that are good no more, or elsewhere.
        passes: those given out to members of this process.
        claims: some that members of this process have won: claim id, and whose it is.
        shared: by group of bots, the pass that they share: whose, the pass, and the claims that were got with it.
        sharers: how many bots share them.
    """

    campaign: str
    members: Iterator[tuple[str, str | None]]
    reaction_s: float
    think_s: float
    refresh_s: float
    linger_s: float
    outcomes: Outcomes
    recorder: Recorder
    old_passes: tuple[str, ...] = ()
    passes: list[tuple[str, str]] = field(default_factory=list)
    claims: list[tuple[str, str]] = field(default_factory=list)
    shared: dict[int, tuple[str, str, set[str]]] = field(default_factory=dict)
    sharers: int = 0


@dataclass(frozen=True, slots=True)
class TapReply:
    """The answer to one tap.

    Attributes:
        reading: what it means.
        pause_s: how long it asks to wait before the same request again.
        claim: the claim in it, if there is one.
    """

    reading: Reading
    pause_s: float = 0.0
    claim: dict[str, Any] | None = None

    @property
    def meaning(self) -> Meaning:
        return self.reading.meaning

    @property
    def name(self) -> str:
        return self.reading.name


class Caller(FastHttpUser):
    """Somebody with a phone, or what claims to be one: says in `act` what they do, once, with `StopUser` for an early end.

    A user who has finished stays until the run ends, and does nothing. Locust would send somebody else in the place
    of those who leave.

    Business refusals are outcomes, counted apart and shown as requests of their own name; what the contract does not know
    is a failure.
    """

    abstract = True
    scene: ClassVar[Scene]
    network_timeout = 10.0
    connection_timeout = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if self.host is not None:
            self.host = self.host.rstrip("/")  # locust puts the address and a path together as they are
        super().__init__(*args, **kwargs)
        self.member_id = ""
        self.bearer = ""
        self.limit_per_member = 1
        self.opens_at_ms = 0
        self._anchor_ns = anchor_ns()
        self._clock = ServerClock(0, 0, 0)
        self._attempt = 0

    @task
    def live(self) -> None:
        """Do what one came for, and stay."""
        try:
            self.act()
        except StopUser:
            pass  # it was not to be
        finally:
            self.scene.outcomes.gone["gone"] += 1
        gevent.sleep(REST_S)

    def act(self) -> None:
        """The user's task."""
        raise NotImplementedError

    def arrive(self) -> None:
        """Come as the next member: with a pass, a clock that is set, and the campaign's page read."""
        try:
            member_id, bearer = next(self.scene.members)
        except StopIteration:
            raise StopUser from None  # everyone is here already
        if bearer is None:
            bearer = str(self.read("/v1/dev/sessions", post={"member_id": member_id})["pass"])
        self.scene.passes.append((member_id, bearer))
        self.come_as(member_id, bearer)

    def come_as(self, member_id: str, bearer: str) -> None:
        """The same with a pass that somebody else may hold, too."""
        self.member_id, self.bearer = member_id, bearer
        self._clock = estimate([self._time_sample() for _ in range(TIME_SAMPLES)])
        page = self.read(self.campaign_path, name="/v1/campaigns/[id]")
        self.opens_at_ms = int(page["opens_at_ms"])
        self.limit_per_member = int(page.get("limit_per_member") or 1)

    @property
    def campaign_path(self) -> str:
        """Path of the campaign."""
        return f"/v1/campaigns/{quote(self.scene.campaign, safe='')}"

    def opens_in_s(self) -> float:
        """Time until the opening, by the server's clock; negative afterwards."""
        return self.opens_at_ms / 1000 - (self._now_us() + self._clock.offset_us) / 1e6

    def own_key(self) -> str | None:
        """The Idempotency-Key to send: where the limit is above one the contract asks for it."""
        return f"k-{self.member_id}" if self.limit_per_member > 1 else None

    def tap(self, *, name: str = "grab", key: str | None = None) -> TapReply:
        """Ask for a unit with the own pass, once, and write down what was asked and heard."""
        scene = self.scene
        self._attempt += 1
        receipt_no = scene.recorder.asks(self.member_id, self._attempt, key)
        headers = {"Authorization": f"Bearer {self.bearer}", **({} if key is None else {"Idempotency-Key": key})}
        path = f"{self.campaign_path}/claims"
        with self.client.post(path, headers=headers, catch_response=True, name=name) as response:
            status, body = response.status_code, response.content or b""
            if status == 0:
                scene.recorder.loses(receipt_no)
                response.failure(f"no answer: {response.error}")
                return TapReply(Reading(Meaning.AGAIN, "connection-lost"), LOSS_PAUSE_S)
            reading = read_answer(status, body)
            scene.recorder.hears(receipt_no, status, reading.code, body)
            wait_s = pause_s(response.headers.get("retry-after"), reading.opens_in_ms)
            heard = TapReply(reading, wait_s, None if reading.code else _claim(body))
            scene.outcomes.answers[heard.name] += 1
            response.request_meta["name"] = f"{name}: {heard.name}"
            if heard.meaning is Meaning.BROKEN or (status >= 500 and status != 503):
                response.failure(f"{status} {heard.name} is no answer of the contract")
            elif heard.meaning in {Meaning.WON, Meaning.HELD} and heard.claim is None:
                response.failure("a claim without an id")
            else:
                response.success()
        if heard.meaning is Meaning.WON and heard.claim is not None and len(scene.claims) < CLAIMS_REMEMBERED_MAX:
            scene.claims.append((str(heard.claim["claim_id"]), self.member_id))
        return heard

    def read(self, path: str, *, name: str | None = None, post: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask and insist on 200 and an object; 503 is waited out."""
        for _ in range(REPEATS_MAX):
            with self.client.request(
                "GET" if post is None else "POST",
                path,
                headers={"Authorization": f"Bearer {self.bearer}"} if self.bearer else {},
                json=post,
                catch_response=True,
                name=name or path,
            ) as response:
                if response.status_code == 503:
                    response.request_meta["name"] = f"{name or path}: 503"
                    response.success()
                    self.scene.outcomes.repeats[f"{name or path}: 503"] += 1
                    wait_s = pause_s(response.headers.get("retry-after"), None)
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
            gevent.sleep(wait_s)
        raise StopUser

    def _time_sample(self) -> Sample:
        asked_us = self._now_us()
        now_ms = int(self.read("/v1/time")["now_ms"])
        return Sample(asked_us, self._now_us(), now_ms)

    def _now_us(self) -> int:
        return (time.monotonic_ns() + self._anchor_ns) // 1000


def _claim(body: bytes) -> dict[str, Any] | None:
    document = _object(body) or {}
    return document if isinstance(document.get("claim_id"), str) else None


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None
