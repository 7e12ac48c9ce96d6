"""The check that this user of Redis may do all that the scripts do: a dry run by Redis, before the first script is called."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from grab_service.cell.rights import Trial, lacking, trials_of_scripts
from grab_service.cell.scripts import ScriptSources
from grab_service.vocabulary.keys import CellKeys

UNKNOWN_USER: Final = "(unknown)"


@dataclass(frozen=True, slots=True)
class Rights:
    """What came of it.

    Attributes:
        user: the name asked about.
        lacks: what Redis would refuse, in words; a cell may not be used with any.
        why_unknown: Redis' words where it does not let itself be asked, as some hosted ones do not; else empty.
    """

    user: str
    lacks: tuple[str, ...] = ()
    why_unknown: str = ""

    @property
    def known(self) -> bool:
        return not self.why_unknown


async def own_rights(client: Redis, keys: CellKeys, sources: ScriptSources, *, waits: bool = False) -> Rights:
    """Try dry whatever the scripts call, as the user that this client logs in as.

    `waits`: replicas are asked to confirm, too. Where Redis refuses to be asked, nothing is known, and that is said instead.

    Raises:
        redis.exceptions.RedisError, OSError: no answer.
    """
    try:
        named: Any = await client.execute_command("ACL", "WHOAMI")  # type: ignore[no-untyped-call]  # of redis-py
    except ResponseError as refusal:
        return Rights(UNKNOWN_USER, why_unknown=str(refusal))
    user = named.decode() if isinstance(named, bytes) else str(named)
    trials = trials_of_scripts(keys, sources, waits=waits)
    async with client.pipeline(transaction=False) as pipeline:
        for trial in trials:
            pipeline.execute_command("ACL", "DRYRUN", user, *trial.words)
        answers = await pipeline.execute(raise_on_error=False)
    return judge(user, trials, answers)


def judge(user: str, trials: Sequence[Trial], answers: Sequence[object]) -> Rights:
    """The user's rights, by the answers to ACL DRYRUN; unknown if Redis refused one of them."""
    refusal = next((answer for answer in answers if isinstance(answer, ResponseError)), None)
    if refusal is not None:
        return Rights(user, why_unknown=str(refusal))
    return Rights(user, tuple(lacking(trials, answers)))
