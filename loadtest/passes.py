"""The passes file: which members take part in a run, and the pass of each."""

import re
from dataclasses import dataclass
from pathlib import Path

MEMBERS_MAX = 2_000_000

# Characters that may stand in a header and in a line of the receipts: visible ASCII.
_VISIBLE = re.compile(rb"[\x21-\x7e]{1,512}")


class PassesError(Exception):
    """The passes file cannot be used; the message names the line."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member and the pass that speaks for them, as bytes that go on the wire."""

    member_id: bytes
    bearer: bytes


def read_passes(path: Path) -> list[Member]:
    """Read lines of `member_id<TAB>pass`.

    Raises:
        PassesError: a line is broken, a member stands twice, or there is nobody.
    """
    members: list[Member] = []
    seen: set[bytes] = set()
    try:
        text = path.read_bytes()
    except OSError as error:
        raise PassesError(f"cannot read the passes: {error}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        member_id, tab, bearer = line.rstrip().partition(b"\t")
        if not (tab and _VISIBLE.fullmatch(member_id) and _VISIBLE.fullmatch(bearer)):
            raise PassesError(f"{path}, line {number}: expected member_id<TAB>pass, in visible ASCII")
        if member_id in seen:
            raise PassesError(f"{path}, line {number}: member {member_id.decode()} stands there twice")
        seen.add(member_id)
        members.append(Member(member_id, bearer))
        if len(members) > MEMBERS_MAX:
            raise PassesError(f"{path}: more than {MEMBERS_MAX} members")
    if not members:
        raise PassesError(f"{path}: nobody in it")
    return members
