"""Every expected failure becomes a sentence; a bug does not."""

import pytest
from redis.exceptions import AuthenticationError
from sqlalchemy.exc import ProgrammingError

from grab_service.campaigns.preflight import Level, PreflightFinding
from grab_service.cell.store import CellClosedError, CellSilentError
from grab_service.cli.errors import _OF_PROBLEMS, CommandError, explain, show
from grab_service.embedded.errors import PortTakenError
from grab_service.problems import CATALOGUE, Text
from grab_service.refusal import RefusalError
from grab_service.settings import Settings


class _FromPostgresError(Exception):
    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("error", "what", "hint"),
    [
        (CommandError("It is broken.", "Mend it."), "It is broken.", "Mend it."),
        (PortTakenError("The port is taken.", "Free it."), "The port is taken.", "Free it."),
        (RefusalError("campaign-not-found"), "There is no such campaign.", "grab campaign list"),
        (RefusalError("stock-changed", total=12), "The stock is 12 by now", "--expected"),
        (RefusalError("ledger-behind", took_effect=True), "It took effect", "grab reconcile"),
        (CellClosedError("x"), "The cell is closed", "grab doctor"),
        (CellSilentError("x"), "may have been done or not", "grab campaign show ID"),
        (ConnectionRefusedError(), "Postgres does not answer", "DATABASE_URL"),
        (ProgrammingError("SELECT", {}, _FromPostgresError("42P01")), "lacks tables", "grab migrate"),
        (ProgrammingError("SELECT", {}, _FromPostgresError("28P01")), "refuses the user or the password", "DATABASE_URL"),
        (AuthenticationError("WRONGPASS"), "WRONGPASS", "grab doctor"),
        (PermissionError(13, "Permission denied", "out.csv"), "out.csv: Permission denied", ""),
    ],
)
def test_what_can_be_expected_is_a_sentence_and_how_to_mend_it(error: Exception, what: str, hint: str) -> None:
    failure = explain(error)
    assert failure is not None
    assert what in failure.what
    assert hint in failure.hint


@pytest.mark.parametrize(
    "error", [AssertionError("x"), KeyError("x"), ProgrammingError("SELECT", {}, _FromPostgresError("42601")), ValueError("x")]
)
def test_a_bug_keeps_its_traceback(error: Exception) -> None:
    assert explain(error) is None


def test_what_a_refusal_lists_is_listed() -> None:
    findings = [PreflightFinding(Level.ERROR, "too-few-codes", "releases", (("needed", 3), ("loaded", 1)))]
    failed = explain(RefusalError("preflight-failed", findings=findings))
    assert failed is not None
    assert list(failed.details) == ["error: 3 codes are needed, 1 have been imported."]
    errors = [{"field": "until", "reason": Text("中", "a time to come is needed")}, {"field": "", "reason": "all of it"}]
    invalid = explain(RefusalError("validation", errors=errors))
    assert invalid is not None
    assert list(invalid.details) == ["until: a time to come is needed", "all of it"]


def test_settings_are_named_by_their_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAB_WORKERS", "0")
    monkeypatch.setenv("GRAB_SECRETS", "k1:short")
    with pytest.raises(ValueError, match="Settings") as raised:
        Settings()
    failure = explain(raised.value)
    assert failure is not None
    assert [detail.split(":")[0] for detail in failure.details] == ["GRAB_SECRETS", "GRAB_WORKERS"]
    assert "short" not in "".join(failure.details)


def test_long_lists_are_cut_and_their_rest_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    failure = explain(CommandError("Much is wrong.", details=[f"point {number}" for number in range(25)]))
    assert failure is not None
    show(failure)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "grab: Much is wrong."
    assert said[-1] == "  - and 5 more"


def test_every_problem_that_has_words_here_is_in_the_catalogue() -> None:
    assert _OF_PROBLEMS.keys() <= CATALOGUE.keys()
