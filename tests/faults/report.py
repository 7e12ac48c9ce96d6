"""`python -m tests.faults.report`: writes the tables of docs/RELIABILITY.md from the newest results."""

import time
from pathlib import Path
from typing import Any, Final

from tests.faults.catalogue import FAULTS
from tests.faults.fault import Fault
from tests.faults.results import RESULTS
from tests.harness.results import Shown

PAGE: Final = Shown(Path("docs/RELIABILITY.md"), "the fault suite")
OF_DURABILITY: Final = Shown(Path("docs/RELIABILITY.md"), "the fault suite, by server")
_HEAD: Final = "| fault | rounds | acknowledged | lost | oversold | undersold | before the audit | resumes: median, max |"
_HEAD_BY_SERVER: Final = (
    "| server | fault | `GRAB_DURABILITY` | promised "
    "| rounds | acknowledged | lost | oversold | undersold | resumes: median, max |"
)

Result = dict[str, Any]


def table(results: dict[str, Result]) -> str:
    """One line per fault that has a result, in the order of the catalogue."""
    known = [results[fault.name] | {"says": fault.says} for fault in FAULTS if not fault.server and fault.name in results]
    rows = [_HEAD, "|---|---:|---:|---:|---:|---:|---:|---:|", *map(_row, known)]
    return _with_notes(rows, known)


def table_by_server(results: dict[str, Result]) -> str:
    """One line per series of a server by what winners are told, servers together."""
    faults = [fault for fault in FAULTS if fault.server and fault.name in results]
    order = list(dict.fromkeys(fault.server for fault in faults))
    faults.sort(key=lambda fault: order.index(fault.server))
    rows = [_HEAD_BY_SERVER, "|---|---|---|---|---:|---:|---:|---:|---:|---:|"]
    rows += [_row_of_server(fault, results[fault.name]) for fault in faults]
    return _with_notes(rows, [results[fault.name] | {"says": _long(fault)} for fault in faults])


def _with_notes(rows: list[str], known: list[Result]) -> str:
    notes = [
        f"- {result['says']}: " + ", ".join(f"{amount:,.0f} {figure}" for figure, amount in result["figures"].items())
        for result in known
        if result["figures"]
    ]
    broken = [f"- **{result['says']}**: {what[:300]}" for result in known for what in result["broken"][:3]]
    parts = ["\n".join(rows)]
    if known:
        days = sorted({time.strftime("%Y-%m-%d", time.gmtime(result["at_s"])) for result in known})
        rounds, told = (sum(result[name] for result in known) for name in ("rounds", "acknowledged"))
        parts.append(f"{rounds:,} rounds, {told:,} acknowledged claims, run on {', '.join(days)}.")
    if notes:
        parts.append("Of these rounds, too:\n\n" + "\n".join(notes))
    if broken:
        parts.append("**What did not hold:**\n\n" + "\n".join(broken))
    return "\n\n".join(parts)


def _long(fault: Fault) -> str:
    return f"{fault.says}, {fault.server}, `{fault.site.durability}`"


def _row(result: Result) -> str:
    before = "–" if result["before_audit"] is None else str(result["before_audit"])
    return (
        f"| {result['says']} | {result['rounds']} | {result['acknowledged']:,} | {_lost(result)} | {result['oversold']} "
        f"| {result['undersold']} | {before} | {_resumes(result)} |"
    )


def _row_of_server(fault: Fault, result: Result) -> str:
    promised = "nothing" if fault.may_lose or fault.must_lose else "nothing is lost"
    return (
        f"| {fault.server} | {fault.says} | `{fault.site.durability}` | {promised} | {result['rounds']} "
        f"| {result['acknowledged']:,} | {_lost(result)} | {result['oversold']} | {result['undersold']} | {_resumes(result)} |"
    )


def _lost(result: Result) -> str:
    return f"{result['lost']:,}" + (" ¹" if result["may_lose"] and result["lost"] else "")


def _resumes(result: Result) -> str:
    median, longest = result["resume_median_s"], result["resume_max_s"]
    return "–" if median is None else f"{median:.2f} s, {longest:.2f} s"


if __name__ == "__main__":
    RESULTS.forget_older()
    newest = RESULTS.newest()
    PAGE.write(table(newest))
    OF_DURABILITY.write(table_by_server(newest))
