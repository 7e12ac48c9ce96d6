"""How long may a token of ops be good?"""

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from grab_service.cli.passes import app
from grab_service.settings import Settings

DAY_S = 24 * 3600


def test_no_token_of_ops_is_made_for_more_than_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings(ops_token_ttl_s=DAY_S).ops_token_ttl_s == DAY_S
    with pytest.raises(ValidationError):
        Settings(ops_token_ttl_s=DAY_S + 1)
    monkeypatch.setenv("GRAB_SECRETS", f"k1:{'s' * 32}")
    at_most, more = (CliRunner().invoke(app, ["ops", "alice", "--ttl-s", str(ttl_s)]) for ttl_s in (DAY_S, DAY_S + 1))
    assert at_most.exit_code == 0, at_most.output
    assert more.exit_code != 0
