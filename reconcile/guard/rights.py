"""The check of the rights of the guard, and of the users who call the scripts.

Asked of Redis, dry, before the cell is opened or touched: a guard that is refused in the middle of a rebuild has closed the
cell for nothing, and a script that is refused in its middle leaves half of its work.
"""

from collections.abc import Sequence
from typing import Final

import structlog
from redis.exceptions import ResponseError

from grab_service.cell.own_rights import UNKNOWN_USER, Rights, judge
from grab_service.cell.rights import Login, Trial, trials_of_guard, trials_of_scripts, user_of
from grab_service.cell.scripts import ScriptSources
from grab_service.vocabulary.keys import CellKeys
from reconcile.guard.redis_settings import UnfitServerError
from reconcile.redis_link import RedisLink

MEND: Final = "set the users of the cell again, with this release: `grab provision`"
CALLERS: Final = (Login.API, Login.LEDGER)

log = structlog.get_logger()


async def check_rights(link: RedisLink, cell_name: str, sources: ScriptSources) -> None:
    """See that nothing will be refused to the guard, nor to the users of the cell that call scripts, where they are known.

    A Redis that does not let itself be asked is believed, and that is said; so is one that knows no users of these names: the
    service looks at its own rights before it calls a script.

    Raises:
        UnfitServerError: something would be refused.
        LinkBrokenError: Redis did not answer.
    """
    keys = CellKeys.of(cell_name)
    found = [await _own_rights(link, keys)]
    if found[0].known:
        found += [
            await _try(link, user_of(cell_name, login), trials_of_scripts(keys, sources, waits=login is Login.API))
            for login in CALLERS
        ]
    else:
        log.warning("redis_rights_not_known", cell=cell_name, user=found[0].user, why=found[0].why_unknown)
    lacks = [f"{rights.user} lacks {lack}" for rights in found for lack in rights.lacks]
    if lacks:
        raise UnfitServerError(f"{'; '.join(lacks)}. To mend it, {MEND}")


async def _own_rights(link: RedisLink, keys: CellKeys) -> Rights:
    try:
        user = (await link.call("ACL", "WHOAMI")).decode()
    except ResponseError as refusal:
        return Rights(UNKNOWN_USER, why_unknown=str(refusal))
    return await _try(link, user, trials_of_guard(keys))


async def _try(link: RedisLink, user: str, trials: Sequence[Trial]) -> Rights:
    try:
        answers = await link.calls([["ACL", "DRYRUN", user, *trial.words] for trial in trials])
    except ResponseError as refusal:
        return Rights(user, why_unknown=str(refusal))
    return judge(user, trials, answers)
