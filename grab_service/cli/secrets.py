"""The commands that generate secrets: one for each purpose, in the form that the settings read."""

import os
import secrets
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer

from grab_service.cli.errors import CommandError
from grab_service.cli.files import written
from grab_service.cli.help import examples, new_app
from grab_service.cli.terminal import note
from grab_service.signing import SigningKeys, SigningKeysError, new_key

BYTES: Final = 32
KEYS: Final = ("GRAB_SECRETS", "GRAB_OPS_SECRETS")
PLAIN: Final = (
    "GRAB_ASSERTION_SECRET",
    "GRAB_API_PASSWORD",
    "GRAB_LEDGER_PASSWORD",
    "GRAB_GUARD_PASSWORD",
    "GRAB_OWNER_PASSWORD",
)

app = new_app(help="Make the secrets that the settings name.")


@app.command(
    epilog=examples("grab secrets new >>.env", "grab secrets new GRAB_SECRETS", "grab secrets new --all --dir secrets")
)
def new(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="By default the keys of passes and ops tokens.", show_default=False),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Make one for each variable that is a secret.")] = False,
    into: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            metavar="DIR",
            show_default=False,
            help="Write each into a file of its own there, for NAME_FILE; one that is there is never replaced.",
        ),
    ] = None,
) -> None:
    """Make new secrets of 32 random bytes each.

    Printed as NAME=value, a line each. Keys have a new id each time, so that one can stand beside the one it replaces:
    GRAB_SECRETS=<old>,<new>.
    """
    wanted = [*KEYS, *PLAIN] if everything else list(dict.fromkeys(names or KEYS))
    if unknown := [name for name in wanted if name not in (*KEYS, *PLAIN)]:
        raise CommandError(f"{unknown[0][:80]!r} is no secret of the settings.", f"There are {', '.join((*KEYS, *PLAIN))}.")
    made = {name: _key(name) if name in KEYS else secrets.token_hex(BYTES) for name in wanted}
    if into is None:
        for name, value in made.items():
            typer.echo(f"{name}={value}")
        return
    _write(into, made)


@app.command(epilog=examples("grab secrets key signing-keys.json"))
def key(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where GRAB_SIGNING_KEYS_FILE points to; keys that are there are kept.")
    ],
) -> None:
    """Make a new Ed25519 key for signatures.

    It signs from the next start on: it comes first in the file, readable for its owner only. Keys that stood there stay behind
    it, so that what they signed can still be checked.
    """
    kept: list[Any] = []
    if path.exists():
        try:
            SigningKeys.read(path)
        except SigningKeysError as error:
            raise CommandError(f"{error}; nothing was written.", "Move it away, or mend it.") from error
        kept = orjson.loads(path.read_bytes())["keys"]
    made = new_key()
    with written(path, private=True) as stream:
        stream.write(orjson.dumps({"keys": [made, *kept]}, option=orjson.OPT_INDENT_2).decode() + "\n")
    note(f"{made['kid']} signs from the next start of the ledger on; {len(kept)} key(s) kept behind it.")


def _key(name: str) -> str:
    return f"{'k' if name == 'GRAB_SECRETS' else 'o'}{secrets.token_hex(3)}:{secrets.token_hex(BYTES)}"


def _write(into: Path, made: dict[str, str]) -> None:
    into.mkdir(mode=0o700, parents=True, exist_ok=True)
    if there := [name for name in made if (into / name).exists()]:
        raise CommandError(f"{into / there[0]} is there already; nothing was written.", "Move it away if it shall be replaced.")
    for name, value in made.items():
        number = os.open(into / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "w", encoding="ascii") as stream:
            stream.write(f"{value}\n")
        note(f"{name}_FILE={into / name}")
