"""Assertions of the host app about the identity of a caller.

It signs a short-lived assertion (JWT): by a shared secret (HS256), or by a key whose public half stands in a JWKS file (EdDSA,
ES256). Which algorithms are taken follows from what was configured, never from what the assertion says of itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt

from grab_service.identity.jwks import NO_KEYS, Jwks, VerifyingKey
from grab_service.settings import Settings

LIFETIME_MAX_S: Final = 300
LEEWAY_S: Final = 5
MOMENT_MAX_S: Final = 99_999_999_999
ASSERTION_MAX_BYTES: Final = 8192
JTI_MAX: Final = 200
_REQUIRED: Final = ("exp", "iat", "sub", "jti", "aud", "iss")


class AssertionRefusedError(Exception):
    """The assertion is not one that we take; the message says why, without a word of it."""


@dataclass(frozen=True, slots=True)
class AssertionKeys:
    """The issuer, audience and keys of accepted assertions."""

    issuer: str
    audience: str
    secret: str
    public: Jwks = NO_KEYS

    @classmethod
    def read(cls, settings: Settings) -> "AssertionKeys":
        """From the settings and the JWKS file that they name.

        Raises:
            ValueError: the file holds what cannot be used.
            OSError: the file cannot be read.
        """
        secret = settings.assertion_secret.get_secret_value()
        public = Jwks.read(settings.assertion_jwks_file) if settings.assertion_jwks_file is not None else NO_KEYS
        return cls(settings.assertion_issuer, settings.assertion_audience, secret, public)

    def verify(self, assertion: str, now_s: float) -> dict[str, Any]:
        """The claims of an assertion that is genuine, for us and in time.

        Raises:
            AssertionRefusedError: it is not, or none is taken at all.
        """
        if len(assertion) > ASSERTION_MAX_BYTES:
            raise AssertionRefusedError("too long")
        if not self.issuer:
            raise AssertionRefusedError("no issuer is configured")
        key = self._key_of(assertion)
        try:
            claims: dict[str, Any] = jwt.decode(
                assertion,
                key.key,
                algorithms=[key.algorithm],
                issuer=self.issuer,
                audience=self.audience,
                # Times are checked below, by the clock of the cell.
                options={"require": list(_REQUIRED), "verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
        except jwt.InvalidTokenError as error:
            raise AssertionRefusedError(type(error).__name__) from error
        _check_times(claims, now_s)
        if not isinstance(claims["jti"], str) or not 1 <= len(claims["jti"]) <= JTI_MAX or not claims["jti"].isprintable():
            raise AssertionRefusedError("jti")
        return claims

    def _key_of(self, assertion: str) -> VerifyingKey:
        try:
            header = jwt.get_unverified_header(assertion)
        except jwt.InvalidTokenError as error:
            raise AssertionRefusedError(type(error).__name__) from error
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm == "HS256" and self.secret:
            return VerifyingKey("HS256", self.secret)
        key = self.public.find(str(algorithm), kid) if kid is None or isinstance(kid, str) else None
        if key is None:
            raise AssertionRefusedError("unknown key")
        return key


def _check_times(claims: Mapping[str, Any], now_s: float) -> None:
    expires_at_s, issued_at_s, not_before_s = claims["exp"], claims["iat"], claims.get("nbf", 0)
    for moment in (expires_at_s, issued_at_s, not_before_s):
        if isinstance(moment, bool) or not isinstance(moment, int | float):
            raise AssertionRefusedError("a time is no number")
        # Neither is NaN, which JSON of some makers holds, and which is on neither side of any bound.
        if not 0 <= moment <= MOMENT_MAX_S:
            raise AssertionRefusedError("a time is out of all bounds")
    if expires_at_s <= now_s:
        raise AssertionRefusedError("expired")
    if max(issued_at_s, not_before_s) > now_s + LEEWAY_S:
        raise AssertionRefusedError("not valid yet")
    if expires_at_s - issued_at_s > LIFETIME_MAX_S:
        raise AssertionRefusedError("lives too long")
