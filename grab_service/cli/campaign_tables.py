"""Campaigns as terminal tables."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from grab_service.campaigns.preflight import Level, PreflightFinding
from grab_service.vocabulary.times import Clock, parse_rfc3339

WIDE = 100
TITLE_WIDTH_MIN = 12
MOMENT_WIDTH = 19
COLOURS = {"open": "green", "paused": "yellow", "sold_out": "magenta", "cancelled": "red", "upcoming": "cyan"}


def list_of(campaigns: Sequence[dict[str, Any]], clock: Clock, width: int) -> Table:
    """A row a campaign; `campaigns` as `campaign_facts` gives them, `width` in columns of the terminal."""
    table = Table(caption=f"Times are those of {clock.name}.", caption_justify="left", box=None, pad_edge=False)
    wide = width >= WIDE
    table.add_column("id", no_wrap=True, min_width=max((len(one["campaign_id"]) for one in campaigns), default=0))
    table.add_column("title", overflow="fold", min_width=TITLE_WIDTH_MIN)
    table.add_column("phase", no_wrap=True, min_width=max(map(len, COLOURS)))
    table.add_column("given out", justify="right", no_wrap=True)
    for name in ("opens", "closes")[: 2 if wide else 1]:
        table.add_column(name, no_wrap=True, min_width=MOMENT_WIDTH)
    for one in campaigns:
        stock = one["stock"]
        moments = [clock.show(one[f"{name}_at_ms"], exactly=False) for name in ("opens", "closes")[: 2 if wide else 1]]
        table.add_row(
            one["campaign_id"], Text(one["title"]), _phase(one), f"{stock['active']:,} of {stock['total']:,}", *moments
        )
    return table


def sheet_of(campaign: dict[str, Any], clock: Clock) -> Table:
    """All of one campaign."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(campaign, clock):
        table.add_row(name, value if isinstance(value, Text) else Text(value))
    return table


def findings_of(findings: Sequence[PreflightFinding]) -> Table:
    """The findings of a preflight."""
    table = Table(box=None, pad_edge=False)
    for name in ("level", "field", "what"):
        table.add_column(name, no_wrap=name != "what", overflow="fold")
    for finding in findings:
        style = "red" if finding.level is Level.ERROR else "yellow"
        table.add_row(Text(finding.level.value, style), finding.field, Text(str(finding.in_language("en")["message"])))
    return table


def _facts(campaign: dict[str, Any], clock: Clock) -> Iterator[tuple[str, str | Text]]:
    stock, benefit = campaign["stock"], campaign["benefit"]
    yield "campaign", campaign["campaign_id"]
    yield "title", campaign["title"]
    if campaign["summary"]:
        yield "summary", campaign["summary"]
    yield "state", Text.assemble(campaign["state"], *((", ", _phase(campaign)) if campaign["phase"] else ()))
    yield "stock", f"{stock['total']:,} units, {stock['active']:,} given out, {stock['available']:,} available now"
    for release in campaign["releases"]:
        yield "release", f"{clock.show(release['opens_at_ms'])}   {release['quantity']:,} units"
    yield "closes", clock.show(campaign["closes_at_ms"])
    yield "benefit", f"{benefit['name']} ({benefit['kind']})"
    validity = _validity(benefit, clock)
    if validity:
        yield "valid", validity
    yield "limit", f"{campaign['limit_per_member']} per member"
    yield "eligible", "; ".join(_rules(campaign["eligibility"])) or "everybody"
    yield "version", f"{campaign['version']}, created {clock.show(campaign['created_at_ms'])}"
    yield "times", f"of {clock.name}"


def _validity(benefit: dict[str, Any], clock: Clock) -> str:
    parts = [
        f"{word} {clock.show(parse_rfc3339(benefit[name]))}"
        for word, name in (("from", "valid_from"), ("until", "valid_until"))
        if benefit[name]
    ]
    return " ".join([*parts, *([f"{benefit['valid_days']} days from the grant"] if benefit["valid_days"] else [])])


def _rules(eligibility: dict[str, Any]) -> Iterator[str]:
    if eligibility["orgs"]:
        yield f"unions {', '.join(eligibility['orgs'])}"
    if eligibility["tags_any"]:
        yield f"any of the tags {', '.join(eligibility['tags_any'])}"
    if eligibility["birthday_months"]:
        yield f"born in the months {', '.join(map(str, eligibility['birthday_months']))}"
    if eligibility["joined_before"]:
        yield f"joined before {eligibility['joined_before']}"


def _phase(campaign: dict[str, Any]) -> Text:
    phase = campaign["phase"] or campaign["state"]
    return Text(phase, COLOURS.get(phase, ""))
