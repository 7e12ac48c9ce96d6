"""One process of the stampede.

Started by `loadtest.generator.processes`, not by hand. Lines of JSON go over standard input and output:

    in   the order: what to do                     out  {"ready": connections open}
    in   {"start_ns": ...} on the monotonic clock  out  {"progress": {...}}, about four times a second
    in   {"stop": true}, or the end of input       out  {"tally": {...}} or {"failed": "..."}

A parent that dies closes the input, and the process ends.
"""

import asyncio
import gc
import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import uvloop

from loadtest.clock import ServerClock
from loadtest.generator.requests import Target, build_requests, line_up
from loadtest.generator.rush import Rush, RushPlan
from loadtest.generator.schedule import Shape, offsets_ns
from loadtest.passes import read_passes
from loadtest.receipts import ReceiptBook, clock_line, header_line

# Files a process needs besides its connections.
_SPARE_FILES = 64
_ORDER_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ShardOrder:
    """All that one process needs to know.

    Attributes:
        run: names the run; part of the receipts.
        campaign: its id.
        index: which process this is, from 0.
        processes: how many there are.
        host: where to connect.
        port: the same.
        path: the grab's path.
        passes: the passes file.
        taps: how many times each member taps.
        seed: shuffles the crowd, the same in every process.
        shape: how the crowd arrives.
        spread_s: over how many seconds.
        connections: of this process.
        receipts: the file to write.
        anchor_ns: wall clock minus monotonic clock.
        clock: the server's.
        idempotency_prefix: see `Target`.
        answer_timeout_s: see `RushPlan`.
        deadline_s: see `RushPlan`.
        connect_s: how long to wait for all connections.
    """

    run: str
    campaign: str
    index: int
    processes: int
    host: str
    port: int
    path: str
    passes: str
    taps: int
    seed: int
    shape: Shape
    spread_s: float
    connections: int
    receipts: str
    anchor_ns: int
    clock: ServerClock
    idempotency_prefix: str | None
    answer_timeout_s: float
    deadline_s: float
    connect_s: float


def parse_order(line: bytes) -> ShardOrder:
    """Read the order as `orjson.dumps(order)` wrote it."""
    document: dict[str, Any] = orjson.loads(line)
    document["shape"] = Shape(document["shape"])
    document["clock"] = ServerClock(**document["clock"])
    return ShardOrder(**document)


def plan_rush(order: ShardOrder) -> RushPlan:
    """Take this process's part of the crowd: every `processes`-th tap, so that each part has the whole shape."""
    crowd = line_up(read_passes(Path(order.passes)), order.taps, order.seed)
    offsets = offsets_ns(order.shape, len(crowd), order.spread_s)[order.index :: order.processes]
    part = crowd[order.index :: order.processes]
    target = Target(order.host, order.port, order.path, order.idempotency_prefix)
    return RushPlan(
        crowd=part,
        requests=build_requests(part, target),
        offsets_ns=offsets,
        host=order.host,
        port=order.port,
        connections=order.connections,
        anchor_ns=order.anchor_ns,
        answer_timeout_s=order.answer_timeout_s,
        deadline_s=order.deadline_s,
    )


def raise_file_limit(wanted: int) -> None:
    """Raise the soft limit of open files as far as wanted.

    Raises:
        OSError: the hard limit forbids it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise OSError(f"{wanted} open files are needed and {hard} allowed: fewer --connections, or raise `ulimit -n`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _carry_out(order: ShardOrder, commands: asyncio.StreamReader) -> dict[str, Any]:
    raise_file_limit(order.connections + _SPARE_FILES)
    plan = plan_rush(order)
    facts = {
        "run": order.run,
        "campaign": order.campaign,
        "shard": order.index,
        "host": f"{order.host}:{order.port}",
        "anchor_ns": order.anchor_ns,
        "idempotency_prefix": order.idempotency_prefix,
    }
    with ReceiptBook(Path(order.receipts)) as book:
        book.append([header_line(facts), clock_line(order.clock)])
        rush = Rush(plan, book)
        opened = await rush.connect(order.connect_s)
        if opened == 0:
            return {"failed": f"no connection to {order.host}:{order.port} within {order.connect_s:g} s"}
        _tell({"ready": opened})
        command = await commands.readline()
        if not command or "start_ns" not in (start := orjson.loads(command)):
            return {"failed": "called off before the start"}
        listener = asyncio.get_running_loop().create_task(_listen(rush, commands))
        # The crowd's bytes are here to stay: the collector need not look at them during the rush.
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            tally = await rush.run(start["start_ns"], lambda figures: _tell({"progress": figures}))
        finally:
            listener.cancel()
        return {"tally": tally.to_document()}


async def _listen(rush: Rush, commands: asyncio.StreamReader) -> None:
    await commands.readline()  # a stop, or the end of a parent
    rush.stop("interrupted")


def _tell(message: dict[str, Any]) -> None:
    rest = orjson.dumps(message) + b"\n"
    try:
        while rest:
            rest = rest[os.write(sys.stdout.fileno(), rest) :]
    except BrokenPipeError:
        os._exit(3)  # nobody is left to tell; the receipts are written


async def _main() -> int:
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader(limit=_ORDER_MAX_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    order = parse_order(await commands.readline())
    try:
        report = await _carry_out(order, commands)
    except Exception as error:  # noqa: BLE001  the parent is the one who shows it
        report = {"failed": f"{type(error).__name__}: {error}"}
    _tell(report)
    return 0 if "tally" in report else 1


def main() -> int:
    """Run one process of the stampede."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_main())


if __name__ == "__main__":
    raise SystemExit(main())
