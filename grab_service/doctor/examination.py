"""The order of all checks, and the checks that are skipped after an earlier failure."""

import traceback
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Final

from grab_service.addresses import masked
from grab_service.doctor.cell_and_ledger import look_at_cell
from grab_service.doctor.configuration import look_at_settings
from grab_service.doctor.finding import DoctorFinding, State, fail
from grab_service.doctor.machine import look_at_machine
from grab_service.doctor.postgres_server import look_at_postgres
from grab_service.doctor.redis_server import look_at_redis
from grab_service.doctor.rights import look_at_rights
from grab_service.doctor.standpoint import find_standpoint, look_at_standpoint
from grab_service.settings import Settings

FOUND_MAX: Final = 300
MEND: Final = "This is a fault of `grab doctor`, or an answer that it does not know: keep this line, and report it."


async def examine(settings: Settings, unusable: frozenset[str] = frozenset()) -> AsyncIterator[DoctorFinding]:
    """Look at everything, from the nearest to the farthest; each is told as soon as it is found. Changes nothing.

    Args:
        settings: those in force.
        unusable: fields whose values could not be used, of which somebody else speaks.
    """
    standpoint = await find_standpoint(settings)
    if settings.redis_url and settings.database_url:
        yield look_at_standpoint(settings, standpoint)
    async for finding in _to_its_end("machine", _each(look_at_machine(settings))):
        yield finding
    async for finding in _to_its_end("settings", _each(look_at_settings(settings, unusable, standpoint))):
        yield finding
    sound = {"redis": False, "postgres": False, "tables": False}
    if settings.redis_url:
        look = look_at_redis(settings.redis_url_of_guard, settings.redis_timeout_s, settings.cell, settings.replicas_min)
        async for finding in _to_its_end("redis", look):
            sound[finding.name] = finding.state is not State.FAIL
            yield finding
    if sound["redis"]:
        async for finding in _to_its_end("rights", look_at_rights(settings, standpoint)):
            yield finding
    if settings.database_url:
        async for finding in _to_its_end("postgres", look_at_postgres(settings.database_url)):
            sound[finding.name] = finding.state is not State.FAIL
            yield finding
    if all(sound[name] for name in ("redis", "postgres", "tables")):
        async for finding in _to_its_end("cell", look_at_cell(settings)):
            yield finding


async def _each(findings: Iterable[DoctorFinding]) -> AsyncIterator[DoctorFinding]:
    for finding in findings:
        yield finding


async def _to_its_end(name: str, look: AsyncIterator[DoctorFinding]) -> AsyncIterator[DoctorFinding]:
    """The findings of one check; a failure that it does not expect is a finding, too, and ends it alone."""
    try:
        async for finding in look:
            yield finding
    except Exception as error:  # noqa: BLE001 -- the doctor must come to its end whatever it meets
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        found = f"it could not be looked at: {type(error).__name__}: {masked(str(error))[:FOUND_MAX]} ({where})"
        yield fail(name, found, MEND)
