"""How long may a token of ops be good?"""

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from grab_service.cli.passes import app
from grab_service.settings import Settings
from grab_service.vocabulary.passes import CLOCKS_APART_S, OpsIdentity, PassKeys, PassRefusal, Role, mint_ops, verify_ops

DAY_S = 24 * 3600


def test_no_token_of_ops_is_made_for_more_than_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings(ops_token_ttl_s=DAY_S).ops_token_ttl_s == DAY_S
    with pytest.raises(ValidationError):
        Settings(ops_token_ttl_s=DAY_S + 1)
    monkeypatch.setenv("GRAB_SECRETS", f"k1:{'s' * 32}")
    at_most, more = (CliRunner().invoke(app, ["ops", "alice", "--ttl-s", str(ttl_s)]) for ttl_s in (DAY_S, DAY_S + 1))
    assert at_most.exit_code == 0, at_most.output
    assert more.exit_code != 0


def test_a_token_that_says_it_lives_longer_is_refused_whoever_made_it() -> None:
    keys, now_s = PassKeys.build("district", [("k1", b"s" * 32)]), 1_800_000_000
    good, more = (mint_ops(keys, "alice", Role.ADMIN, now_s + ttl_s).encode() for ttl_s in (DAY_S, DAY_S + CLOCKS_APART_S + 1))
    assert isinstance(verify_ops(keys, good, now_s), OpsIdentity)
    assert verify_ops(keys, more, now_s) is PassRefusal.INVALID
