"""`python -m tests.faults.report`: writes the table of docs/RELIABILITY.md from the newest results."""

import time
from pathlib import Path
from typing import Any, Final

from tests.faults.catalogue import FAULTS
from tests.faults.results import RESULTS
from tests.harness.results import Shown

PAGE: Final = Shown(Path("docs/RELIABILITY.md"), "the fault suite")
_HEAD: Final = "| fault | rounds | acknowledged | lost | oversold | undersold | before the audit | resumes: median, max |"


def table(results: dict[str, dict[str, Any]]) -> str:
    """One line per fault that has a result, in the order of the catalogue."""
    rows = [_HEAD, "|---|---:|---:|---:|---:|---:|---:|---:|"]
    known = [results[fault.name] | {"says": fault.says} for fault in FAULTS if fault.name in results]
    rows += [_row(result) for result in known]
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


def _row(result: dict[str, Any]) -> str:
    median, longest = result["resume_median_s"], result["resume_max_s"]
    resumes = "–" if median is None else f"{median:.2f} s, {longest:.2f} s"
    lost = f"{result['lost']:,}" + (" ¹" if result["may_lose"] and result["lost"] else "")
    before = "–" if result["before_audit"] is None else str(result["before_audit"])
    return (
        f"| {result['says']} | {result['rounds']} | {result['acknowledged']:,} | {lost} | {result['oversold']} "
        f"| {result['undersold']} | {before} | {resumes} |"
    )


if __name__ == "__main__":
    PAGE.write(table(RESULTS.newest()))
