"""Checks that the settings are complete and safe."""

import os
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.request import getproxies_environment
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import SecretStr, ValidationError

from grab_service.doctor.finding import DoctorFinding, fail, ok, unseen, warn
from grab_service.doctor.standpoint import IN_THE_SERVICE, Standpoint
from grab_service.identity.assertions import AssertionKeys
from grab_service.settings import SECRET_LENGTH_MIN, Settings, unknown_variables

SECRET_BYTES_GOOD: Final = 32
SECRETS_NEW: Final = "`grab secrets new GRAB_SECRETS`"
OPS_SECRETS_NEW: Final = "`grab secrets new GRAB_OPS_SECRETS`"


def unusable_fields(error: ValidationError | None) -> frozenset[str]:
    """The fields that an error of the settings names."""
    return frozenset() if error is None else frozenset(_field_of(problem["loc"]) for problem in error.errors())


def read_settings() -> tuple[Settings, ValidationError | None]:
    """The settings of the environment; those that cannot be used are left at their defaults, and the error names them."""
    try:
        return Settings(), None
    except ValidationError as error:
        defaults: dict[str, Any] = {name: Settings.model_fields[name].get_default() for name in unusable_fields(error)}
        return Settings(**defaults), error


def _field_of(location: tuple[int | str, ...]) -> str:
    """`redis_url` is also read from a variable without our prefix, whose name then stands in the error."""
    return str(location[0]).lower().removeprefix("grab_")


def look_at_settings(
    settings: Settings, unusable: frozenset[str] = frozenset(), standpoint: Standpoint = Standpoint.ALL_IN_ONE
) -> Iterator[DoctorFinding]:
    """Findings about the usable settings; those that only the service needs are demanded only there."""
    missing = [
        variable
        for variable in ("REDIS_URL", "DATABASE_URL")
        if not getattr(settings, variable.lower()) and variable.lower() not in unusable
    ]
    if missing:
        hint = "Set them to the servers' addresses, or start `grab run` in this directory, whose servers are found."
        yield fail("settings", f"{' and '.join(missing)} not set", hint)
    elif not unusable:
        yield ok("settings", f"cell {settings.cell}, {settings.workers} worker(s), port {settings.port}")
    if not standpoint.serves and not settings.secrets and "secrets" not in unusable:
        yield unseen("secrets", f"none here, and {standpoint.value} needs none; {IN_THE_SERVICE}")
        yield unseen("sign-in", f"{standpoint.value} signs nobody in; {IN_THE_SERVICE}")
    else:
        if not unusable & {"secrets", "ops_secrets"}:
            yield from _secrets(settings)
        yield from _assertions(settings)
    if "signing_keys_file" not in unusable:
        yield _signing_keys(settings, standpoint)
    yield from _time_zone(settings.time_zone)
    yield from _unknown(os.environ)
    yield from _proxies(getproxies_environment())


def _secrets(settings: Settings) -> Iterator[DoctorFinding]:
    if not settings.secrets:
        hint = f"{SECRETS_NEW} makes one, the same for every process of the service."
        yield fail("secrets", "GRAB_SECRETS is not set: no pass can be made or read", hint)
        return
    try:
        settings.pass_keys()
    except ValueError as error:
        yield fail("secrets", str(error), f"{SECRETS_NEW} and {OPS_SECRETS_NEW} make good ones; two keys each at most.")
        return
    yield _lengths("secrets", settings.secrets, SECRETS_NEW)
    if settings.ops_secrets:
        yield _lengths("ops-secrets", settings.ops_secrets, OPS_SECRETS_NEW)
    elif settings.dev:
        yield ok("ops-secrets", "none; in development mode they are made of GRAB_SECRETS")
    else:
        hint = f"{OPS_SECRETS_NEW} makes one, the same for every process of the service."
        yield fail("ops-secrets", "GRAB_OPS_SECRETS is not set: every call of ops is refused", hint)


def _lengths(name: str, keys: dict[str, SecretStr], maker: str) -> DoctorFinding:
    shortest = min(len(secret.get_secret_value().encode()) for secret in keys.values())
    found = f"{len(keys)} key(s), {next(iter(keys))} signs; the shortest secret has {shortest} bytes"
    if shortest < SECRET_BYTES_GOOD:
        hint = f"At least {SECRET_LENGTH_MIN} are needed, {SECRET_BYTES_GOOD} random ones are good; {maker} makes one."
        return warn(name, found, hint)
    return ok(name, found)


def _assertions(settings: Settings) -> Iterator[DoctorFinding]:
    try:
        keys = AssertionKeys.read(settings)
    except (ValueError, OSError) as error:
        hint = "Mend GRAB_ASSERTION_JWKS_FILE."
        yield fail("sign-in", f"assertions of the host app cannot be checked: {error}", hint)
        return
    if settings.dev:
        hint = "Never in production: every caller may act as any member. Unset GRAB_DEV there."
        yield warn("sign-in", "development mode: sessions without an assertion", hint)
    elif not keys.secret and not keys.public.by_name:
        hint = "Set GRAB_ASSERTION_SECRET, or GRAB_ASSERTION_JWKS_FILE with the host app's public keys."
        yield warn("sign-in", "members cannot sign in: whose assertions are genuine is not known", hint)
    elif not keys.issuer:
        hint = "Set GRAB_ASSERTION_ISSUER to what the host app writes as `iss`: without it every assertion is refused."
        yield fail("sign-in", "GRAB_ASSERTION_ISSUER is not set: no member can sign in", hint)
    else:
        found = f"assertions of {keys.issuer} for {keys.audience} are taken"
        if keys.public.passed_over:
            hint = "Take them out of GRAB_ASSERTION_JWKS_FILE, or mend them; the others are used."
            yield warn("sign-in", f"{found}; passed over: {'; '.join(keys.public.passed_over)}", hint)
        else:
            yield ok("sign-in", found)


def _signing_keys(settings: Settings, standpoint: Standpoint) -> DoctorFinding:
    """Whether the ledger can sign checkpoints, and the service show the keys; an unusable file is an unusable setting."""
    name, keys = "signing-keys", settings.signing_keys()
    if settings.signing_keys_file is None and settings.dev:
        return ok(name, "none; in development mode one is made of GRAB_SECRETS")
    if standpoint is Standpoint.ADMIN and not keys.public:
        return unseen(name, f"none here, and an admin needs none; {IN_THE_SERVICE}")
    if not keys.public:
        hint = "`grab secrets key FILE` makes one; set GRAB_SIGNING_KEYS_FILE for the ledger and the service."
        return fail(name, "GRAB_SIGNING_KEYS_FILE is not set: no checkpoint of the log is signed, or none can be checked", hint)
    if keys.private is None and standpoint is not Standpoint.SERVICE:
        hint = "The ledger needs the file that `grab secrets key` has written; copies without `d` are for the service."
        return fail(name, f"{len(keys.public)} public key(s) and no private one: nothing can be signed", hint)
    return ok(name, f"{len(keys.public)} key(s), {f'{keys.kid} signs' if keys.kid else 'public ones alone'}")


def _unknown(environ: Mapping[str, str]) -> Iterator[DoctorFinding]:
    if sentences := unknown_variables(environ):
        yield warn("unknown-settings", " ".join(sentences), "Mend the name, or take it out of the environment.")


def _proxies(proxies: Mapping[str, str]) -> Iterator[DoctorFinding]:
    if proxies:
        # Nobody of ours asks anybody by HTTP but on this machine.
        named = ", ".join(f"{kind}_proxy" for kind in sorted(proxies))
        yield ok("proxy", f"the environment names a proxy ({named}); no program here goes through it")


def _time_zone(name: str) -> Iterator[DoctorFinding]:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        hint = (
            "Mend GRAB_TIME_ZONE, or install the system's tzdata: days of birth months and reports are days of the cell's zone."
        )
        yield warn("time-zone", f"this machine does not know {name}", hint)
