"""The error messages of the command line, each with a hint for the user.

An expected failure is one sentence on standard error and exit status 1; any other is a bug and keeps its traceback. The modules
that define the failures are imported only when one has happened.
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
class CommandFailure:
    """A failure in one sentence, its details, and a hint."""

    what: str
    hint: str = ""
    details: Sequence[str] = ()


class CommandError(Exception):
    """A command cannot do its work; carries the message and a hint."""

    def __init__(self, what: str, hint: str = "", details: Sequence[str] = ()) -> None:
        super().__init__(what)
        self.failure = CommandFailure(what, hint, details)


_GRAB_RECONCILE: Final = "`grab reconcile` has to run beside the service; `grab doctor` says what is in the way."

# By the name of the problem: the message instead of the one for members (None: the same), and a hint.
_OF_PROBLEMS: Final[Mapping[str, tuple[str | None, str]]] = {
    "campaign-not-found": ("There is no such campaign.", "`grab campaign list` shows which there are."),
    "wrong-state": (None, "`grab campaign show ID` says what it is now."),
    "preflight-failed": (None, "`grab campaign preflight ID` looks again."),
    "precondition-failed": ("Somebody changed it meanwhile; nothing was done.", "Look at it again, then repeat."),
    "stock-changed": (None, "Repeat with `--expected` as `grab campaign show ID` shows it."),
    "below-issued": (None, "To stop giving out, `grab campaign pause ID` or `grab campaign close ID`."),
    "too-few-codes": (None, "Import more: `grab campaign codes ID FILE.csv`."),
    "sold-out": ("The whole stock is given out.", "`--beyond-stock` raises the total by one with the claim."),
    "member-unknown": ("There is no such member, or they have left.", "`grab members` imports and corrects them."),
    "idempotency-key-reused": (None, "Leave `--key` out, and a new one is made."),
    "ledger-behind": ("It took effect, but is not on record yet.", _GRAB_RECONCILE),
    "ledger-unavailable": ("Postgres does not answer.", "Start it, or mend DATABASE_URL; `grab doctor` says more."),
    "paused-for-recovery": ("The cell is closed, so nothing was decided.", _GRAB_RECONCILE),
    "outcome-unknown": (
        "Redis did not answer in time: it may have been done or not.",
        "`grab campaign show ID` tells; to repeat it does no harm.",
    ),
}

# By SQLSTATE, or the first letters of it.
_OF_SQLSTATES: Final[Mapping[str, CommandFailure]] = {
    "42P01": CommandFailure("The database lacks tables of this release.", "Run `grab migrate`."),
    "42703": CommandFailure("The database lacks columns of this release.", "Run `grab migrate`."),
    "42501": CommandFailure(
        "The user of DATABASE_URL may not do this.", "Give it the rights on the tables, or use another user."
    ),
    "28": CommandFailure("Postgres refuses the user or the password of DATABASE_URL.", "Mend DATABASE_URL."),
    "3D000": CommandFailure("The database of DATABASE_URL does not exist.", "Create it, or mend DATABASE_URL."),
}


def show(failure: CommandFailure) -> None:
    """Print the failure on standard error, a few lines at most."""
    typer.secho("grab: ", fg=typer.colors.RED, bold=True, nl=False, err=True)
    typer.echo(failure.what, err=True)
    for detail in failure.details[:DETAILS_MAX]:
        typer.echo(f"  - {detail}", err=True)
    if len(failure.details) > DETAILS_MAX:
        typer.echo(f"  - and {len(failure.details) - DETAILS_MAX} more", err=True)
    if failure.hint:
        typer.echo(failure.hint, err=True)


def explain(error: Exception) -> CommandFailure | None:
    """The message of an error for the user of the command; None for a bug."""
    if isinstance(error, CommandError):
        return error.failure
    if isinstance(error, BrokenPipeError):
        return None  # the reader of our output has gone; typer ends quietly then
    # A module that was never imported cannot have raised an error.
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
        failure = explainer(error)
        if failure is not None:
            return failure
    return None


def _of_servers(error: Exception) -> CommandFailure | None:
    from grab_service.embedded.errors import ServerError

    return CommandFailure(error.message, error.hint) if isinstance(error, ServerError) else None


def _of_settings(error: Exception) -> CommandFailure | None:
    from pydantic import ValidationError

    if not isinstance(error, ValidationError) or error.title != "Settings":
        return None
    from grab_service.settings import settings_errors

    return CommandFailure("Some settings cannot be used.", "Mend them in the environment and repeat.", settings_errors(error))


def _of_refusals(error: Exception) -> CommandFailure | None:
    if "sqlalchemy" not in sys.modules:
        return None
    from grab_service.refusal import refusal_of

    refusal = refusal_of(error)
    return None if refusal is None else _of_refusal(refusal)


def _of_refusal(refusal: "RefusalError") -> CommandFailure:
    from grab_service.problems import CATALOGUE

    what, hint = _OF_PROBLEMS.get(refusal.name, (None, ""))
    return CommandFailure(what or CATALOGUE[refusal.name].detail_for("en", refusal.extra), hint, _details_of(refusal.extra))


def _details_of(extra: Mapping[str, Any]) -> list[str]:
    findings = [finding.in_language("en") for finding in extra.get("findings", ())]
    errors = [(error["field"], _in_english(error["reason"])) for error in extra.get("errors", ())]
    return [f"{finding['level']}: {finding['message']}" for finding in findings] + [
        f"{field}: {reason}" if field else reason for field, reason in errors
    ]


def _in_english(reason: Any) -> str:
    return reason if isinstance(reason, str) else str(reason.in_language("en"))


def _of_postgres(error: Exception) -> CommandFailure | None:
    if "asyncpg" not in sys.modules:
        return None
    from asyncpg import InterfaceError, PostgresError
    from sqlalchemy.exc import DBAPIError

    raised: BaseException | None = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(error, DBAPIError | PostgresError | InterfaceError):
        return None
    sqlstate = str(getattr(raised, "sqlstate", None) or "")
    for beginning, failure in _OF_SQLSTATES.items():
        if sqlstate.startswith(beginning):
            return failure
    return None


def _of_redis(error: Exception) -> CommandFailure | None:
    if "redis" not in sys.modules:
        return None
    from redis.exceptions import RedisError

    if not isinstance(error, RedisError):
        return None
    return CommandFailure(f"Redis does not do what it is asked: {_why(error)}.", "`grab doctor` says more.")


def _of_the_audit(error: Exception) -> CommandFailure | None:
    if "grab_service.audit" not in sys.modules:
        return None
    from grab_service.audit import AuditImpossibleError

    if not isinstance(error, AuditImpossibleError):
        return None
    return CommandFailure(f"There can be no audit now: {_why(error)}.", _GRAB_RECONCILE)


def _of_the_ledger(error: Exception) -> CommandFailure | None:
    if "reconcile.by_hand" not in sys.modules:
        return None
    from reconcile.by_hand import AnotherLeadsError
    from reconcile.drain.cursor import CursorMovedError
    from reconcile.drain.pages import DrainFaultError
    from reconcile.fence import FencedOffError
    from reconcile.guard.guard import DoubtError
    from reconcile.leader import NotLeadingError
    from reconcile.rebuild.recover import NothingToRecoverError
    from reconcile.redis_link import LinkBrokenError

    match error:
        case AnotherLeadsError():
            return CommandFailure("Another ledger is running and leads.", "Stop it first, or leave it to that one.")
        case NothingToRecoverError():
            return CommandFailure("Postgres knows of no such cell.", "Is DATABASE_URL the right one, and GRAB_CELL?")
        case DrainFaultError():
            return CommandFailure(
                f"The log cannot be drained any further: {_why(error)}.", "docs/TROUBLESHOOTING says what to do."
            )
        case DoubtError():
            return CommandFailure(f"The cell stays closed: {_why(error)}.", "`grab audit` shows what does not fit.")
        case FencedOffError() | NotLeadingError() | CursorMovedError():
            return CommandFailure(
                f"Another ledger has taken over meanwhile: {_why(error)}.", "Look with `grab doctor`; repeat if need be."
            )
        case LinkBrokenError():
            return CommandFailure(f"Redis does not answer: {_why(error)}.", "What was begun is not finished: repeat it.")
        case _:
            return None


def _of_the_rehearsal(error: Exception) -> CommandFailure | None:
    if "grab_service.rehearsal.original" not in sys.modules:
        return None
    from grab_service.embedded.steps import DemoError
    from grab_service.rehearsal.original import RehearsalError

    match error:
        case RehearsalError():
            return CommandFailure(str(error), error.hint)
        case DemoError() | TimeoutError():
            return CommandFailure(f"The rehearsal did not come to its end: {_why(error)}.", "`--evidence DIR` keeps its logs.")
        case _:
            return None


def _of_the_demo(error: Exception) -> CommandFailure | None:
    if "grab_service.embedded.steps" not in sys.modules:
        return None
    import httpx

    from grab_service.embedded.steps import DemoError

    logs = "The logs are in var/logs."
    match error:
        case DemoError():
            return CommandFailure(_why(error) + ".", logs)
        case httpx.HTTPError():
            return CommandFailure(f"The service did not answer as it should: {_why(error)}.", logs)
        case TimeoutError():
            return CommandFailure("A step took too long.", logs)
        case _:
            return None


def _of_system(error: Exception) -> CommandFailure | None:
    if isinstance(error, TimeoutError):
        return CommandFailure(f"It took too long: {_why(error)}.", "`grab doctor` says what is in the way.")
    if isinstance(error, OSError):
        named = f"{error.filename}: {error.strerror}" if error.filename else _why(error)
        return CommandFailure(f"The system refuses: {named}.")
    return None


def _why(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:WHY_MAX].rstrip(".")
