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
from typing import Any, Self
from urllib.parse import quote

import orjson
import uvloop

from loadtest.clock import ServerClock
from loadtest.generator.config import StampedeConfig
from loadtest.generator.requests import Target, build_requests, in_order_of_taps
from loadtest.generator.rush import Rush, RushPlan
from loadtest.generator.schedule import Shape, offsets_ns
from loadtest.passes import read_passes
from loadtest.receipts import ReceiptBook, clock_line, header_line
from loadtest.service import parse_url

# Files a process needs besides its connections.
_SPARE_FILES = 64
_ORDER_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ShardOrder:
    """All that one process needs to know.

    Attributes:
        config: of the whole stampede.
        run: names the run; part of the receipts.
        index: which process this is, from 0.
        connections: of this process.
        receipts: the file to write.
        anchor_ns: wall clock minus monotonic clock.
        clock: the server's.
        idempotency_prefix: see `Target`.
    """

    config: StampedeConfig
    run: str
    index: int
    connections: int
    receipts: Path
    anchor_ns: int
    clock: ServerClock
    idempotency_prefix: str | None

    @property
    def target(self) -> Target:
        """The target of the grabs."""
        address = parse_url(self.config.url)
        path = f"{address.prefix}/v1/campaigns/{quote(self.config.campaign, safe='')}/claims"
        return Target(address.host, address.port, path, self.idempotency_prefix)

    def to_line(self) -> bytes:
        """As it goes to the process."""
        return orjson.dumps(self, default=str)

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Read what `to_line` wrote."""
        document: dict[str, Any] = orjson.loads(line)
        config = document["config"]
        paths = {name: Path(config[name]) for name in ("passes", "receipts")}
        document["config"] = StampedeConfig(**{**config, **paths, "schedule": Shape(config["schedule"])})
        document["receipts"] = Path(document["receipts"])
        document["clock"] = ServerClock(**document["clock"])
        return cls(**document)


def plan_rush(order: ShardOrder) -> RushPlan:
    """Take this process's part of the crowd: every `processes`-th tap, so that each part has the whole shape."""
    config, target = order.config, order.target
    crowd = in_order_of_taps(read_passes(config.passes), config.taps, config.seed)
    mine = slice(order.index, None, config.processes)
    return RushPlan(
        crowd=crowd[mine],
        requests=build_requests(crowd[mine], target),
        offsets_ns=offsets_ns(config.schedule, len(crowd), config.spread_s)[mine],
        host=target.host,
        port=target.port,
        connections=order.connections,
        anchor_ns=order.anchor_ns,
        answer_timeout_s=config.answer_timeout_s,
        deadline_s=config.timeout_s,
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
        "campaign": order.config.campaign,
        "shard": order.index,
        "host": f"{plan.host}:{plan.port}",
        "anchor_ns": order.anchor_ns,
        "idempotency_prefix": order.idempotency_prefix,
    }
    with ReceiptBook(order.receipts) as book:
        book.append([header_line(facts), clock_line(order.clock)])
        rush = Rush(plan, book)
        opened = await rush.connect(order.config.connect_s)
        if opened == 0:
            return {"failed": f"no connection to {plan.host}:{plan.port} within {order.config.connect_s:g} s"}
        _send({"ready": opened})
        command = await commands.readline()
        if not command or "start_ns" not in (start := orjson.loads(command)):
            return {"failed": "called off before the start"}
        listener = asyncio.get_running_loop().create_task(_listen(rush, commands))
        # The crowd's bytes are here to stay: the collector need not look at them during the rush.
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            tally = await rush.run(start["start_ns"], lambda figures: _send({"progress": figures}))
        finally:
            listener.cancel()
        return {"tally": tally.to_document()}


async def _listen(rush: Rush, commands: asyncio.StreamReader) -> None:
    await commands.readline()  # a stop, or the end of a parent
    rush.stop("interrupted")


def _send(message: dict[str, Any]) -> None:
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
    order = ShardOrder.from_line(await commands.readline())
    try:
        report = await _carry_out(order, commands)
    except Exception as error:  # noqa: BLE001  the parent is the one who shows it
        report = {"failed": f"{type(error).__name__}: {error}"}
    _send(report)
    return 0 if "tally" in report else 1


def main() -> int:
    """Run one process of the stampede."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_main())


if __name__ == "__main__":
    raise SystemExit(main())
