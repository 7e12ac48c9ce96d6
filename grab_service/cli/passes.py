"""Which commands make passes? For load tests, and for ops at the server's own terminal."""

import sys
import time
from pathlib import Path

import typer

from grab_service.cli.running import needing
from grab_service.settings import Settings
from grab_service.vocabulary.identifiers import is_member_id
from grab_service.vocabulary.passes import PassKeys, Role, mint, mint_ops

app = typer.Typer(help="Make passes and ops tokens. Needs GRAB_SECRETS.", no_args_is_help=True)


@app.command("mint")
def mint_passes(
    members: Path = typer.Argument(help="CSV with a column member_id, or - for one id a line on standard input."),
    out: Path = typer.Option(Path("-"), help="Where to write member_id TAB pass; - is standard output."),
    ttl_s: int = typer.Option(0, help="Seconds until they expire; default GRAB_PASS_TTL_S."),
) -> None:
    """Mint a pass for each member, in bulk."""
    settings = needing(Settings(), "secrets")
    keys = keys_of(settings)
    expires_at_s = int(time.time()) + (ttl_s or settings.pass_ttl_s)
    lines = sys.stdin if str(members) == "-" else members.open(encoding="utf-8-sig", newline="")
    with lines:
        header = [] if lines is sys.stdin else next(lines, "").strip().split(",")
        if lines is not sys.stdin and "member_id" not in header:
            raise typer.BadParameter(f"{members} has no column member_id; its header is {','.join(header)}")
        column = header.index("member_id") if header else 0
        target = sys.stdout if str(out) == "-" else out.open("w", encoding="ascii")
        made = 0
        for number, line in enumerate(lines, start=2 if header else 1):
            member_id = line.rstrip("\r\n").split(",")[column] if header else line.strip()
            if not is_member_id(member_id):
                raise typer.BadParameter(f"line {number}: {member_id[:80]!r} is not a member_id")
            target.write(f"{member_id}\t{mint(keys, member_id, expires_at_s)}\n")
            made += 1
        if target is not sys.stdout:
            target.close()
    typer.echo(f"{made:,} passes", err=True)


@app.command("ops")
def mint_ops_token(
    actor: str = typer.Argument(help="Who it is, as the log of what was done will name them."),
    role: Role = typer.Option(Role.OPERATOR, help="What they may do."),
    ttl_s: int = typer.Option(0, help="Seconds until it expires; default GRAB_OPS_TOKEN_TTL_S."),
) -> None:
    """Mint a token for the ops calls."""
    settings = needing(Settings(), "secrets")
    typer.echo(mint_ops(keys_of(settings), actor, role, int(time.time()) + (ttl_s or settings.ops_token_ttl_s)))


def keys_of(settings: Settings) -> PassKeys:
    """The keys that the settings name."""
    return PassKeys.build(
        settings.cell, [(kid, secret.get_secret_value().encode()) for kid, secret in settings.secrets.items()]
    )
