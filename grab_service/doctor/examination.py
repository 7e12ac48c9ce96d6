"""In which order is everything looked at, and what is left out because something before it failed?"""

from collections.abc import AsyncIterator

from grab_service.cell.connect import connect as connect_redis
from grab_service.doctor.cell_and_ledger import look_at_cell
from grab_service.doctor.configuration import look_at_settings
from grab_service.doctor.finding import Finding, State
from grab_service.doctor.machine import look_at_machine
from grab_service.doctor.postgres_server import look_at_postgres
from grab_service.doctor.redis_server import look_at_redis
from grab_service.settings import Settings
from grab_service.sql.engine import connect as connect_sql

CONNECTIONS_MAX = 2
STATEMENT_TIMEOUT_S = 5


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Look at everything, from the nearest to the farthest; each is told as soon as it is found. Changes nothing."""
    for finding in (*look_at_machine(settings), *look_at_settings(settings)):
        yield finding
    sound = {"redis": False, "postgres": False, "tables": False}
    if settings.redis_url:
        client = connect_redis(settings.redis_url, connections_max=CONNECTIONS_MAX, timeout_s=settings.redis_timeout_s)
        async with client:
            async for finding in look_at_redis(client, settings.redis_url):
                sound[finding.name] = finding.state is not State.FAIL
                yield finding
    if settings.database_url:
        engine = connect_sql(settings.database_url, connections_max=CONNECTIONS_MAX, statement_timeout_s=STATEMENT_TIMEOUT_S)
        try:
            async for finding in look_at_postgres(engine, settings.database_url):
                sound[finding.name] = finding.state is not State.FAIL
                yield finding
            if all(sound[name] for name in ("redis", "postgres", "tables")):
                async for finding in look_at_cell(settings, engine):
                    yield finding
        finally:
            await engine.dispose()
