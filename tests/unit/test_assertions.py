"""The validity of an assertion to the second, and the length of its id."""

from typing import Any

import jwt
import pytest
from pydantic import SecretStr, ValidationError

from grab_service.identity.assertions import (
    ASSERTION_MAX_BYTES,
    JTI_MAX,
    LEEWAY_S,
    LIFETIME_MAX_S,
    MOMENT_MAX_S,
    AssertionKeys,
    AssertionRefusedError,
)
from grab_service.settings import Settings

NOW_S = 1_800_000_000
SECRET = "the host app's secret, of as many bytes as the longest algorithm wants"
KEYS = AssertionKeys.read(Settings(assertion_issuer="host", assertion_secret=SecretStr(SECRET)))


def signed(**claims: Any) -> str:
    said = {"iss": "host", "aud": "grab-service", "sub": "m-1", "jti": "1", "iat": NOW_S, "exp": NOW_S + 60, **claims}
    return jwt.encode(said, SECRET, "HS256")


def is_good(assertion: str) -> bool:
    try:
        KEYS.verify(assertion, NOW_S)
    except AssertionRefusedError:
        return False
    return True


@pytest.mark.parametrize(
    ("claims", "good"),
    [
        ({"exp": NOW_S}, False),
        ({"exp": NOW_S + 1}, True),
        ({"iat": NOW_S + LEEWAY_S}, True),
        ({"iat": NOW_S + LEEWAY_S + 1}, False),
        ({"nbf": NOW_S + LEEWAY_S}, True),
        ({"nbf": NOW_S + LEEWAY_S + 1}, False),
        ({"exp": NOW_S + LIFETIME_MAX_S}, True),
        ({"exp": NOW_S + LIFETIME_MAX_S + 1}, False),
        ({"iat": NOW_S - LIFETIME_MAX_S + 1, "exp": NOW_S + 1}, True),
        ({"iat": NOW_S - LIFETIME_MAX_S, "exp": NOW_S + 1}, False),
        ({"nbf": 0}, True),
        ({"nbf": -1}, False),
        ({"nbf": True}, False),
        ({"nbf": MOMENT_MAX_S + 1}, False),
        ({"iat": -1}, False),
        ({"iat": True}, False),
        ({"exp": float("nan")}, False),
        ({"exp": str(NOW_S + 60)}, False),
        ({"jti": ""}, False),
        ({"jti": "j" * JTI_MAX}, True),
        ({"jti": "j" * (JTI_MAX + 1)}, False),
        ({"jti": "a\n"}, False),
    ],
)
def test_each_bound_to_the_second_and_the_letter(claims: dict[str, Any], good: bool) -> None:
    assert is_good(signed(**claims)) is good


def test_an_assertion_may_be_as_long_as_the_bound() -> None:
    by_length = {len(text): text for text in (signed(note="n" * count) for count in range(5900, 6100))}
    lengths = sorted(by_length)
    at_most = max(length for length in lengths if length <= ASSERTION_MAX_BYTES)
    more = min(length for length in lengths if length > ASSERTION_MAX_BYTES)
    assert at_most == ASSERTION_MAX_BYTES, lengths
    assert [is_good(by_length[length]) for length in (at_most, more)] == [True, False]


def test_a_secret_has_enough_bytes() -> None:
    assert AssertionKeys.read(Settings(assertion_secret=SecretStr(SECRET[:32]))).secret
    with pytest.raises(ValidationError, match="32 bytes"):
        Settings(assertion_secret=SecretStr(SECRET[:31]))
