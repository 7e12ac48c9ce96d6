"""The settings and servers of a command.

Settings come from the environment. If it names no servers, those of the run in progress in this directory (`grab run`,
`grab demo`) are used, and the command says so.
"""

import os
from typing import TYPE_CHECKING, Any, Final

import typer

from grab_service.cli.errors import CommandError
from grab_service.cli.terminal import note

if TYPE_CHECKING:
    from grab_service.settings import Settings
    from grab_service.vocabulary.passes import PassKeys

VARIABLES: Final = {
    "redis_url": "REDIS_URL",
    "database_url": "DATABASE_URL",
    "secrets": "GRAB_SECRETS",
    "ops_secrets": "GRAB_OPS_SECRETS",
}
EXAMPLES: Final = {
    "redis_url": "REDIS_URL=redis://:password@127.0.0.1:6379/0",
    "database_url": "DATABASE_URL=postgresql://user:password@127.0.0.1:5432/grab",
    "secrets": "`grab secrets new GRAB_SECRETS` makes one",
    "ops_secrets": "`grab secrets new GRAB_OPS_SECRETS` makes one",
}
PASSWORD_LENGTH_MIN: Final = 16


def settings_of_environment(*names: str) -> "Settings":
    """The settings, of which these must be set; nothing else is looked at.

    Raises:
        pydantic.ValidationError: one cannot be used.
        CommandError: one is missing.
    """
    return _with(_read(), names, "or let `grab run` bring servers and secrets of its own.")


def settings_in_force(*names: str, **joining: Any) -> "Settings":
    """The same; settings that the environment does not name come from the run in this directory, if there is one."""
    from grab_service.settings import Settings

    join(_read(), **joining)
    return _with(Settings(), names, "or start `grab run` in this directory, whose servers are found then.")


def _read() -> "Settings":
    """The settings of the environment; a variable that is misspelt is named."""
    from grab_service.settings import Settings, unknown_variables

    for sentence in unknown_variables(os.environ):
        note(sentence)
    return Settings()


def join(settings: "Settings", **joining: Any) -> bool:
    """Take what these settings leave open from the run in this directory, as `join_run` does, with a note."""
    from grab_service.embedded.saved_run import join_run

    run = join_run(settings, **joining)
    if run is not None:
        typer.secho(f"Using the servers of the run whose data are in {settings.var_dir}/.", dim=True, err=True)
    return run is not None


def pass_keys(settings: "Settings") -> "PassKeys":
    """The keys that the settings name.

    Raises:
        CommandError: there are too many, or one cannot be used.
    """
    try:
        return settings.pass_keys()
    except ValueError as error:
        shape = f"Write them as {EXAMPLES['secrets']} and {EXAMPLES['ops_secrets']}, two keys each at most."
        raise CommandError(f"GRAB_SECRETS or GRAB_OPS_SECRETS cannot be used: {error}.", shape) from error


def login_passwords(settings: "Settings") -> dict[str, str]:
    """The passwords that the users of the cell are to have, by who they are; the owner's only if there is one.

    Raises:
        CommandError: one is missing, or too short to be good.
    """
    given = {who: getattr(settings, f"{who}_password").get_secret_value() for who in ("api", "ledger", "guard", "owner")}
    for who, password in given.items():
        if (who != "owner" or password) and not (len(password) >= PASSWORD_LENGTH_MIN and password.isascii()):
            name = f"GRAB_{who.upper()}_PASSWORD"
            raise CommandError(
                f"{name} has less than {PASSWORD_LENGTH_MIN} characters, or some that are not ASCII.",
                f"`grab secrets new {name}` makes one.",
            )
    return {who: password for who, password in given.items() if password}


def _with(settings: "Settings", names: tuple[str, ...], otherwise: str) -> "Settings":
    missing = [name for name in names if not getattr(settings, name)]
    if missing:
        named = " and ".join(VARIABLES[name] for name in missing)
        raise CommandError(
            f"{named} {'is' if len(missing) == 1 else 'are'} not set.",
            f"Set {'it' if len(missing) == 1 else 'them'} ({', '.join(EXAMPLES[name] for name in missing)}), {otherwise}",
        )
    return settings
