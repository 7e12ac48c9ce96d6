"""The configuration of a stampede."""

from dataclasses import dataclass
from pathlib import Path

from loadtest.generator.schedule import Shape


@dataclass(frozen=True, slots=True)
class StampedeConfig:
    """The size and timing of a stampede.

    Attributes:
        url: base URL of the service.
        campaign: its id.
        passes: file with lines `member_id<TAB>pass`.
        receipts: directory for the receipts; made if missing, files of other runs stay.
        connections: over all processes.
        processes: how many share the crowd.
        schedule: how the crowd arrives.
        spread_s: over how many seconds.
        timeout_s: members without a final answer so long after the start are errors.
        answer_timeout_s: an answer later than this is asked for again on another connection.
        connect_s: how long opening the connections may take.
        wait_s: how far off the start may be.
        start_at_ms: start at this moment of the server's clock and not at the campaign's opening.
        lead_ms: start this much before the opening: some are too early and must be told so.
        taps: how many times each member taps, all within the schedule.
        seed: shuffles the crowd.
        idempotency_prefix: send Idempotency-Keys `<prefix>-<member>`; made up where the limit is above one.
    """

    url: str
    campaign: str
    passes: Path
    receipts: Path
    connections: int = 256
    processes: int = 1
    schedule: Shape = Shape.INSTANT
    spread_s: float = 2.0
    timeout_s: float = 60.0
    answer_timeout_s: float = 5.0
    connect_s: float = 15.0
    wait_s: float = 900.0
    start_at_ms: int | None = None
    lead_ms: int = 0
    taps: int = 1
    seed: int = 1
    idempotency_prefix: str | None = None
