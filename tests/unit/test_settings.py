"""A setting means the same in every file format and template, and no secret is shown."""

import base64
import os
import secrets
from hashlib import sha256
from pathlib import Path

import pytest
from pydantic import ValidationError

from grab_service.secret_texts import weakness
from grab_service.settings import SECRET_FIELDS, Settings, settings_errors, unknown_variables, variable_of

SECRET = "a secret that nobody may see, long enough".replace(",", "")
VARIABLES = {
    name: name.upper() if name in {"redis_url", "database_url"} else f"GRAB_{name.upper()}" for name in Settings.model_fields
}


def test_an_empty_variable_is_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    unset = Settings()
    for variable in VARIABLES.values():
        monkeypatch.setenv(variable, "")
    assert Settings() == unset


WRITTEN = ("redis_url", "database_url", "host", "assertion_issuer", "assertion_secret", "secrets", "port")


@pytest.mark.parametrize("name", WRITTEN)
def test_white_space_around_a_value_is_no_part_of_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = {
        "secrets": f"k1:{SECRET},k2:{SECRET} too",
        "assertion_secret": SECRET,
        "port": "8123",
        "database_url": "postgresql://u:p@there/grab",
    }.get(name, "redis://:password@there:6379/0")
    monkeypatch.setenv(VARIABLES[name], plain)
    expected = getattr(Settings(), name)
    spaced = plain.replace(",", " ,\n ")
    for around in (f"{spaced}\n", f" {spaced}", f"\t{spaced} \r\n"):
        monkeypatch.setenv(VARIABLES[name], around)
        assert getattr(Settings(), name) == expected


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GRAB_SECRETS", SECRET),
        ("GRAB_SECRETS", f"k 1:{SECRET}"),
        ("GRAB_OPS_SECRETS", f"o1:{SECRET},o2"),
        ("GRAB_SECRETS", f"k1:{SECRET},k1:{SECRET} too"),
        ("GRAB_PORT", SECRET),
        ("GRAB_DEV", SECRET),
    ],
)
def test_what_was_given_stands_in_no_error(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    for said in (str(caught.value), repr(caught.value)):
        assert "nobody may see" not in said
        assert variable.removeprefix("GRAB_").lower() in said


def test_a_zone_that_nobody_knows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAB_TIME_ZONE", "Europe/Berlin")
    assert Settings().time_zone == "Europe/Berlin"
    for wrong in ("Beijing", "asia/shanghai", "../../etc/passwd", "UTC+8"):
        monkeypatch.setenv("GRAB_TIME_ZONE", wrong)
        with pytest.raises(ValidationError, match="no time zone that this machine knows"):
            Settings()


SECRET_VARIABLES = {variable_of((name,)) for name in SECRET_FIELDS}
GIVEN = {
    "REDIS_URL": "redis://:of-redis@there:6379/0",
    "GRAB_GUARD_REDIS_URL": "redis://guard:of-guard@there:6379/0",
    "DATABASE_URL": "postgresql://me:of-postgres@there/grab",
    "GRAB_SECRETS": f"k1:{SECRET}",
    "GRAB_OPS_SECRETS": f"o1:{SECRET} of ops",
}


def test_every_secret_can_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = {variable: sha256(variable.encode()).hexdigest() for variable in SECRET_VARIABLES} | GIVEN
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    by_variables = Settings()
    for variable, value in given.items():
        path = tmp_path / variable
        path.write_text(f"{value}\n")
        monkeypatch.delenv(variable)
        monkeypatch.setenv(f"{variable}_FILE", str(path))
    assert Settings() == by_variables
    assert Settings().model_fields_set == by_variables.model_fields_set
    assert unknown_variables(os.environ) == []


@pytest.mark.parametrize("variable", sorted(SECRET_VARIABLES))
def test_a_file_that_cannot_be_used_is_named_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    def refusal(path: Path) -> str:
        monkeypatch.setenv(f"{variable}_FILE", str(path))
        with pytest.raises(ValidationError) as refused:
            Settings()
        (line,) = settings_errors(refused.value)
        assert line.startswith(f"{variable}: {variable}_FILE "), line
        return line

    path = tmp_path / "secret"
    assert "No such file" in refusal(path)
    assert "Is a directory" in refusal(tmp_path)
    path.write_bytes(b" \n")
    assert "is empty" in refusal(path)
    path.write_bytes(b"\xff\xfe")
    assert "no text in UTF-8" in refusal(path)
    path.write_bytes(b"x" * 20_000)
    assert "is too large" in refusal(path)
    monkeypatch.setenv(variable, GIVEN.get(variable, SECRET))
    assert "set one of the two" in refusal(path)


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ("$(openssl rand -hex 32)", "template"),
        ("${GRAB_SECRET_OF_THE_VAULT}", "template"),
        ("$GRAB_SECRET_OF_THE_VAULT", "template"),
        ("<your 32 characters here>", "template"),
        ("{{ vault.grab.secret.of.passes }}", "template"),
        ("`openssl rand -hex 32`", "template"),
        ("prefix-${SUFFIX}-0123456789", "template"),
        ("change-me-change-me-change-me-32", "everybody knows"),
        ("CHANGEME0123456789abcdef01234567", "everybody knows"),
        ("my_super_secret_key_0123456789ab", "everybody knows"),
        ("password-password-2026-0123456789", "everybody knows"),
        ("your-secret-here-0123456789abcde", "everybody knows"),
        ("x" * 32, "repeated"),
        ("abcd" * 8, "repeated"),
        ("0123456701234567012345670123456", "repeated"),
        ("aabbaabababbbabababbabababaaabba", "repeated"),
    ],
)
def test_a_secret_that_anybody_could_guess_is_refused_by_its_kind(
    monkeypatch: pytest.MonkeyPatch, secret: str, why: str
) -> None:
    given = {"GRAB_SECRETS": f"k1:{secret}", "GRAB_OPS_SECRETS": f"o1:{secret}", "GRAB_API_PASSWORD": secret}
    for variable, value in given.items() if len(secret) < 32 else (given | {"GRAB_ASSERTION_SECRET": secret}).items():
        monkeypatch.setenv(variable, value)
        with pytest.raises(ValidationError, match=why) as refused:
            Settings()
        assert secret not in "".join(settings_errors(refused.value))
        monkeypatch.delenv(variable)


def test_good_secrets_of_all_kinds_are_taken() -> None:
    for made in (secrets.token_hex, secrets.token_urlsafe, lambda count: base64.b64encode(secrets.token_bytes(count)).decode()):
        for _ in range(300):
            assert weakness(made(16)) is None
            assert weakness(made(32)) is None
    assert weakness("correct horse battery staple") is None
    assert weakness("the password of the service, 4711") is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("GRAB_SECRETS", "GRAB_OPS_SECRETS"),
        ("GRAB_SECRETS", "GRAB_ASSERTION_SECRET"),
        ("GRAB_OPS_SECRETS", "GRAB_ASSERTION_SECRET"),
        ("GRAB_API_PASSWORD", "GRAB_LEDGER_PASSWORD"),
        ("GRAB_GUARD_PASSWORD", "GRAB_OWNER_PASSWORD"),
    ],
)
def test_a_secret_that_is_used_for_two_purposes_is_refused(monkeypatch: pytest.MonkeyPatch, first: str, second: str) -> None:
    for variable in (first, second):
        monkeypatch.setenv(variable, f"k1:{SECRET}" if variable.endswith("SECRETS") else SECRET)
    with pytest.raises(ValidationError) as refused:
        Settings()
    (line,) = settings_errors(refused.value)
    assert line == f"{second}: a secret of {first} stands there as well; each needs secrets of its own"


def test_one_secret_under_two_ids_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAB_SECRETS", f"k1:{SECRET},k2:{SECRET}")
    with pytest.raises(ValidationError, match="stands there twice"):
        Settings()


def test_a_variable_that_nobody_knows_is_named_with_what_was_meant() -> None:
    names = ("GRAB_SECRET", "GRAB_WORKER", "GRAB_FLUX", "GRAB_PORT", "GRAB_SECRETS_FILE", "PATH")
    assert unknown_variables(dict.fromkeys(names, "1")) == [
        "GRAB_FLUX is no setting; it has no effect.",
        "GRAB_SECRET is no setting; did you mean GRAB_SECRETS?",
        "GRAB_WORKER is no setting; did you mean GRAB_WORKERS?",
    ]
