"""In which order is everything looked at, and what is left out because something before it failed?"""

from collections.abc import AsyncIterator

from grab_service.doctor.cell_and_ledger import look_at_cell
from grab_service.doctor.configuration import look_at_settings
from grab_service.doctor.finding import Finding, State
from grab_service.doctor.machine import look_at_machine
from grab_service.doctor.postgres_server import look_at_postgres
from grab_service.doctor.redis_server import look_at_redis
from grab_service.doctor.rights import look_at_rights
from grab_service.doctor.standpoint import find_standpoint, look_at_standpoint
from grab_service.settings import Settings


async def examine(settings: Settings, unusable: frozenset[str] = frozenset()) -> AsyncIterator[Finding]:
    """Look at everything, from the nearest to the farthest; each is told as soon as it is found. Changes nothing.

    Args:
        settings: those in force.
        unusable: fields whose values could not be used, of which somebody else speaks.
    """
    standpoint = await find_standpoint(settings)
    if settings.redis_url and settings.database_url:
        yield look_at_standpoint(settings, standpoint)
    for finding in (*look_at_machine(settings), *look_at_settings(settings, unusable, standpoint)):
        yield finding
    sound = {"redis": False, "postgres": False, "tables": False}
    if settings.redis_url:
        async for finding in look_at_redis(settings.redis_url_of_guard, settings.redis_timeout_s, settings.cell):
            sound[finding.name] = finding.state is not State.FAIL
            yield finding
    if sound["redis"]:
        async for finding in look_at_rights(settings, standpoint):
            yield finding
    if settings.database_url:
        async for finding in look_at_postgres(settings.database_url):
            sound[finding.name] = finding.state is not State.FAIL
            yield finding
    if all(sound[name] for name in ("redis", "postgres", "tables")):
        async for finding in look_at_cell(settings):
            yield finding
