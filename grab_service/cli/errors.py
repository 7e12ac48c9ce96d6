"""How does the command line say that something went wrong, and how to mend it?

What can be expected to fail is a sentence on standard error and exit status 1; what cannot is a bug and keeps its traceback.
The modules that know the failures are imported only when there is one.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:
    from grab_service.refusal import RefusalError

DETAILS_MAX: Final = 20
WHY_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class Trouble:
    """What went wrong in one sentence, the points that it is made of, and what to do about it."""

    what: str
    mend: str = ""
    details: Sequence[str] = ()


class CommandError(Exception):
    """A command cannot do what it was asked; says so, and how to mend it."""

    def __init__(self, what: str, mend: str = "", details: Sequence[str] = ()) -> None:
        super().__init__(what)
        self.trouble = Trouble(what, mend, details)


_GRAB_RECONCILE: Final = "`grab reconcile` has to run beside the service; `grab doctor` says what is in the way."

# By the name of the problem: what to say instead of what a member is told (None: its own words), and how to mend it.
_OF_PROBLEMS: Final[Mapping[str, tuple[str | None, str]]] = {
    "campaign-not-found": ("There is no such campaign.", "`grab campaign list` shows which there are."),
    "wrong-state": (None, "`grab campaign show ID` says what it is now."),
    "preflight-failed": (None, "`grab campaign preflight ID` looks again."),
    "precondition-failed": ("Somebody changed it meanwhile; nothing was done.", "Look at it again, then repeat."),
    "stock-changed": (None, "Repeat with `--expected` as `grab campaign show ID` shows it."),
    "below-issued": (None, "To stop giving out, `grab campaign pause ID` or `grab campaign close ID`."),
    "too-few-codes": (None, "Import more: `grab campaign codes ID FILE.csv`."),
    "ledger-behind": ("It took effect, but is not on record yet.", _GRAB_RECONCILE),
    "ledger-unavailable": ("Postgres does not answer.", "Start it, or mend DATABASE_URL; `grab doctor` says more."),
    "paused-for-recovery": ("The cell is closed, so nothing was decided.", _GRAB_RECONCILE),
    "outcome-unknown": (
        "Redis did not answer in time: it may have been done or not.",
        "`grab campaign show ID` tells; to repeat it does no harm.",
    ),
}

# By SQLSTATE, or the first letters of it.
_OF_SQLSTATES: Final[Mapping[str, Trouble]] = {
    "42P01": Trouble("The database lacks tables of this release.", "Run `grab migrate`."),
    "42703": Trouble("The database lacks columns of this release.", "Run `grab migrate`."),
    "42501": Trouble("The user of DATABASE_URL may not do this.", "Give it the rights on the tables, or use another user."),
    "28": Trouble("Postgres refuses the user or the password of DATABASE_URL.", "Mend DATABASE_URL."),
    "3D000": Trouble("The database of DATABASE_URL does not exist.", "Create it, or mend DATABASE_URL."),
}


def show(trouble: Trouble) -> None:
    """The trouble on standard error, a few lines at most."""
    typer.secho("grab: ", fg=typer.colors.RED, bold=True, nl=False, err=True)
    typer.echo(trouble.what, err=True)
    for detail in trouble.details[:DETAILS_MAX]:
        typer.echo(f"  - {detail}", err=True)
    if len(trouble.details) > DETAILS_MAX:
        typer.echo(f"  - and {len(trouble.details) - DETAILS_MAX} more", err=True)
    if trouble.mend:
        typer.echo(trouble.mend, err=True)


def explain(error: Exception) -> Trouble | None:
    """What an error means to whoever typed the command; None for a bug."""
    if isinstance(error, CommandError):
        return error.trouble
    if isinstance(error, BrokenPipeError):
        return None  # whoever read our output has gone; typer ends quietly then
    # Asking a module that was never imported would say nothing new: none of its errors can be here.
    for explainer in (
        _of_servers,
        _of_settings,
        _of_the_rehearsal,
        _of_the_demo,
        _of_refusals,
        _of_postgres,
        _of_redis,
        _of_the_audit,
        _of_the_ledger,
        _of_system,
    ):
        trouble = explainer(error)
        if trouble is not None:
            return trouble
    return None


def _of_servers(error: Exception) -> Trouble | None:
    from grab_service.embedded.errors import ServerError

    return Trouble(error.message, error.mend) if isinstance(error, ServerError) else None


def _of_settings(error: Exception) -> Trouble | None:
    from pydantic import ValidationError

    if not isinstance(error, ValidationError) or error.title != "Settings":
        return None
    from grab_service.settings import settings_errors

    return Trouble("Some settings cannot be used.", "Mend them in the environment and repeat.", settings_errors(error))


def _of_refusals(error: Exception) -> Trouble | None:
    if "sqlalchemy" not in sys.modules:
        return None
    from grab_service.refusal import refusal_of

    refusal = refusal_of(error)
    return None if refusal is None else _of_refusal(refusal)


def _of_refusal(refusal: "RefusalError") -> Trouble:
    from grab_service.problems import CATALOGUE

    what, mend = _OF_PROBLEMS.get(refusal.name, (None, ""))
    return Trouble(what or CATALOGUE[refusal.name].detail_for("en", refusal.extra), mend, _details_of(refusal.extra))


def _details_of(extra: Mapping[str, Any]) -> list[str]:
    findings = [finding.in_language("en") for finding in extra.get("findings", ())]
    errors = [(error["field"], _in_english(error["reason"])) for error in extra.get("errors", ())]
    return [f"{finding['level']}: {finding['message']}" for finding in findings] + [
        f"{field}: {reason}" if field else reason for field, reason in errors
    ]


def _in_english(reason: Any) -> str:
    return reason if isinstance(reason, str) else str(reason.in_language("en"))


def _of_postgres(error: Exception) -> Trouble | None:
    if "asyncpg" not in sys.modules:
        return None
    from asyncpg import InterfaceError, PostgresError
    from sqlalchemy.exc import DBAPIError

    raised: BaseException | None = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(error, DBAPIError | PostgresError | InterfaceError):
        return None
    sqlstate = str(getattr(raised, "sqlstate", None) or "")
    for beginning, trouble in _OF_SQLSTATES.items():
        if sqlstate.startswith(beginning):
            return trouble
    return None


def _of_redis(error: Exception) -> Trouble | None:
    if "redis" not in sys.modules:
        return None
    from redis.exceptions import RedisError

    if not isinstance(error, RedisError):
        return None
    return Trouble(f"Redis does not do what it is asked: {_why(error)}.", "`grab doctor` says more.")


def _of_the_audit(error: Exception) -> Trouble | None:
    if "grab_service.audit" not in sys.modules:
        return None
    from grab_service.audit import AuditImpossibleError

    if not isinstance(error, AuditImpossibleError):
        return None
    return Trouble(f"There can be no audit now: {_why(error)}.", _GRAB_RECONCILE)


def _of_the_ledger(error: Exception) -> Trouble | None:
    if "reconcile.by_hand" not in sys.modules:
        return None
    from reconcile.by_hand import AnotherLeadsError
    from reconcile.drain.cursor import CursorMovedError
    from reconcile.drain.pages import DrainFaultError
    from reconcile.fence import FencedOffError
    from reconcile.guard.guard import DoubtError
    from reconcile.leader import NotLeadingError
    from reconcile.rebuild.recover import NothingToRecoverError
    from reconcile.redis_link import WireBrokenError

    match error:
        case AnotherLeadsError():
            return Trouble("Another ledger is running and leads.", "Stop it first, or leave it to that one.")
        case NothingToRecoverError():
            return Trouble("Postgres knows of no such cell.", "Is DATABASE_URL the right one, and GRAB_CELL?")
        case DrainFaultError():
            return Trouble(f"The log cannot be drained any further: {_why(error)}.", "docs/TROUBLESHOOTING says what to do.")
        case DoubtError():
            return Trouble(f"The cell stays closed: {_why(error)}.", "`grab audit` shows what does not fit.")
        case FencedOffError() | NotLeadingError() | CursorMovedError():
            return Trouble(
                f"Another ledger has taken over meanwhile: {_why(error)}.", "Look with `grab doctor`; repeat if need be."
            )
        case WireBrokenError():
            return Trouble(f"Redis does not answer: {_why(error)}.", "What was begun is not finished: repeat it.")
        case _:
            return None


def _of_the_rehearsal(error: Exception) -> Trouble | None:
    if "grab_service.rehearsal.original" not in sys.modules:
        return None
    from grab_service.embedded.steps import DemoError
    from grab_service.rehearsal.original import RehearsalError

    match error:
        case RehearsalError():
            return Trouble(str(error), error.mend)
        case DemoError() | TimeoutError():
            return Trouble(f"The rehearsal did not come to its end: {_why(error)}.", "`--evidence DIR` keeps its logs.")
        case _:
            return None


def _of_the_demo(error: Exception) -> Trouble | None:
    if "grab_service.embedded.steps" not in sys.modules:
        return None
    import httpx

    from grab_service.embedded.steps import DemoError

    logs = "The logs are in var/logs."
    match error:
        case DemoError():
            return Trouble(_why(error) + ".", logs)
        case httpx.HTTPError():
            return Trouble(f"The service did not answer as it should: {_why(error)}.", logs)
        case TimeoutError():
            return Trouble("A step took too long.", logs)
        case _:
            return None


def _of_system(error: Exception) -> Trouble | None:
    if isinstance(error, TimeoutError):
        return Trouble(f"It took too long: {_why(error)}.", "`grab doctor` says what is in the way.")
    if isinstance(error, OSError):
        named = f"{error.filename}: {error.strerror}" if error.filename else _why(error)
        return Trouble(f"The system refuses: {named}.")
    return None


def _why(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:WHY_MAX].rstrip(".")
