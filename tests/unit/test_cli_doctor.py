"""The doctor tells good settings and machines from bad ones."""

import resource
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from grab_service.doctor.configuration import look_at_settings, read_settings
from grab_service.doctor.finding import DoctorFinding
from grab_service.doctor.machine import look_at_machine
from grab_service.settings import Settings

GOOD = {"k1": SecretStr("ssss, of thirty-two letters or more")}
HOST = {"assertion_secret": SecretStr("a" * 32), "assertion_issuer": "host"}


def of_settings(**given: Any) -> dict[str, DoctorFinding]:
    sound = Settings(redis_url="redis://x", database_url="postgresql://x/y", secrets=GOOD)
    asked = sound.model_copy(update=given)  # also what is refused elsewhere, as a zone that only another machine knows
    return {finding.name: finding for finding in look_at_settings(asked)}


@pytest.mark.parametrize(
    ("given", "name", "state", "words"),
    [
        ({}, "settings", "ok", "cell district"),
        ({"redis_url": ""}, "settings", "fail", "REDIS_URL not set"),
        ({}, "secrets", "ok", "k1 signs"),
        ({"secrets": {}}, "secrets", "fail", "GRAB_SECRETS is not set"),
        ({"secrets": {"k1": SecretStr("s" * 16)}}, "secrets", "warn", "16 bytes"),
        ({"secrets": {f"k{number}": SecretStr("s" * 32) for number in range(3)}}, "secrets", "fail", "one or two"),
        ({}, "ops-secrets", "fail", "every call of ops is refused"),
        ({"dev": True}, "ops-secrets", "ok", "made of GRAB_SECRETS"),
        ({"ops_secrets": {"o1": SecretStr("o" * 32)}}, "ops-secrets", "ok", "o1 signs"),
        ({"ops_secrets": {"o1": SecretStr("o" * 16)}}, "ops-secrets", "warn", "16 bytes"),
        ({"ops_secrets": {f"o{number}": SecretStr(str(number) * 32) for number in range(3)}}, "secrets", "fail", "2 ops keys"),
        ({"dev": True}, "sign-in", "warn", "development mode"),
        ({}, "sign-in", "warn", "cannot sign in"),
        (HOST, "sign-in", "ok", "assertions of host for grab-service are taken"),
        (HOST | {"assertion_issuer": ""}, "sign-in", "fail", "GRAB_ASSERTION_ISSUER is not set: no member can sign in"),
        ({"assertion_jwks_file": Path("/no/such/file")}, "sign-in", "fail", "/no/such/file"),
        ({"time_zone": "Mars/Olympus"}, "time-zone", "warn", "Mars/Olympus"),
    ],
)
def test_settings_are_judged_and_what_is_wrong_comes_with_its_mend(
    given: dict[str, Any], name: str, state: str, words: str
) -> None:
    finding = of_settings(**given)[name]
    assert finding.state == state, finding
    assert words.replace("one or two", "between 1 and 2") in finding.found
    assert bool(finding.hint) is (state != "ok")
    assert "ssss" not in finding.found + finding.hint


def test_settings_that_cannot_be_used_are_named_and_the_others_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://here")
    monkeypatch.setenv("GRAB_WORKERS", "0")
    settings, error = read_settings()
    assert error is not None
    assert [problem["loc"] for problem in error.errors()] == [("workers",)]
    assert (settings.redis_url, settings.workers) == ("redis://here", 1)


@pytest.mark.parametrize(("hard", "state"), [(resource.RLIM_INFINITY, "ok"), (16_384, "ok"), (4_096, "warn"), (256, "fail")])
def test_few_open_files_are_said(monkeypatch: pytest.MonkeyPatch, hard: int, state: str) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (256, hard))
    found = {finding.name: finding for finding in look_at_machine(Settings())}
    assert found["open-files"].state == state


@pytest.mark.parametrize(("free_mib", "state"), [(100_000, "ok"), (1_000, "warn"), (100, "fail")])
def test_a_disk_that_fills_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free_mib: int, state: str) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=free_mib * 1024**2)
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: usage)
    found = {finding.name: finding for finding in look_at_machine(Settings(var_dir=tmp_path / "not" / "made" / "yet"))}
    assert found["disk"].state == state
    assert str(tmp_path) in found["disk"].found
