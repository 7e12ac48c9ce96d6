"""The check that barred members were turned away, and that nobody else was refused for such a reason."""

from collections.abc import Mapping
from pathlib import Path

from loadtest.verifier.evidence import Evidence, RunFinding, describe

# Refusals for a member's own attributes; all others may meet anybody.
PERSONAL = frozenset({"not-eligible", "member-blocked", "member-unknown"})
BARRED_MAX = 2_000_000


class BarredError(Exception):
    """The file of those who must not win cannot be read; the message names the line."""


def read_barred(path: Path) -> dict[str, str]:
    """Read lines of `member_id<TAB>problem code`: members who must not win, and their expected refusal.

    Raises:
        BarredError: a line is broken, names no such problem, or there are too many.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError) as error:
        raise BarredError(f"cannot read who must not win: {error}") from error
    if len(lines) > BARRED_MAX:
        raise BarredError(f"{path}: more than {BARRED_MAX} lines")
    barred: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        member, _, code = line.partition("\t")
        if not member or code not in PERSONAL:
            raise BarredError(f"{path}, line {number}: expected member_id<TAB>{' or '.join(sorted(PERSONAL))}")
        barred[member] = code
    return barred


def turned_away(evidence: Evidence, barred: Mapping[str, str]) -> RunFinding:
    """I7: members who may not win have not, and every refusal for ineligibility was right.

    "Sold out" and the like may come before a member's own refusal, so those who must not win may hear them instead.
    """
    finding = RunFinding()
    for claim in evidence.truth:
        if claim.member_id in barred and not claim.made_good:
            finding.breach("won, and must not have", member=claim.member_id, claim_id=claim.claim_id)
    for told in evidence.told:
        if told.attempt.member in barred:
            finding.breach("told of a claim, and must not have one", **describe(told.attempt))
    for attempt in evidence.attempts:
        expected = barred.get(attempt.member)
        finding.checked += expected is not None or attempt.code in PERSONAL
        if attempt.code in PERSONAL and attempt.code != expected:
            what = "refused for who they are, and may win" if expected is None else f"told otherwise than {expected}"
            finding.breach(what, **describe(attempt))
    return finding
