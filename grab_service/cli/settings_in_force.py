"""With which settings does a command work, and against which servers?

Those of the environment. Where it names no servers, those that a run in this directory has started (`grab run`, `grab demo`)
are used, and that is said.
"""

from typing import TYPE_CHECKING, Final

import typer

from grab_service.cli.errors import CommandError

if TYPE_CHECKING:
    from grab_service.settings import Settings
    from grab_service.vocabulary.passes import PassKeys

VARIABLES: Final = {"redis_url": "REDIS_URL", "database_url": "DATABASE_URL", "secrets": "GRAB_SECRETS"}
EXAMPLES: Final = {
    "redis_url": "REDIS_URL=redis://:password@127.0.0.1:6379/0",
    "database_url": "DATABASE_URL=postgresql://user:password@127.0.0.1:5432/grab",
    "secrets": "GRAB_SECRETS=k1:$(openssl rand -hex 32)",
}
REMEMBERED_KID: Final = "k1"
PASSWORD_LENGTH_MIN: Final = 16


def settings_of_environment(*names: str) -> "Settings":
    """The settings, of which these must be set; nothing else is looked at.

    Raises:
        pydantic.ValidationError: one cannot be used.
        CommandError: one is missing.
    """
    from grab_service.settings import Settings

    return _with(Settings(), names, "or let `grab run` bring servers and secrets of its own.")


def settings_in_force(*names: str) -> "Settings":
    """The same, and what the environment does not name is taken from the run in this directory, if there is one."""
    from grab_service.settings import Settings

    return _with(remembered(Settings()), names, "or start `grab run` in this directory, whose servers are found then.")


def remembered(settings: "Settings", *, aloud: bool = True) -> "Settings":
    """The settings, with the servers and the secret of the run in this directory where none are named.

    Servers are taken from there only if neither is named: half of this and half of that would be two different worlds.
    """
    from pydantic import SecretStr

    from grab_service.cell.rights import Login
    from grab_service.servers.remembered import remembered_database_url, remembered_redis_url

    found: dict[str, object] = {}
    if not settings.redis_url and not settings.database_url:
        database_url = remembered_database_url(settings.var_dir, settings.cell)
        redis_url, guard_redis_url = (
            remembered_redis_url(settings.var_dir, settings.cell, login) for login in (Login.LEDGER, Login.GUARD)
        )
        if redis_url and database_url:
            found = {"redis_url": redis_url, "guard_redis_url": guard_redis_url, "database_url": database_url}
            secret = settings.var_dir / "pass-secret"
            if not settings.secrets and secret.exists():
                found["secrets"] = {REMEMBERED_KID: SecretStr(secret.read_text(encoding="ascii").strip())}
    if found and aloud:
        typer.secho(f"Using the servers that run with their data in {settings.var_dir}/.", dim=True, err=True)
    return settings.model_copy(update=found)


def pass_keys(settings: "Settings") -> "PassKeys":
    """The keys that the settings name.

    Raises:
        CommandError: there are too many, or one cannot be used.
    """
    from grab_service.vocabulary.passes import PassKeys

    secrets = [(kid, secret.get_secret_value().encode()) for kid, secret in settings.secrets.items()]
    try:
        return PassKeys.build(settings.cell, secrets)
    except ValueError as error:
        raise CommandError(f"GRAB_SECRETS cannot be used: {error}.", f"Write it as {EXAMPLES['secrets']}.") from error


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
                f"Set it, for instance to what `openssl rand -hex 24` says: {name}=…",
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
