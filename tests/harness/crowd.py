"""Members who keep asking while faults strike: a few connections, and a receipt for every answer.

A member asks until the answer is final: won, or sold out. 503, 429, silence and broken connections are repeated. Every receipt
is written before its request is sent. Now and then somebody who has won asks once more: they must hear the same again.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from loadtest.clock import ServerClock
from loadtest.contract import Meaning, meaning_of, read_problem
from loadtest.generator.http_parse import Answer, HttpParseError, take_answer
from loadtest.generator.requests import Target, build_requests
from loadtest.passes import Member
from loadtest.receipts import ReceiptBook, clock_line, header_line, one_line

ANSWER_TIMEOUT_S: Final = 4.0
PAUSE_FIRST_S: Final = 0.01
PAUSE_MAX_S: Final = 0.15
ASK_AGAIN_CHANCE: Final = 0.05
_CHUNK_BYTES: Final = 64 * 1024
_SAME_MACHINE: Final = ServerClock(offset_us=0, error_us=1_000, rtt_us=0)

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Crowd:
    """A crowd that rushes for one campaign: `crowd.start()`, faults, `await crowd.finish()`.

    Attributes:
        wins: 201 answers so far.
        sold_out: whether anybody has heard so.
        wins_log: of each 201, (answered, granted), Unix microseconds and milliseconds; cleared by its reader.
        oddities: answers that are none of the contract's.
        unanswered: requests that met with silence or a broken connection.
        again: answers that say to come again, 503 and 429.
    """

    def __init__(
        self, url_port: int, campaign_id: str, members: Sequence[Member], book: Path, *, clients: int, think_s: float
    ) -> None:
        self.wins = 0
        self.sold_out = False
        self.wins_log: list[tuple[int, int]] = []
        self.oddities: list[str] = []
        self.asked = 0
        self.unanswered = 0
        self.again = 0
        self.campaign_id = campaign_id
        self._port = url_port
        target = Target("127.0.0.1", url_port, f"/v1/campaigns/{campaign_id}/claims")
        self._queue = self._requests_of(members, target)
        self._book = ReceiptBook(book)
        self._book.append([header_line({"run": book.stem, "campaign": campaign_id}), clock_line(_SAME_MACHINE)])
        self._clients = clients
        self._think_s = think_s
        self._number = 0
        self._winners: list[tuple[bytes, bytes]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._heard = asyncio.Event()

    @staticmethod
    def _requests_of(members: Sequence[Member], target: Target) -> Iterator[tuple[bytes, bytes]]:
        return iter(list(zip((member.member_id for member in members), build_requests(members, target), strict=True)))

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._client()) for _ in range(self._clients)]

    async def finish(self, patience_s: float) -> None:
        """Hurry, until every member has a final answer.

        Raises:
            TimeoutError: somebody has none.
        """
        self._think_s = 0
        try:
            async with asyncio.timeout(patience_s):
                await asyncio.gather(*self._tasks)
        finally:
            await self.abandon()

    async def abandon(self) -> None:
        """Stop asking, after any answer."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._book.close()

    @property
    def done(self) -> bool:
        """Whether all members have their answers."""
        return all(task.done() for task in self._tasks)

    async def won_since(self, at_us: int, patience_s: float) -> int | None:
        """Time of the first 201 after that moment, Unix microseconds; None if the crowd was done before there was one.

        Raises:
            TimeoutError: nobody won anything for so long.
        """
        async with asyncio.timeout(patience_s):
            while True:
                for answered_us, _ in self.wins_log:
                    if answered_us > at_us:
                        return answered_us
                if self.done or self.sold_out:
                    return None
                self._heard.clear()
                await self._heard.wait()

    async def _client(self) -> None:
        connection: _Connection | None = None
        dice = random.Random(id(self) ^ self._number)
        try:
            for member_id, request in self._queue:
                self.asked += 1
                connection = await self._tap(connection, member_id, request)
                if self._winners and dice.random() < ASK_AGAIN_CHANCE:
                    connection = await self._tap(connection, *dice.choice(self._winners))
                if self._think_s:
                    await asyncio.sleep(self._think_s * dice.uniform(0.5, 1.5))
        finally:
            self._heard.set()
            await _drop(connection)

    async def _tap(self, connection: _Connection | None, member_id: bytes, request: bytes) -> _Connection | None:
        pause_s, attempt = PAUSE_FIRST_S, 0
        while True:
            attempt += 1
            number = self._number = self._number + 1
            try:
                if connection is None:
                    connection = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self._port), ANSWER_TIMEOUT_S)
                sent_us = _now_us()
                self._book.append([b"S\t%d\t%b\t%d\t%d\n" % (number, member_id, attempt, sent_us)])
            except (OSError, TimeoutError):
                connection = None
            else:
                answer = await self._ask(connection, request)
                if isinstance(answer, str):
                    self.unanswered += 1
                    self._book.append([b"L\t%d\t%d\t%b\n" % (number, _now_us(), answer.encode())])
                    await _drop(connection)
                    connection = None
                else:
                    if answer.closes:
                        await _drop(connection)
                        connection = None
                    if self._take(number, member_id, request, answer):
                        return connection
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    async def _ask(self, connection: _Connection, request: bytes) -> Answer | str:
        reader, writer = connection
        buffer = b""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                writer.write(request)
                while (answer := take_answer(buffer)) is None:
                    data = await reader.read(_CHUNK_BYTES)
                    if not data:
                        return "connection-lost"
                    buffer += data
        except TimeoutError:
            return "timeout"
        except OSError:
            return "connection-lost"
        except HttpParseError:
            return "unreadable-answer"
        return answer if answer.size == len(buffer) else "stray-bytes"

    def _take(self, number: int, member_id: bytes, request: bytes, answer: Answer) -> bool:
        """Write the receipt of an answer; whether it is final."""
        code = "" if answer.status in {200, 201} else read_problem(answer.body).code
        meaning = meaning_of(answer.status, code)
        answered_us = _now_us()
        body = one_line(answer.body) if meaning in {Meaning.WON, Meaning.HELD} else b""
        self._book.append([b"A\t%d\t%d\t%d\t%b\t%b\n" % (number, answered_us, answer.status, code.encode(), body)])
        if meaning is Meaning.WON:
            self.wins += 1
            claim: dict[str, Any] = orjson.loads(answer.body)
            self.wins_log.append((answered_us, claim["granted_at_ms"]))
            self._winners.append((member_id, request))
            self._heard.set()
        elif meaning is Meaning.REFUSED:
            self.sold_out = True
            self._heard.set()
        elif meaning is Meaning.BROKEN:
            self.oddities.append(f"{answer.status} {code} {answer.body[:200]!r}")
        self.again += meaning is Meaning.AGAIN
        return meaning is not Meaning.AGAIN


async def _drop(connection: _Connection | None) -> None:
    if connection is not None:
        connection[1].transport.abort()
        with contextlib.suppress(OSError):
            await connection[1].wait_closed()


def _now_us() -> int:
    return time.time_ns() // 1000
