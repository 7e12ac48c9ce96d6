"""Does a setting mean the same, however a file or a template has written it down, and is no secret shown?"""

import pytest
from pydantic import ValidationError

from grab_service.settings import Settings

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
    plain = {"secrets": f"k1:{SECRET},k2:{SECRET} too", "port": "8123", "database_url": "postgresql://u:p@there/grab"}.get(
        name, "redis://:password@there:6379/0"
    )
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
