"""A fake service for the tests of the load tools: it keeps the contract, or breaks it in one chosen way.

The generator must live through its troubles, and the verifier must catch each of its lies. It stores nothing.

    python -m tests.harness.fake_service --stock 100 --opens-in-s 2 --trouble busy --lie oversell

It prints one line of JSON with its port and its campaign's id, and serves until its standard input ends.
"""

import argparse
import asyncio
import csv
import io
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, cast
from zlib import crc32

import orjson
import uvloop

CHECKOUT = Path(__file__).parents[2]
CAMPAIGN = "fake"
OPEN_FOR_MS = 600_000
REQUEST_MAX_BYTES = 64 * 1024
# Every so many grabs something goes wrong, where something is to go wrong.
EVERY = 7


class Trouble(StrEnum):
    """Faults that an honest service may show under load; nobody is told anything false."""

    BUSY = "busy"
    DROP_UNDECIDED = "drop-undecided"
    DROP_DECIDED = "drop-decided"
    SILENCE = "silence"
    PIECES = "pieces"
    CHUNKS = "chunks"
    CLOSE = "close"


class Lie(StrEnum):
    """Lies that no service may tell; each breaks one invariant."""

    OVERSELL = "oversell"
    UNDERSELL = "undersell"
    FORGET = "forget"
    REWRITE = "rewrite"
    SECOND_CLAIM = "second-claim"
    TWIN_UNIT = "twin-unit"
    TWIN_CODE = "twin-code"
    MIXED_UP = "mixed-up"
    STRANGER = "stranger"
    EARLY = "early"
    FALSE_SOLD_OUT = "false-sold-out"
    HOLDER_SOLD_OUT = "holder-sold-out"
    SEQ_BACKWARDS = "seq-backwards"
    STRAY_BYTES = "stray-bytes"
    SERVER_ERROR = "server-error"
    ANYBODY = "anybody"
    RED_AUDIT = "red-audit"


@dataclass(slots=True)
class Stage:
    """The fake service's state.

    Attributes:
        stock: units.
        opens_at_ms: the opening.
        troubles: see `Trouble`.
        lies: see `Lie`.
        claims: by member.
        grabs: by member, how often each asked.
        extra: claims that only the ledger has, or that replaced others.
        signed: passes are `pass.<member>.<checksum>`, and others are refused.
        answers: to grabs, by outcome.
    """

    stock: int
    opens_at_ms: int
    troubles: frozenset[Trouble]
    lies: frozenset[Lie]
    claims: dict[str, dict[str, Any]] = field(default_factory=dict)
    grabs: Counter[str] = field(default_factory=Counter)
    extra: list[dict[str, Any]] = field(default_factory=list)
    count: int = 0
    signed: bool = False
    answers: Counter[str] = field(default_factory=Counter)

    def member_of(self, bearer: str) -> str | None:
        """The member of the pass; None if it was not given out."""
        if not self.signed:
            return bearer.removeprefix("pass.")
        member, _, checksum = bearer.removeprefix("pass.").partition(".")
        return member if checksum == f"{crc32(member.encode()):08x}" or Lie.ANYBODY in self.lies else None

    def audit(self) -> dict[str, Any]:
        """The audit's report."""
        held = len(self.claims)
        conserved = {"holds": Lie.RED_AUDIT not in self.lies, "checked": True, "detail": "", "counterexamples": []}
        figures = {"campaign_id": CAMPAIGN, "active": held, "postgres_held": held, "available": max(0, self.stock - held)}
        return {"invariants": {"I6 Conserved": conserved}, "redis_equals_postgres": True, "campaigns": [figures], "seq": held}

    def metrics(self) -> bytes:
        """The counters for Prometheus."""
        lines = (f'grab_answers_total{{outcome="{name}"}} {count}\n' for name, count in self.answers.items())
        return "".join(lines).encode()

    def facts(self) -> dict[str, Any]:
        """The campaign's page."""
        left = max(0, self.stock - len(self.claims))
        return {
            "campaign_id": CAMPAIGN,
            "phase": "open" if _now_ms() >= self.opens_at_ms else "upcoming",
            "opens_at_ms": self.opens_at_ms,
            "closes_at_ms": self.opens_at_ms + OPEN_FOR_MS,
            "stock": {"total": self.stock, "available": left},
            "limit_per_member": 1,
            "releases": [{"opens_at_ms": self.opens_at_ms, "quantity": self.stock}],
            "poll_after_ms": 200,
        }

    def grab(self, member: str) -> tuple[int, dict[str, Any]]:
        """Decide one grab: status and body."""
        self.count += 1
        odd = self.count % EVERY == 0
        if Lie.SERVER_ERROR in self.lies and odd:
            return 500, _problem("internal", 500)
        if member in self.claims:
            return self._again(member)
        if _now_ms() < self.opens_at_ms and Lie.EARLY not in self.lies:
            opens_in_ms = self.opens_at_ms - _now_ms()
            return 409, _problem("not-open-yet", opens_at_ms=self.opens_at_ms, opens_in_ms=opens_in_ms)
        if Lie.FALSE_SOLD_OUT in self.lies and odd:
            return 409, _problem("sold-out")
        if len(self.claims) >= self._units():
            return 409, _problem("sold-out", next_release_at_ms=None, waitlist=False)
        claim = self._grant(member)
        if Lie.MIXED_UP in self.lies and odd:
            return 201, {**claim, "member_id": f"not-{member}"}
        return 201, claim

    def ledger(self) -> list[dict[str, Any]]:
        """The claims as the ledger has them."""
        claims = [*self.claims.values(), *self.extra]
        if Lie.FORGET in self.lies:
            del claims[0]
        if Lie.REWRITE in self.lies:
            claims[0] = {**claims[0], "granted_at_ms": claims[0]["granted_at_ms"] + 1}
        if Lie.STRANGER in self.lies:
            claims[0] = {**claims[0], "member_id": "nobody"}
        return claims

    def _units(self) -> int:
        if Lie.OVERSELL in self.lies:
            return self.stock + 3
        return self.stock - 3 if Lie.UNDERSELL in self.lies else self.stock

    def _again(self, member: str) -> tuple[int, dict[str, Any]]:
        if Lie.HOLDER_SOLD_OUT in self.lies:
            return 409, _problem("sold-out")
        if Lie.SECOND_CLAIM in self.lies and self.grabs[member] == 2:
            self.extra.append(self.claims[member])
            return 201, self._grant(member)
        return 200, self.claims[member]

    def _grant(self, member: str) -> dict[str, Any]:
        number = len(self.claims) + len(self.extra) + 1
        unit_no = 1 if Lie.TWIN_UNIT in self.lies and number == 2 else number
        code = "K1" if Lie.TWIN_CODE in self.lies and number == 2 else f"K{number}"
        claim = {
            "claim_id": f"claim-{number}",
            "campaign_id": CAMPAIGN,
            "member_id": member,
            "state": "fulfilled",
            "unit_no": unit_no,
            "seq": 1_000_000 - number if Lie.SEQ_BACKWARDS in self.lies else number,
            "granted_at_ms": _now_ms(),
            "price": {"points": 0, "cash_fen": 0},
            "voucher": {"voucher_id": f"voucher-{number}", "code": code, "state": "active"},
        }
        self.claims[member] = claim
        return claim


class StageConnection(asyncio.Protocol):
    """One client's connection to the fake service."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head, blank, rest = self._buffer.partition(b"\r\n\r\n")
            if not blank:
                if len(head) > REQUEST_MAX_BYTES:
                    self._end()
                return
            lines = head.decode("latin-1").split("\r\n")
            headers = dict(_header_pair(line) for line in lines[1:])
            length = int(headers.get("content-length", "0"))
            if length > REQUEST_MAX_BYTES:
                self._end()
                return
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            method, target, _ = lines[0].split(" ", 2)
            self._answer(method, target.partition("?")[0], headers, rest[:length])

    def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        stage = self._stage
        member = stage.member_of(headers.get("authorization", "").removeprefix("Bearer "))
        if path == "/v1/time":
            self._send(200, {"now_ms": _now_ms()})
        elif path in {f"/v1/campaigns/{CAMPAIGN}", f"/v1/campaigns/{CAMPAIGN}/state"}:
            self._send(200, stage.facts())
        elif path == f"/v1/campaigns/{CAMPAIGN}/eligibility":
            self._send(200, {"eligible": True, "code": None, "failed_rules": []})
        elif path == f"/v1/campaigns/{CAMPAIGN}/claims" and method == "POST":
            self._grab(member)
        elif path == "/v1/ops/audit":
            self._send(200, stage.audit())
        elif path == "/metrics":
            self._send_bytes(200, stage.metrics())
        elif path == "/v1/dev/ops-sessions":
            self._send(200, {"token": orjson.loads(body)["role"]})
        elif path == f"/v1/ops/campaigns/{CAMPAIGN}/claims.csv":
            masked = headers.get("authorization") == "Bearer viewer"  # whole codes are not for everybody who may look
            self._send(403, _problem("forbidden", 403)) if masked else self._send_bytes(200, _csv(stage.ledger()))
        elif path == "/v1/dev/sessions":
            self._send(200, {"pass": f"pass.{orjson.loads(body)['member_id']}"})
        elif path == "/v1/me/claims":
            held = stage.claims.get(member or "")
            self._send(200, {"items": [] if held is None else [held], "next_cursor": None})
        elif path.startswith("/v1/claims/"):
            held = stage.claims.get(member or "")
            known = held is not None and path == f"/v1/claims/{held['claim_id']}"
            self._send(200, held) if known and held is not None else self._send(404, _problem("claim-not-found", 404))
        else:
            self._send(404, _problem("not-found", 404))

    def _grab(self, member: str | None) -> None:
        stage = self._stage
        if member is None:
            self._send(401, _problem("pass-invalid", 401))
            return
        stage.grabs[member] += 1
        # Troubles hit a member's first attempt, so that persistence is rewarded.
        hit = stage.grabs[member] == 1 and stage.grabs.total() % EVERY == 0
        if hit and Trouble.BUSY in stage.troubles:
            self._send(503, _problem("overloaded", 503), "Retry-After: 0.05\r\n")
            return
        if hit and Trouble.DROP_UNDECIDED in stage.troubles:
            self._end()
            return
        status, answer = stage.grab(member)
        stage.answers[str(answer.get("code") or {200: "held", 201: "won"}[status]).replace("-", "_")] += 1
        if hit and Trouble.DROP_DECIDED in stage.troubles:
            self._end()
        elif hit and Trouble.SILENCE in stage.troubles:
            return
        elif hit and Trouble.CLOSE in stage.troubles:
            self._send(status, answer, "Connection: close\r\n")
            self._end()
        else:
            self._send(status, answer)

    def _send(self, status: int, document: dict[str, Any], more: str = "") -> None:
        self._send_bytes(status, orjson.dumps(document), more)

    def _send_bytes(self, status: int, body: bytes, more: str = "") -> None:
        stage = self._stage
        start = f"HTTP/1.1 {status} Some Phrase\r\nX-Server-Time-Ms: {_now_ms()}\r\n{more}".encode()
        if Trouble.CHUNKS in stage.troubles:
            half = len(body) // 2
            parts = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:]) if part)
            answer = start + b"Transfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"
        else:
            answer = start + b"Content-Length: %d\r\n\r\n" % len(body) + body
        if Lie.STRAY_BYTES in stage.lies and stage.grabs.total() % EVERY == 0 and stage.grabs:
            answer += answer
        if self._transport is None:
            return
        if Trouble.PIECES in stage.troubles:
            cut = 1 + stage.grabs.total() * 13 % (len(answer) - 1)
            self._transport.write(answer[:cut])
            asyncio.get_running_loop().call_later(0.002, self._transport.write, answer[cut:])
        else:
            self._transport.write(answer)

    def _end(self) -> None:
        if self._transport is not None:
            self._transport.close()


FakeService = Callable[..., str]
"""Start one with these words, which opens in so many seconds; its address."""


def start(*words: str) -> tuple[str, "subprocess.Popen[str]"]:
    """Start one in a process of its own, which ends with its standard input; its address, and the process."""
    command = [sys.executable, "-m", __name__, *words]
    process = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return f"http://127.0.0.1:{orjson.loads(process.stdout.readline())['port']}", process


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.harness.fake_service", description="A service to try the tools on.")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--stock", type=int, default=100)
    parser.add_argument("--opens-in-s", type=float, default=2.0)
    parser.add_argument("--trouble", type=Trouble, choices=list(Trouble), action="append", default=[])
    parser.add_argument("--lie", type=Lie, choices=list(Lie), action="append", default=[])
    parser.add_argument("--signed", action="store_true", help="refuse passes that are not pass.<member>.<crc32 of it>")
    options = parser.parse_args(arguments)
    stage = Stage(
        stock=options.stock,
        opens_at_ms=_now_ms() + round(options.opens_in_s * 1000),
        troubles=frozenset(options.trouble),
        lies=frozenset(options.lie),
        signed=options.signed,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(stage, options.port))
    return 0


async def _serve(stage: Stage, port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: StageConnection(stage), "127.0.0.1", port, backlog=4096)
    address = server.sockets[0].getsockname()
    line = orjson.dumps({"port": address[1], "campaign": CAMPAIGN, "opens_at_ms": stage.opens_at_ms}).decode()
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    ended = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(ended), sys.stdin)
    await ended.read()
    server.close()


def _problem(code: str, status: int = 409, **extra: object) -> dict[str, Any]:
    return {"type": f"/problems/{code}", "title": code, "status": status, "detail": "…", "code": code, **extra}


def _csv(claims: list[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    columns = ("claim_id", "campaign_id", "member_id", "state", "unit_no", "seq", "granted_at_ms")
    rows.writerow([*columns, "code", "idempotency_key"])
    rows.writerows([*(claim[name] for name in columns), claim["voucher"]["code"], ""] for claim in claims)
    return text.getvalue().encode()


def _header_pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip().lower(), value.strip()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    raise SystemExit(main())
