"""The tables of docs/RELIABILITY.md show what was measured, and every series of servers was."""

from tests.faults.catalogue import FAULTS
from tests.faults.report import OF_DURABILITY, PAGE, table, table_by_server
from tests.faults.results import RESULTS


def test_the_page_shows_the_newest_results_of_the_suite() -> None:
    newest = RESULTS.newest()
    assert table(newest) in PAGE.text(), "`python -m tests.faults.report` writes it"
    assert table_by_server(newest) in OF_DURABILITY.text()


def test_every_fault_has_been_tried() -> None:
    assert {fault.name for fault in FAULTS} <= set(RESULTS.newest()), '`make faults ARGS="-k <name>"` tries it'


def test_nothing_promised_was_broken() -> None:
    for fault in FAULTS:
        result = RESULTS.newest()[fault.name]
        assert (result["oversold"], result["undersold"], result["broken"]) == (0, 0, []), fault.name
        assert fault.may_lose or fault.must_lose or result["lost"] == 0, fault.name
