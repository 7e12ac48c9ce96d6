"""The regular check that Redis' settings are still fit, with the result noted for the workers.

Workers may not ask Redis for its settings (`CONFIG` tells passwords, too), so what they show on `/readyz` is what stands in the
note. It lies in the cell, whose rebuild takes it away: a few seconds later it is there again.
"""

import asyncio
from typing import Final

import structlog
from redis.exceptions import ResponseError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.vocabulary.durability import Durability
from grab_service.vocabulary.keys import CellKeys
from reconcile.alarms import AlarmKind, clear_alarms, raise_alarm
from reconcile.counters import Counters
from reconcile.drain.drain import OpenLink
from reconcile.guard.redis_settings import WHOLE_CLUSTER, ServerSettings
from reconcile.leader import Leader
from reconcile.redis_link import LinkBrokenError, RedisLink

INTERVAL_S: Final = 5.0

log = structlog.get_logger()


async def write_note(link: RedisLink, keys: CellKeys, settings: ServerSettings) -> None:
    """Leave in the cell what Redis said of its settings, and when.

    Raises:
        LinkBrokenError, ResponseError: it is not written.
    """
    seconds, _ = await link.call("TIME")
    note: dict[str, str | int] = {
        "looked_at_ms": int(seconds) * 1000,
        "maxmemory_policy": settings.maxmemory_policy,
        "appendonly": settings.appendonly,
        "appendfsync": settings.appendfsync,
        "no_appendfsync_on_rewrite": settings.no_appendfsync_on_rewrite,
        "untold": settings.untold,
        "replicas": "" if settings.replicas is None else settings.replicas,
    }
    await link.call("HSET", keys.server, *(part for pair in note.items() for part in pair))


class ServerWatch:
    """Looks at Redis' settings every few seconds while leading, writes the note, raises and clears the alarm."""

    def __init__(
        self,
        engine: AsyncEngine,
        cell_name: str,
        open_link: OpenLink,
        leader: Leader,
        counters: Counters,
        durability: Durability = Durability.DISK,
        replicas_min: int = 0,
    ) -> None:
        self._engine = engine
        self._durability = durability
        self._replicas_min = replicas_min
        self._keys = CellKeys.of(cell_name)
        self._open_link = open_link
        self._leader = leader
        self._counters = counters
        self._alarmed: str | None = ""
        """The text of the open alarm; empty: not known yet, as after a start; None: there is none."""

    async def run(self) -> None:
        """Look until cancelled; a Redis or a Postgres that is away is waited out."""
        while True:
            await self._leader.wait()
            try:
                link = await self._open_link()
                try:
                    await self.look(link)
                finally:
                    await link.close()
            except (LinkBrokenError, ResponseError, SQLAlchemyError, OSError, TimeoutError) as error:
                log.debug("server_watch_waits", why=str(error)[:300])
            await asyncio.sleep(INTERVAL_S)

    async def look(self, link: RedisLink) -> ServerSettings:
        """Look once, and say what was found.

        Raises:
            LinkBrokenError, ResponseError, SQLAlchemyError, OSError, TimeoutError: the note or the alarm could not be written.
        """
        settings = await ServerSettings.read(link)
        self._counters.replicas = -1 if settings.replicas is None else settings.replicas
        await write_note(link, self._keys, settings)
        # Nothing that Redis loses was told where claims are told by their record.
        wrong = [] if settings.untold or self._durability is Durability.RECORD else [settings.warning]
        if settings.may_evict:
            wrong = ["maxmemory-policy is not noeviction: claims may be thrown away"]
        if settings.replicas is not None and settings.replicas < self._replicas_min:
            wrong.append(f"{settings.replicas} replicas follow, and {self._replicas_min} must (GRAB_REPLICAS_MIN)")
        if settings.closes_others:
            wrong.append(f"{WHOLE_CLUSTER} is yes: where one cell's node is gone, all cells are closed; set it to no")
        await self._set_alarm("; ".join(filter(None, wrong)) or None)
        return settings

    async def _set_alarm(self, wrong: str | None) -> None:
        """Open, renew or close the alarm, if it changed."""
        if wrong == self._alarmed:
            return
        if wrong is None:
            await clear_alarms(self._engine, (AlarmKind.SERVER_SETTINGS,))
        else:
            self._counters.alarms += 1
            await raise_alarm(self._engine, AlarmKind.SERVER_SETTINGS, {"why": wrong})
        self._alarmed = wrong
