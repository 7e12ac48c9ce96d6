"""The audit is green while all is well, at every moment, and names the limits of its knowledge."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime

import orjson
import pytest

from grab_service.audit import AuditImpossibleError, AuditReport, Invariant, audit_cell
from grab_service.audit.books import read_books
from grab_service.audit.cut import brought_up, take_cut
from grab_service.audit.pools import check_pools
from grab_service.audit.rotation import BEGINNING, YOUNG_MS, Known, Rotation
from grab_service.vocabulary.claims import ClaimRecord, parse_holding
from tests.harness.backend import Backend, until
from tests.harness.cells import now_ms
from tests.integration.days import Day, a_day, red


@pytest.fixture
async def day(backend: Backend) -> AsyncIterator[Day]:
    async with backend.ledger():
        yield await a_day(backend)


async def test_all_is_green_when_all_is_well(day: Day) -> None:
    report = await day.audit()
    assert report.holds, report.faults
    assert report.redis_equals_postgres
    assert (report.records_compared, report.records_left) == (9 + 6 + 6 + 4, 0), "claims of three campaigns, and six bindings"
    assert report.invariants[Invariant.NO_UNDERSELL].checked is False, "nobody said who wanted what"
    assert {name for name, check in report.invariants.items() if check.checked} == set(Invariant) - {Invariant.NO_UNDERSELL}
    figures = {one.campaign_id: one for one in report.campaigns}
    assert (figures["one"].active, figures["one"].available, figures["one"].free_units, figures["one"].issued) == (9, 11, 1, 10)
    assert (figures["pool"].codes_loaded, figures["pool"].free_codes, figures["pool"].returned) == (12, 8, 1)
    assert orjson.loads(orjson.dumps(report.as_json()))["invariants"]["I1 NoOversell"]["holds"] is True


async def test_codes_are_counted_as_of_the_seq_though_one_went_back_since(day: Day) -> None:
    (back,) = await day.backend.sql("SELECT returned_seq AS seq FROM claims WHERE seq = :seq", seq=day.pool[2].seq)
    books = [await read_books(day.backend.engine, day.backend.settings.cell, seq) for seq in (back.seq - 1, back.seq)]
    assert [one.campaigns["pool"].codes_out for one in books] == [5, 4]


async def test_a_code_that_went_back_is_left_to_the_next_audit_while_the_ledger_lags(day: Day) -> None:
    await day.backend.redis.lset(day.key("pool", "codes"), 0, day.pool[0].code)
    about = (day.backend.redis, day.backend.engine, day.backend.settings.cell, ["pool"])
    await day.backend.redis.hincrby(day.backend.keys.cell, "seq", 1)
    assert await check_pools(*about) == []
    await day.backend.redis.hincrby(day.backend.keys.cell, "seq", -1)
    assert [finding.invariant for finding in await check_pools(*about)] == [Invariant.UNIQUE_UNIT]


async def test_what_is_decided_and_not_yet_freed_counts_as_active(day: Day) -> None:
    await day.backend.sql("UPDATE claims SET state = 'returned', decided_at_ms = 1 WHERE seq = :seq", seq=day.one[0].seq)
    report = await day.audit()
    assert report.holds, report.faults
    (one,) = [figures for figures in report.campaigns if figures.campaign_id == "one"]
    assert (one.active, one.postgres_active, one.postgres_held) == (9, 9, 8)


async def test_it_is_green_in_the_middle_of_a_rush(day: Day) -> None:
    """The cut is one moment, though both books go on while it is taken."""
    backend = day.backend
    names = await backend.enrol(2000)
    await backend.schedule("rush", stock=2000)
    enough = asyncio.Event()

    async def rush() -> None:
        for at in range(0, 2000, 2):
            await backend.win("rush", names[at : at + 2])
            if at % 20 == 0:
                await backend.cell.set_state("rush", "pause")
                await backend.cell.set_stock("one", 20, 21)
                await backend.cell.set_state("rush", "resume")
                await backend.cell.set_stock("one", 21, 20)
            if enough.is_set():
                return

    task = asyncio.create_task(rush())
    seqs: set[int] = set()
    while len(seqs) < 5 and not task.done():
        report = await day.audit()
        assert report.holds, report.faults
        seqs.add(report.seq)
    enough.set()
    await task
    assert len(seqs) >= 3, "it was over before it was looked at"


@pytest.mark.parametrize(("demand", "holds"), [(9, True), (10, False), (500, False)])
async def test_an_undersell_shows_where_the_demand_is_known(day: Day, demand: int, holds: bool) -> None:
    report = await day.audit(demand={"one": demand})
    check = report.invariants[Invariant.NO_UNDERSELL]
    assert (check.checked, check.holds) == (True, holds)


async def test_a_stock_that_is_claimed_to_the_last_unit_is_not_undersold(day: Day) -> None:
    names = await day.backend.enrol(11)
    await day.backend.win("one", names)
    report = await day.audit()
    assert report.holds, report.faults
    assert report.invariants[Invariant.NO_UNDERSELL].checked
    assert "1 of 3 campaigns" in report.invariants[Invariant.NO_UNDERSELL].detail


async def test_without_a_ledger_that_keeps_up_nothing_is_said(backend: Backend) -> None:
    async with backend.open_ledger():
        names = await backend.sale(1)
        await backend.drained()
    await backend.win("c", names)
    with pytest.raises(AuditImpossibleError, match="the ledger is at epoch 1"):
        await audit_cell(backend.cell, backend.engine, backend.redis, ledger_wait_s=0.1)


async def test_the_very_last_claim_on_record_is_compared_as_well(day: Day) -> None:
    backend = day.backend
    (claim,) = await backend.win_on_record("one", await backend.enrol(1))
    assert (await backend.cursor()).last_seq == claim.seq
    assert (await day.audit()).holds
    await backend.sql("DELETE FROM claims WHERE seq = :seq", seq=claim.seq)
    lost = (await day.audit()).invariants[Invariant.NO_LOST_ACK]
    assert not lost.holds
    assert "a claim of the cell is not in Postgres" in lost.detail
    assert claim.seq in [example.get("seq") for example in lost.counterexamples]


async def test_what_one_audit_leaves_the_next_ones_compare_until_all_was(day: Day) -> None:
    rotation = Rotation()
    backend, seen = day.backend, []
    for _ in range(12):
        report = await audit_cell(backend.cell, backend.engine, backend.redis, records_max=8, rotation=rotation)
        assert report.holds, report.faults
        seen.append(report.oldest_comparison_at_ms)
        assert 0 < report.share_compared <= 1
    assert seen[0] is None, "no audit of eight records has compared all campaigns"
    assert seen[-1] is not None, "those left out had their turn"
    await rotation.write(backend.engine)
    kept = await Rotation.read(backend.engine)
    assert kept.known == rotation.known
    assert kept.changed == rotation.changed == set()


async def test_a_fault_in_the_last_campaign_in_the_order_is_found_though_no_audit_compares_all(day: Day) -> None:
    backend, last = day.backend, "pool"
    name, holding = next(iter((await backend.redis.hgetall(day.key(last, "claims"))).items()))
    assert isinstance(holding, bytes)
    (record, *_) = parse_holding(holding)
    wrong = ClaimRecord(record.seq, record.epoch, record.unit_no, 1, record.granted_at_ms + 1, record.code, "")
    await backend.redis.hset(day.key(last, "claims"), name, wrong.encode())
    rotation, found = Rotation(), False
    for _ in range(12):
        report = await audit_cell(backend.cell, backend.engine, backend.redis, records_max=8, rotation=rotation)
        found = found or not report.invariants[Invariant.NO_LOST_ACK].holds
    assert found


async def test_open_and_young_campaigns_come_first_and_the_others_have_their_half(day: Day) -> None:
    """With a bound, those whose members look at them now are compared in every audit; one is over when its time is."""
    backend = day.backend
    await backend.schedule("young", stock=1)
    await backend.drained()
    long_ago_ms = now_ms() - YOUNG_MS - 1000
    await backend.sql(
        "UPDATE campaigns SET opens_at_ms = 1, closes_at_ms = :at_ms WHERE campaign_id = 'one'", at_ms=long_ago_ms
    )
    await backend.sql("UPDATE campaigns SET closed_at_ms = :at_ms WHERE campaign_id = 'pool'", at_ms=long_ago_ms)
    await backend.sql("UPDATE campaigns SET closed_at_ms = :at_ms WHERE campaign_id = 'young'", at_ms=now_ms() - 1000)
    books = (await read_books(backend.engine, backend.settings.cell, 2**62)).campaigns
    rotation = Rotation({"one": Known(9), "many": Known(8), "pool": Known(7), "young": Known(6)})
    assert rotation.turns(dict(books), now_ms()) == (["young", "many"], ["pool", "one"])
    assert rotation.oldest_ms(books) == 6
    assert rotation.oldest_ms([*books, "new"]) is None


async def test_a_campaign_is_as_old_as_the_begin_of_its_round_and_a_new_arming_begins_anew(day: Day) -> None:
    """A cursor of HSCAN means nothing to a server that was started since."""
    backend = day.backend
    await backend.schedule("big", stock=2500)
    names = await backend.enrol(2500)
    for at in range(0, len(names), 100):
        await backend.win("big", names[at : at + 100])
    await backend.drained()
    await backend.sql("UPDATE campaigns SET opens_at_ms = 1, closes_at_ms = 2 WHERE campaign_id <> 'big'")
    rotation = Rotation()

    async def look() -> AuditReport:
        report = await day.audit(records_max=1000, rotation=rotation)
        assert report.holds, report.faults
        return report

    def known() -> Known:
        return rotation.known["big"]

    reports = [await look()]
    begun_at_ms = reports[0].at_ms
    assert known().place != BEGINNING, "the bound lies in the midst of it"
    while known().compared_at_ms is None:
        assert known().begun_at_ms == begun_at_ms
        reports.append(await look())
    assert known().compared_at_ms == begun_at_ms < reports[-1].at_ms
    assert sum(report.records_compared for report in reports) >= 2500, "what one leaves the next ones compare"

    again = await look()
    assert known().begun_at_ms == again.at_ms
    rotation.known["big"] = replace(known(), arming="of another server")
    anew = await look()
    assert known().begun_at_ms == anew.at_ms > again.at_ms


async def test_what_the_log_changes_after_the_cut_is_no_fault_and_hides_none(backend: Backend) -> None:
    """Postgres is read at a later seq than the cell: there the state of one campaign and the stock of another are new."""
    async with backend.ledger():
        day = await a_day(backend)
        names = await backend.enrol(2)
        await backend.drained()

    async def audit_while_things_change() -> AuditReport:
        await backend.win("one", [names.pop()])
        (began,) = await backend.sql("SELECT clock_timestamp() AS at")
        audit = asyncio.create_task(day.audit())
        await until(lambda: _waits_for_the_ledger(backend, began.at))
        await backend.cell.set_state("one", "pause")
        await backend.cell.set_stock("many", 20, 22)
        await backend.cell.set_state("pool", "pause")
        await backend.cell.set_state("pool", "resume")
        async with backend.link() as link:
            assert await backend.new_drain().step(link) == 5, "all of it in one transaction"
        return await audit

    report = await audit_while_things_change()
    assert report.holds, report.faults

    await backend.cell.set_state("one", "resume")
    await backend.cell.set_stock("many", 22, 20)
    async with backend.link() as link:
        assert await backend.new_drain().step(link) == 2
    await backend.sql("UPDATE campaigns SET total = total + 1 WHERE campaign_id = 'one'")
    report = await audit_while_things_change()
    assert red(report) == {Invariant.CONSERVED}
    assert report.invariants[Invariant.CONSERVED].detail == "total differs"


async def _waits_for_the_ledger(backend: Backend, since: datetime) -> bool:
    """Whether an audit that began since then has its cut, and asks how far the ledger is."""
    (waits,) = await backend.sql(
        "SELECT count(*) AS asked FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user"
        " AND query LIKE 'SELECT epoch, last_seq FROM log_cursor%' AND query_start > :since",
        since=since,
    )
    return bool(waits.asked)


async def test_a_log_that_was_cut_short_is_no_evidence(day: Day) -> None:
    backend = day.backend
    cut = await take_cut(backend.cell)
    await backend.cell.set_state("one", "pause")
    await backend.cell.set_state("many", "pause")
    seq = await backend.drained()
    campaigns = await brought_up(backend.cell, cut, seq)
    assert [campaigns[one].state for one in ("many", "one", "pool")] == ["paused", "paused", "scheduled"]
    assert [one.state for one in (await brought_up(backend.cell, cut, seq - 1)).values()].count("paused") == 1
    await backend.redis.xtrim(backend.keys.log, minid=f"{seq}-0", approximate=False)
    with pytest.raises(AuditImpossibleError, match="the log goes on at"):
        await brought_up(backend.cell, cut, seq)
    with pytest.raises(AuditImpossibleError, match="the log ends at"):
        await brought_up(backend.cell, replace(cut, seq=seq), seq + 1)


async def test_an_audit_by_counters_alone_says_that_it_compared_no_claims(day: Day) -> None:
    report = await audit_cell(day.backend.cell, day.backend.engine, None)
    assert (report.records_compared, report.records_left, report.share_compared) == (0, 9 + 6 + 4, 0.0)
