"""The invariants of cell and Postgres, judged from counters, without looking at single claims."""

from collections.abc import Iterator, Mapping

from grab_service.audit.books import Books, CampaignBooks
from grab_service.audit.counters import COMPARED, COUNTERS
from grab_service.audit.cut import CampaignCut, CellCut
from grab_service.audit.report import AuditFinding, CampaignFigures, Invariant
from grab_service.vocabulary.campaigns import BenefitKind, CampaignState, released_by, total_of

OVER = frozenset({CampaignState.SETTLED, CampaignState.ARCHIVED})
"""States that only Postgres knows; the cell keeps what was there before."""


def judge(cut: CellCut, books: Books) -> list[AuditFinding]:
    """Everything in the counters that is not as it must be. The books are as of the cut's seq."""
    findings = []
    for campaign_id in sorted(cut.campaigns.keys() | books.campaigns.keys() | set(books.strays)):
        cell, ledger = cut.campaigns.get(campaign_id), books.campaigns.get(campaign_id)
        if cell is None or ledger is None:
            where = "Postgres" if cell is None else "the cell"
            example = {"campaign_id": campaign_id}
            findings.append(AuditFinding(Invariant.NO_LOST_ACK, f"a campaign is published in {where} only", example))
            continue
        for judged in (_counted, _no_oversell, _no_lost_ack, _one_answer, _unique_unit, _conserved):
            findings += judged(cell, ledger, cut.now_ms)
    return findings


def judge_configuration(campaigns: Mapping[str, CampaignCut], books: Books) -> list[AuditFinding]:
    """Where state, releases or total differ. The cell's are as of the books' cursor: Postgres shows them as they are there."""
    findings = []
    for campaign_id in sorted(campaigns.keys() & books.campaigns.keys()):
        cell, ledger = campaigns[campaign_id], books.campaigns[campaign_id]
        configured = {"releases": (cell.releases, ledger.releases), "total": (total_of(cell.releases), ledger.total)}
        if ledger.state not in OVER:
            configured["state"] = (cell.state, ledger.state)
        for name, (in_cell, in_ledger) in configured.items():
            if in_cell != in_ledger:
                example = {"campaign_id": campaign_id, "cell": f"{in_cell}", "postgres": f"{in_ledger}"}
                findings.append(AuditFinding(Invariant.CONSERVED, f"{name} differs", example))
    return findings


def judge_undersell(cut: CellCut, demand: Mapping[str, int]) -> tuple[int, list[AuditFinding]]:
    """(how many campaigns could be judged, what was found).

    Who would have wanted a unit is not known here, unless it is said: `demand` is the number of members who asked for a unit of
    a campaign and met every rule. Without it, a campaign counts as judged once its whole stock is claimed, or where units are
    left and cannot be granted for want of codes.
    """
    judged, findings = 0, []
    for campaign in cut.campaigns.values():
        released = released_by(campaign.releases, cut.now_ms)
        example = {"campaign_id": campaign.campaign_id, "released": released, "active": campaign.active}
        wanted = demand.get(campaign.campaign_id)
        whats = []
        if wanted is not None and campaign.active < min(wanted, released):
            whats.append("units are left although they were asked for")
        if campaign.codes_loaded > 0 and campaign.free_codes < released - campaign.active:
            whats.append("units are left and the pool has no codes for them")
        judged += bool(whats) or wanted is not None or campaign.active == total_of(campaign.releases)
        example |= {"demand": -1 if wanted is None else wanted, "free_codes": campaign.free_codes}
        findings += [AuditFinding(Invariant.NO_UNDERSELL, what, example, differs=False) for what in whats]
    return judged, findings


def figures_of(cut: CellCut, books: Books) -> tuple[CampaignFigures, ...]:
    """The figures of the campaigns that both have."""
    figures = []
    for campaign_id in sorted(cut.campaigns.keys() & books.campaigns.keys()):
        cell, ledger = cut.campaigns[campaign_id], books.campaigns[campaign_id]
        released = released_by(cell.releases, cut.now_ms)
        figures.append(
            CampaignFigures(
                campaign_id=campaign_id,
                state=cell.state,
                total=total_of(cell.releases),
                released=released,
                active=cell.active,
                available=max(0, released - cell.active),
                returned=cell.returns,
                issued=cell.issued,
                free_units=cell.free_units,
                codes_loaded=cell.codes_loaded,
                free_codes=cell.free_codes,
                postgres_active=ledger.active,
                postgres_held=ledger.held,
                postgres_returned=ledger.returned,
            )
        )
    return tuple(figures)


def _counted(cell: CampaignCut, ledger: CampaignBooks, _: int) -> Iterator[AuditFinding]:
    for name, invariant in COMPARED.items():
        yield from _equal(invariant, cell.campaign_id, COUNTERS[name].what, cell.counters[name], ledger.counted[name])


def _no_oversell(cell: CampaignCut, ledger: CampaignBooks, now_ms: int) -> Iterator[AuditFinding]:
    released = released_by(cell.releases, now_ms)
    total = total_of(cell.releases)
    # Ops may give a unit of a release still to come.
    most = min(total, released + ledger.made_good)
    for where, active in (("the cell", cell.active), ("Postgres", ledger.active)):
        if active > most:
            example = {"campaign_id": cell.campaign_id, "active": active, "released": released}
            yield AuditFinding(
                Invariant.NO_OVERSELL, f"more claims are active in {where} than units are released", example, differs=False
            )
    if ledger.unit_max > total:
        example = {"campaign_id": cell.campaign_id, "unit_no": ledger.unit_max, "total": total}
        yield AuditFinding(Invariant.NO_OVERSELL, "an active claim has a unit above the total", example, differs=False)


def _no_lost_ack(cell: CampaignCut, ledger: CampaignBooks, _: int) -> Iterator[AuditFinding]:
    yield from _equal(Invariant.NO_LOST_ACK, cell.campaign_id, "returned claims", cell.returns, ledger.returned)


def _one_answer(cell: CampaignCut, ledger: CampaignBooks, _: int) -> Iterator[AuditFinding]:
    if ledger.holders is not None:
        yield from _equal(Invariant.ONE_ANSWER, cell.campaign_id, "holders", cell.holders, ledger.holders)
    if ledger.ordinals not in {None, ledger.active} or ledger.ordinal_max > ledger.limit_per_member:
        example = {"campaign_id": cell.campaign_id, "active": ledger.active, "distinct_ordinals": ledger.ordinals}
        what = "a member holds more claims than the limit allows"
        yield AuditFinding(Invariant.ONE_ANSWER, what, {**example, "ordinal_max": ledger.ordinal_max}, differs=False)


def _unique_unit(cell: CampaignCut, ledger: CampaignBooks, _: int) -> Iterator[AuditFinding]:
    for what, distinct, all_of_them in (
        ("a unit is in two active claims", ledger.units, ledger.active),
        ("a code is in two claims", ledger.codes_distinct, ledger.codes),
    ):
        if distinct not in {None, all_of_them}:
            example = {"campaign_id": cell.campaign_id, "distinct": distinct, "claims": all_of_them}
            yield AuditFinding(Invariant.UNIQUE_UNIT, what, example, differs=False)


def _conserved(cell: CampaignCut, ledger: CampaignBooks, _: int) -> Iterator[AuditFinding]:
    example = {"campaign_id": cell.campaign_id, "issued": cell.issued, "active": cell.active, "free_units": cell.free_units}
    if cell.issued != cell.active + cell.free_units:
        yield AuditFinding(Invariant.CONSERVED, "issued units are neither held nor free", example)
    if not ledger.unit_max <= cell.issued <= total_of(cell.releases):
        example = {**example, "unit_max": ledger.unit_max, "total": total_of(cell.releases)}
        yield AuditFinding(
            Invariant.CONSERVED, "the highest unit issued is below one that is held, or above the total", example, differs=False
        )
    if ledger.benefit_kind == BenefitKind.CODE_POOL:
        codes = {"loaded": cell.codes_loaded, "free": cell.free_codes, "out": ledger.codes_out, "imported": ledger.pool_codes}
        if cell.codes_loaded != cell.free_codes + ledger.codes_out or cell.codes_loaded > ledger.pool_codes:
            what = "codes loaded are neither free nor with a claim"
            yield AuditFinding(Invariant.CONSERVED, what, {"campaign_id": cell.campaign_id, **codes})


def _equal(invariant: Invariant, campaign_id: str, what: str, in_cell: int, in_ledger: int) -> Iterator[AuditFinding]:
    if in_cell != in_ledger:
        example = {"campaign_id": campaign_id, "cell": in_cell, "postgres": in_ledger}
        yield AuditFinding(invariant, f"{what} differ between the cell and Postgres", example)
