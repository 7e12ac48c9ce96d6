"""Checks that each Redis user has exactly the rights it needs."""

from collections.abc import AsyncIterator
from typing import Any, Final

from redis.exceptions import RedisError, ResponseError

from grab_service.cell.connect import connect
from grab_service.cell.nodes import Nodes
from grab_service.cell.own_rights import judge, own_rights
from grab_service.cell.rights import Login, trials_of_guard, user_of
from grab_service.cell.scripts import ScriptSources
from grab_service.doctor.finding import DoctorFinding, fail, ok, warn
from grab_service.doctor.standpoint import Standpoint
from grab_service.settings import Settings
from grab_service.vocabulary.keys import CellKeys
from reconcile.guard.redis_settings import UnfitServerError
from reconcile.guard.rights import check_rights
from reconcile.redis_link import LinkBrokenError, RedisLink

PROVISION: Final = "`grab provision` sets users that may do their work, and nothing else."


async def look_at_rights(settings: Settings, standpoint: Standpoint) -> AsyncIterator[DoctorFinding]:
    """The users of the addresses that are set; that of the guard is looked at where it has one. An admin looks at all."""
    sources = ScriptSources.read()
    try:
        if standpoint is Standpoint.ADMIN:
            yield await _of_all_users(settings, sources)
            return
        yield await _of_caller(settings, sources)
        if settings.guard_redis_url:
            yield await _of_guard(settings, sources)
    except (RedisError, LinkBrokenError, OSError) as error:
        yield fail(
            "rights", f"Redis cannot be asked: {error}", "Look at its users (`ACL LIST`), and at the addresses. " + PROVISION
        )


async def _of_caller(settings: Settings, sources: ScriptSources) -> DoctorFinding:
    nodes = Nodes(settings.cell)
    async with connect(settings.redis_url, connections_max=1, timeout_s=settings.redis_timeout_s, nodes=nodes) as client:
        rights = await own_rights(client, CellKeys.of(settings.cell), sources, waits=settings.replicas_min > 0)
        if not rights.known:
            hint = "See that its user may do all that `grab provision --print` names: what is missing breaks a grab in two."
            return warn("rights", f"Redis does not say what its users may do ({rights.why_unknown})", hint)
        if rights.lacks:
            return fail("rights", f"{rights.user} lacks {'; '.join(rights.lacks)}", PROVISION)
        loads: Any = await client.execute_command("ACL", "DRYRUN", rights.user, "SCRIPT", "LOAD", "return 0")  # type: ignore[no-untyped-call]  # of redis-py
    if loads == b"OK":
        return warn("rights", f"{rights.user} may do all that the scripts do, and may also load scripts", PROVISION)
    return ok("rights", f"{rights.user} may do all that the scripts do, and may not load any")


async def _of_guard(settings: Settings, sources: ScriptSources) -> DoctorFinding:
    link = await RedisLink.open(settings.guard_redis_url, settings.redis_timeout_s, Nodes(settings.cell))
    try:
        await check_rights(link, settings.cell, sources)
    except UnfitServerError as error:
        return fail("guard-rights", str(error), PROVISION)
    finally:
        await link.close()
    return ok("guard-rights", "the guard may do what it does; so may those that it opens the cell for, where it knows them")


async def _of_all_users(settings: Settings, sources: ScriptSources) -> DoctorFinding:
    keys, guard = CellKeys.of(settings.cell), user_of(settings.cell, Login.GUARD)
    link = await RedisLink.open(settings.redis_url, settings.redis_timeout_s, Nodes(settings.cell))
    try:
        await check_rights(link, settings.cell, sources)
        trials = trials_of_guard(keys)
        of_guard = judge(guard, trials, await link.calls([["ACL", "DRYRUN", guard, *trial.words] for trial in trials]))
    except (UnfitServerError, ResponseError) as error:
        return fail("rights", str(error), PROVISION)
    finally:
        await link.close()
    if of_guard.lacks:
        return fail("rights", f"{guard} lacks {'; '.join(of_guard.lacks)}", PROVISION)
    return ok("rights", "an admin may do everything; the users of service, ledger and guard may do what they have to")
