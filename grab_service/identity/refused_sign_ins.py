"""Refused sign-ins: counted by reason, and logged at most once a second for each reason."""

import asyncio
from collections import Counter as Tally
from typing import Final

import structlog
from prometheus_client import Counter

INTERVAL_S: Final = 1.0

log = structlog.get_logger()


class RefusedSignIns:
    """Refused passes, tokens and assertions of one worker; build one per process. Those of grabs are among `grab_answers`."""

    def __init__(self) -> None:
        self._tally: Tally[str] = Tally()
        self._counter = Counter("grab_sign_ins_refused", "Refused passes, tokens and assertions, by reason", ["reason"])

    def note(self, reason: str) -> None:
        """Count one; the reason is one of few words, and nothing that the caller sent."""
        self._tally[reason] += 1

    async def log_regularly(self) -> None:
        """Log and hand over what was counted, once a second, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            self.log_counts()

    def log_counts(self) -> None:
        """Log and hand over what was counted since the last time."""
        tally, self._tally = self._tally, Tally()
        for reason, count in tally.items():
            self._counter.labels(reason).inc(count)
            log.info("sign_ins_refused", reason=reason, count=count)
