"""Commands that make passes, for load tests and for ops at the server's own terminal."""

import csv
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, TextIO

import typer

from grab_service.cli import tokens
from grab_service.cli.errors import CommandError
from grab_service.cli.files import STANDARD, CsvFile, name_of, written
from grab_service.cli.help import examples, new_app
from grab_service.cli.settings_in_force import EXAMPLES, pass_keys, settings_in_force
from grab_service.cli.terminal import note
from grab_service.vocabulary.identifiers import is_actor, is_member_id
from grab_service.vocabulary.passes import OPS_TTL_MAX_S, Role, mint, mint_ops

TTL_MAX_S: Final = 366 * 24 * 3600

Ttl = Annotated[int | None, typer.Option("--ttl-s", metavar="SECONDS", min=1, max=TTL_MAX_S, show_default=False)]
OpsTtl = Annotated[int | None, typer.Option("--ttl-s", metavar="SECONDS", min=1, max=OPS_TTL_MAX_S, show_default=False)]

app = new_app(help="Make passes of members and tokens of ops, list those tokens, and end one before its time.")
tokens.add_to(app)


@app.command(
    "mint",
    epilog=examples(
        "grab passes mint members.csv --out passes.tsv",
        "echo m-000001 | grab passes mint -",
    ),
)
def mint_passes(
    members: CsvFile,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="Where to write `member_id TAB pass`; - is standard output.")
    ] = STANDARD,
    ttl_s: Ttl = None,
) -> None:
    """Mint a pass for each member of a file.

    The file is CSV with a column member_id. On standard input, each line is a member's id. Passes are signed with the first
    key of GRAB_SECRETS and expire after --ttl-s seconds, by default GRAB_PASS_TTL_S. They name no union.
    """
    settings = settings_in_force("secrets")
    keys = pass_keys(settings)
    made_at_s = int(time.time())
    expires_at_s = made_at_s + (ttl_s or settings.pass_ttl_s)
    made = 0
    with written(out, private=True) as target:
        for member_id in _member_ids(members):
            target.write(f"{member_id}\t{mint(keys, member_id, expires_at_s, made_at_s=made_at_s)}\n")
            made += 1
    note(f"{made:,} passes")


@app.command("ops", epilog=examples("grab passes ops alice --role admin", "grab passes ops console@example.com --ttl-s 3600"))
def mint_ops_token(
    actor: Annotated[str, typer.Argument(metavar="NAME", help="Who it is, as the log of what was done will name them.")],
    role: Annotated[Role, typer.Option(help="What they may do.")] = Role.OPERATOR,
    ttl_s: OpsTtl = None,
) -> None:
    """Mint a token for the ops calls of the service.

    They take it as `Authorization: Bearer <token>`. It is signed with the first key of GRAB_OPS_SECRETS and expires after
    --ttl-s seconds, by default GRAB_OPS_TOKEN_TTL_S; a day at most.
    """
    if not is_actor(actor):
        raise CommandError(
            f"{actor[:80]!r} cannot name somebody of ops.", "Use 1 to 64 letters or digits of any script, or _ : @ . + -"
        )
    settings = settings_in_force("secrets")
    keys = pass_keys(settings)
    if not keys.ops_hmacs:
        raise CommandError("GRAB_OPS_SECRETS is not set.", f"Set it to what the service has ({EXAMPLES['ops_secrets']}).")
    now_s = int(time.time())
    typer.echo(mint_ops(keys, actor, role, now_s, now_s + (ttl_s or settings.ops_token_ttl_s)))


def _member_ids(path: Path) -> Iterator[str]:
    if path == STANDARD:
        yield from _checked(path, ((number, line.strip()) for number, line in enumerate(sys.stdin, start=1) if line.strip()))
        return
    with path.open(encoding="utf-8-sig", newline="") as stream:
        yield from _checked(path, _column(path, stream))


def _column(path: Path, stream: TextIO) -> Iterator[tuple[int, str]]:
    rows = csv.reader(stream)
    try:
        header = [name.strip().lower() for name in next(rows, [])]
        if "member_id" not in header:
            raise CommandError(f"{path} has no column member_id; its header is {','.join(header)[:200] or 'empty'}.")
        place = header.index("member_id")
        for row in rows:
            if row:
                yield rows.line_num, row[place].strip() if len(row) > place else ""
    except (csv.Error, UnicodeDecodeError) as error:
        raise CommandError(f"{path}, line {rows.line_num + 1}, cannot be read: {error}.", "It must be CSV in UTF-8.") from error


def _checked(path: Path, numbered: Iterator[tuple[int, str]]) -> Iterator[str]:
    for line, member_id in numbered:
        if not is_member_id(member_id):
            raise CommandError(
                f"{name_of(path)}, line {line}: {member_id[:80]!r} is not a member_id.",
                "Use 1 to 64 of A-Z a-z 0-9 _ : -",
            )
        yield member_id
