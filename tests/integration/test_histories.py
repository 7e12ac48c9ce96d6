"""Histories of the real grab path are linearizable by both checkers, though replies are lost and units come back.

Two workers, each with a way of its own to Valkey, which now and then loses the replies; four members a round, who grab and give
back. The order of decisions is read from the log.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

import pytest
from redis.asyncio import Redis

from grab_service.cell.store import Cell, CellError
from grab_service.embedded.valkey import ValkeyServer
from grab_service.vocabulary.claims import ClaimRef
from grab_service.vocabulary.events import Granted, Returned
from loadtest.verifier.history import NOTHING_DECIDED, AnswerKind, Caller, Decision, History, Operation, RequestKind
from loadtest.verifier.witness import check
from tests.harness.cells import Published, armed_cell, log_of, publish
from tests.harness.linearizable import is_linearizable
from tests.harness.proxy import Proxy, through
from tests.harness.worker import LaneClients, grab_worker

ROUNDS: Final = 60
MEMBERS: Final = 4
ASKS_MAX: Final = 3
STOCK: Final = 2
PATIENCE_S: Final = 0.15
"""After so long the workers give up waiting for Valkey."""
DISPLAY: Final = '{"title": "中秋", "benefit": {"kind": "none", "name": "月饼"}}'

Way = tuple[LaneClients, Proxy]


@pytest.fixture
async def cell(cell_name: str, redis_client: Redis) -> Cell:
    return await armed_cell(redis_client, cell_name, [name for number in range(ROUNDS) for name in members_of(number)])


@pytest.fixture
async def ways(cell: Cell, valkey_url: str, valkey_server: ValkeyServer) -> AsyncIterator[list[Way]]:
    """Two workers, and what may go wrong between each and Valkey."""
    async with AsyncExitStack() as stack:
        built = []
        for _ in range(2):
            proxy = await stack.enter_async_context(Proxy(valkey_server.port))
            url = through(valkey_url, proxy.port)
            bounds = {"grab_deadline_s": PATIENCE_S, "redis_timeout_s": PATIENCE_S}
            worker = await stack.enter_async_context(grab_worker(url, cell.name, **bounds))
            built.append((await stack.enter_async_context(LaneClients(worker)), proxy))
        yield built


def members_of(number: int) -> list[str]:
    return [f"r{number}-{letter}" for letter in "abcd"[:MEMBERS]]


def now_us() -> int:
    return time.monotonic_ns() // 1000


class Round:
    """One campaign of a few units, a handful of members who ask a few times each, all at once."""

    def __init__(self, number: int, ways: list[Way], cell: Cell, dice: random.Random) -> None:
        self.campaign_id = f"r{number}"
        self.members = members_of(number)
        self.operations: list[Operation] = []
        self._ways = ways
        self._cell = cell
        self._dice = dice

    async def run(self, redis: Redis) -> History:
        self._cell.seen_seq = 0
        await publish(self._cell, Published(self.campaign_id, stock=STOCK, display=DISPLAY))
        while not all(crowd.knows(self.campaign_id) for crowd, _ in self._ways):
            await asyncio.sleep(0.001)
        trouble = asyncio.create_task(self._trouble()) if self._dice.random() < 0.4 else None
        await asyncio.gather(*(self._member(name) for name in self.members))
        if trouble is not None:
            await trouble
        return History(tuple(self.operations), *await self._decided(redis), is_whole=True)

    async def _trouble(self) -> None:
        _, proxy = self._dice.choice(self._ways)
        await asyncio.sleep(self._dice.uniform(0, 0.02))
        if self._dice.random() < 0.7:
            proxy.weather.swallows_replies = True
            await asyncio.sleep(self._dice.uniform(0.002, 0.02))
        else:
            proxy.weather.delay_s = self._dice.uniform(0.005, 0.06)
            await asyncio.sleep(0.05)
        proxy.fine()

    async def _member(self, name: str) -> None:
        claim_id = ""
        for _ in range(self._dice.randint(1, ASKS_MAX)):
            await asyncio.sleep(self._dice.choice((0, 0.001, 0.005, 0.02)))
            if claim_id and self._dice.random() < 0.5:
                await self._give_back(name, claim_id)
                claim_id = ""
            else:
                claim_id = await self._grab(name) or claim_id

    async def _grab(self, name: str) -> str:
        crowd, _ = self._dice.choice(self._ways)
        sent_us = now_us()
        answer = await crowd.grab(name, self.campaign_id)
        answered_us, body = now_us(), answer.json()
        caller: Caller = (name, None)
        if answer.status_code in {200, 201}:
            heard = AnswerKind.WON if answer.status_code == 201 else AnswerKind.HELD
            claim_id = str(body["claim_id"])
            self.operations.append(Operation(caller, RequestKind.GRAB, sent_us, answered_us, heard, claim_id, body["unit_no"]))
            return claim_id
        if body["code"] == "sold-out":
            self.operations.append(Operation(caller, RequestKind.GRAB, sent_us, answered_us, AnswerKind.SOLD_OUT))
        elif body["code"] not in NOTHING_DECIDED:
            assert body["code"] == "outcome-unknown", body
            self.operations.append(Operation(caller, RequestKind.GRAB, sent_us, 0, AnswerKind.MAYBE))
        return ""

    async def _give_back(self, name: str, claim_id: str) -> None:
        ref = ClaimRef.parse(claim_id)
        assert ref is not None
        sent_us = now_us()
        heard = AnswerKind.RETURNED
        try:
            outcome, _ = await self._cell.return_unit(self.campaign_id, name, ref.seq, "returned")
            assert outcome in {"returned", "already"}, outcome
        except CellError:
            heard = AnswerKind.MAYBE
        self.operations.append(Operation((name, None), RequestKind.RETURN, sent_us, now_us(), heard, claim_id))

    async def _decided(self, redis: Redis) -> tuple[tuple[Decision, ...], int, frozenset[int]]:
        """(decisions, stock, seqs of everything else), as the log has them."""
        decisions, others = [], set[int]()
        claims: dict[int, Decision] = {}
        for entry in await log_of(redis, self._cell):
            seqs = range(entry.seq, entry.last_seq + 1)
            if isinstance(entry, Granted) and entry.campaign_id == self.campaign_id:
                for seq, (member_id, unit_no, *_) in zip(seqs, entry.claims, strict=True):
                    claim_id = str(ClaimRef(self.campaign_id, entry.epoch, seq))
                    claims[seq] = Decision(seq, (member_id, None), claim_id, unit_no)
                    decisions.append(claims[seq])
            elif isinstance(entry, Returned) and entry.campaign_id == self.campaign_id:
                decisions.append(replace(claims[entry.claim_seq], seq=entry.seq, frees=True))
            else:
                others.update(seqs)
        return tuple(decisions), STOCK, frozenset(others)


async def test_what_members_hear_is_linearizable_by_both_checkers(ways: list[Way], cell: Cell, redis_client: Redis) -> None:
    dice = random.Random(20200920)
    heard: Counter[AnswerKind] = Counter()
    in_secret = 0
    for number in range(ROUNDS):
        history = await Round(number, ways, cell, dice).run(redis_client)
        assert check(history).counterexamples == [], history
        assert is_linearizable(history), history
        heard.update(operation.heard for operation in history.operations)
        told = {operation.claim_id for operation in history.operations if operation.heard is AnswerKind.WON}
        in_secret += len({decision.claim_id for decision in history.decisions} - told)
    assert min(heard[one] for one in AnswerKind) >= 3, f"too quiet to show anything: {heard}"
    assert in_secret, "nobody won without hearing of it, so nothing was shown of timeouts"
