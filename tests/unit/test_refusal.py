"""Failures of PostgreSQL that are answered `ledger-unavailable`, and bugs, which keep their traceback."""

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError

from grab_service.refusal import refusal_of


class SaidError(Exception):
    """The error of the driver."""

    def __init__(self, sqlstate: str | None) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


@pytest.mark.parametrize("sqlstate", ["08006", "53300", "53200", "57P01", "57014", "58030"])
def test_a_server_without_means_or_on_its_way_down_is_unavailable_whether_or_not_the_connection_lives(sqlstate: str) -> None:
    for invalidated in (False, True):
        refusal = refusal_of(DBAPIError("SELECT 1", {}, SaidError(sqlstate), connection_invalidated=invalidated))
        assert refusal is not None
        assert refusal.name == "ledger-unavailable"


@pytest.mark.parametrize("sqlstate", [None, "42703", "22001", "XX000"])
def test_a_lost_connection_is_unavailable_whatever_the_server_said_last(sqlstate: str | None) -> None:
    refusal = refusal_of(DBAPIError("SELECT 1", {}, SaidError(sqlstate), connection_invalidated=True))
    assert refusal is not None
    assert refusal.name == "ledger-unavailable"
    assert refusal_of(DBAPIError("SELECT 1", {}, SaidError(sqlstate), connection_invalidated=False)) is None


def test_what_a_constraint_refuses_is_a_bug() -> None:
    assert refusal_of(IntegrityError("INSERT", {}, SaidError("23505"))) is None
    assert refusal_of(ValueError("anything else")) is None
