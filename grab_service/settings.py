"""All settings, with the bounds of every loop, pool, queue, body and wait.

Read once, where a process is built; nothing below that place looks at the environment.
"""

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final
from zoneinfo import available_timezones

from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from grab_service.addresses import AddressError, PostgresAddress, RedisAddress, masked
from grab_service.secret_texts import weakness
from grab_service.signing import SigningKeys
from grab_service.vocabulary.durability import Durability
from grab_service.vocabulary.keys import DEFAULT_CELL
from grab_service.vocabulary.passes import OPS_TTL_MAX_S, PassKeys

SECRET_LENGTH_MIN: Final = 16
ASSERTION_SECRET_BYTES_MIN: Final = 32
SECRET_FILE_MAX_BYTES: Final = 16 * 1024
USED_ELSEWHERE: Final = frozenset(
    {"GRAB_CAMPAIGN", "GRAB_FAULT_ROUNDS", "GRAB_FAULT_SEED", "GRAB_MACHINE", "GRAB_MUTANTS", "GRAB_OPS_TOKEN", "GRAB_RECIPES"}
)
"""Variables of the load testers' tools and of the tests, which may stand beside the settings."""

_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?")
_DEFAULT_PORTS: Final = (":80", ":443")


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """Stands for the value of a setting whose file cannot be used; refused when the settings are checked."""

    why: str


class _SecretFiles(PydanticBaseSettingsSource):
    """`NAME_FILE` names a file that holds the value of `NAME`, for every setting that is secret or holds a password."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        variable = variable_of((field_name,))
        key = variable if field.validation_alias is not None else field_name
        path = os.environ.get(f"{variable}_FILE", "").strip()
        return (_content(path, variable) if path else None), key, False

    def __call__(self) -> dict[str, Any]:
        found = (self.get_field_value(self.settings_cls.model_fields[name], name) for name in SECRET_FIELDS)
        return {key: value for value, key, _ in found if value is not None}


def _content(path: str, variable: str) -> str | _Unreadable:
    if os.environ.get(variable, "").strip():
        return _Unreadable(f"{variable}_FILE is set as well; set one of the two")
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(SECRET_FILE_MAX_BYTES + 1).decode().strip()
    except OSError as error:
        return _Unreadable(f"{variable}_FILE names {path[:200]!r}, which cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        return _Unreadable(f"{variable}_FILE names {path[:200]!r}, which is no text in UTF-8")
    if not content or len(content) > SECRET_FILE_MAX_BYTES:
        return _Unreadable(f"{variable}_FILE names {path[:200]!r}, which is {'too large' if content else 'empty'}")
    return content


SECRETS: Final = (
    "secrets",
    "ops_secrets",
    "assertion_secret",
    "api_password",
    "ledger_password",
    "guard_password",
    "owner_password",
)


class Settings(BaseSettings):
    """From the environment: `GRAB_…`, and `REDIS_URL`, `DATABASE_URL` by those names.

    A variable that is empty counts as unset, and white space around a value is no part of it: files and templates leave both.
    What was given stands in no error, for it may be a secret. Each of `SECRET_FIELDS` can stand in a file that `…_FILE` names.
    """

    model_config = SettingsConfigDict(
        env_prefix="GRAB_",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    redis_url: str = Field(default="", validation_alias=AliasChoices("REDIS_URL", "GRAB_REDIS_URL", "redis_url"))
    database_url: str = Field(default="", validation_alias=AliasChoices("DATABASE_URL", "GRAB_DATABASE_URL", "database_url"))
    guard_redis_url: str = Field(default="", description="for the ledger's guard, as a user of its own; REDIS_URL if empty")
    cell: str = Field(default=DEFAULT_CELL, pattern=r"^[A-Za-z0-9_-]{1,32}$")
    var_dir: Path = Path("var")
    dev: bool = Field(default=False, description="development mode: sessions without an assertion; never in production")
    secrets: Annotated[dict[str, SecretStr], NoDecode] = Field(
        default={}, description="kid:secret,…; the first signs passes, all verify"
    )
    ops_secrets: Annotated[dict[str, SecretStr], NoDecode] = Field(
        default={}, description="kid:secret,…; the first signs ops tokens, all verify; never those of `secrets`"
    )
    signing_keys_file: Path | None = Field(default=None, description="Ed25519 keys as a JWK set; the first private one signs")
    time_zone: str = "Asia/Shanghai"
    loading_file: Path | None = Field(default=None, description="while this file is there, `/readyz` is 503: data is loaded")

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    probes_port: int | None = Field(default=None, ge=1, le=65535, description="where probes and scrapers are answered as well")
    workers: int = Field(default=1, ge=1, le=64)
    backlog: int = Field(default=4096, ge=128)
    connections_max: int = Field(default=20_000, ge=1, description="per worker; more are turned away with 503")
    fast_lane: bool = Field(default=True, description="answer plain grabs below ASGI; off only to compare")
    ordinary_max: int = Field(default=64, ge=1, description="calls but grabs at work at once, per worker; more are turned away")
    hsts_s: int = Field(default=0, ge=0, le=63_072_000, description="browsers come back by HTTPS only, so long; 0: not said")
    cors_origins: str = Field(default="", description="origins whose pages may call, with commas between; exactly these")
    keep_alive_s: int = Field(default=75, ge=1)
    drain_s: float = Field(default=5.0, ge=0, le=60, description="idle connections of a worker that ends stay open so long")
    body_max_bytes: int = Field(default=64 * 1024, ge=1024, description="of any call but imports")
    import_max_bytes: int = Field(default=64 * 1024 * 1024, ge=1024, description="of a CSV of members or codes")

    pass_ttl_s: int = Field(default=12 * 3600, ge=60)
    ops_token_ttl_s: int = Field(default=8 * 3600, ge=60, le=OPS_TTL_MAX_S)
    assertion_issuer: str = ""
    assertion_audience: str = "grab-service"
    assertion_secret: SecretStr = SecretStr("")
    assertion_jwks_file: Path | None = None

    batch_max: int = Field(default=256, ge=1, le=512, description="members in one script call")
    batches_in_flight_max: int = Field(default=4, ge=1, le=64, description="script calls under way, per worker")
    waiting_max: int = Field(default=20_000, ge=1, description="grabs waiting in one worker; more are told overloaded")
    grab_deadline_s: float = Field(default=2.0, gt=0, le=30)
    view_poll_s: float = Field(default=0.01, gt=0, le=1)
    view_age_max_s: float = Field(default=0.05, gt=0, le=0.05, description="the contract allows no older view")
    rate_burst: int = Field(default=100, ge=1, description="grabs of one member in one window and worker")
    rate_window_s: float = Field(default=10.0, gt=0)

    sql_connections_max: int = Field(default=5, ge=1, le=100)
    redis_timeout_s: float = Field(default=2.0, gt=0, le=30)
    durability: Durability = Field(
        default=Durability.DISK, description="disk, replicas or record: what has a claim before anybody is told of it"
    )
    replicas_min: int = Field(
        default=0, ge=0, le=8, validate_default=True, description="replicas that have a claim before anybody is told of it"
    )
    replica_wait_s: float = Field(
        default=0.5, gt=0, le=1, description="seconds to wait for replicas before answering 503 outcome-unknown"
    )

    drain_entries_max: int = Field(default=512, ge=1, le=10_000, description="entries of the log in one transaction")
    drain_rows_max: int = Field(default=8192, ge=512, le=100_000, description="claims in one transaction, about")
    guard_interval_s: float = Field(default=0.1, gt=0, le=0.2, description="how often the ledger looks at Redis' scripts")
    sweep_interval_s: float = Field(default=0.5, gt=0, le=60)
    log_retention_h: float = Field(default=24.0, gt=0, description="a drained entry stays in the log at least so long")
    deep_audit_interval_s: float = Field(default=300.0, gt=0, description="between two audits in the background")
    ledger_metrics_port: int | None = Field(default=None, ge=1, le=65535, description="none: the ledger shows no metrics")

    api_password: SecretStr = Field(default=SecretStr(""), description="for `grab provision` alone, as the next three")
    ledger_password: SecretStr = SecretStr("")
    guard_password: SecretStr = SecretStr("")
    owner_password: SecretStr = Field(default=SecretStr(""), description="if the tables are to belong to a role of their own")

    @property
    def redis_url_of_guard(self) -> str:
        """Address with the user that may load scripts and rebuild the cell."""
        return self.guard_redis_url or self.redis_url

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """Origins whose pages may call."""
        return tuple(origin.strip() for origin in self.cors_origins.split(",") if origin.strip())

    def pass_keys(self) -> PassKeys:
        """The keys of members' passes and of ops tokens.

        In development mode without ops keys, they are made from those of the passes: there anybody gets any token anyway.

        Raises:
            ValueError: there are none or too many, or one cannot be used.
        """
        keys = _as_bytes(self.secrets)
        ops_keys = _as_bytes(self.ops_secrets)
        if self.dev and not ops_keys:
            ops_keys = [(kid, sha256(b"ops tokens of development\0" + secret).digest()) for kid, secret in keys]
        return PassKeys.build(self.cell, keys, ops_keys)

    def signing_keys(self) -> SigningKeys:
        """The keys of checkpoints and whatever else everybody can check; in development mode without a file, made of `secrets`.

        Raises:
            SigningKeysError: the file cannot be used.
        """
        if self.signing_keys_file is not None:
            return SigningKeys.read(self.signing_keys_file)
        if not self.dev or not self.secrets:
            return SigningKeys()
        secret = next(iter(self.secrets.values())).get_secret_value().encode()
        return SigningKeys.of_seed(sha256(b"signing keys of development\0" + secret).digest(), "development")

    @field_validator("redis_url", "guard_redis_url", "database_url")
    @classmethod
    def _readable_address(cls, value: str, info: ValidationInfo) -> str:
        read = PostgresAddress.parse if info.field_name == "database_url" else RedisAddress.parse
        try:
            if value:
                read(value)
        except AddressError as error:
            raise ValueError(f"{masked(value)[:200]} cannot be used: {error}") from None
        return value

    @field_validator("replicas_min")
    @classmethod
    def _replicas_to_wait_for(cls, value: int, info: ValidationInfo) -> int:
        if info.data.get("durability") is Durability.REPLICAS and not value:
            raise ValueError("GRAB_DURABILITY=replicas needs the number of replicas here, at least 1")
        return value

    @field_validator("signing_keys_file")
    @classmethod
    def _readable_keys(cls, value: Path | None) -> Path | None:
        if value is not None:
            SigningKeys.read(value)
        return value

    @field_validator("cors_origins")
    @classmethod
    def _exact_origins(cls, value: str) -> str:
        for origin in (part.strip() for part in value.split(",") if part.strip()):
            if not _ORIGIN.fullmatch(origin) or origin.endswith(_DEFAULT_PORTS[origin.startswith("https:")]):
                raise ValueError(
                    f"{origin[:100]!r} is no origin as a browser writes it, such as https://h5.example or http://localhost:5173"
                )
        return value

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        zones = available_timezones()
        if zones and value not in zones:  # a slim system knows none at all; `grab doctor` says so
            raise ValueError(f"{value[:64]!r} is no time zone that this machine knows, such as Asia/Shanghai")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Values given in the program, then files of secrets, then variables; no `.env`, and no folder of secrets."""
        del dotenv_settings, file_secret_settings
        return init_settings, _SecretFiles(settings_cls), env_settings

    @field_validator("secrets", "ops_secrets", mode="before")
    @classmethod
    def _split_secrets(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [part.strip().split(":", 1) for part in value.split(",") if part.strip()]
        if any(len(pair) != 2 or not pair[0].isalnum() for pair in pairs):
            raise ValueError("write kid:secret, two of them with a comma between at most")
        keys = dict(pairs)
        if len(keys) < len(pairs):
            raise ValueError("a key id stands twice; give each secret an id of its own")
        return keys

    @field_validator("*", mode="before")
    @classmethod
    def _without_space_around(cls, value: object) -> object:
        if isinstance(value, _Unreadable):
            raise ValueError(value.why)  # noqa: TRY004 -- what pydantic wants
        return value.strip() if isinstance(value, str) else value

    @field_validator("assertion_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value().encode()) < ASSERTION_SECRET_BYTES_MIN:
            raise ValueError(f"it has less than {ASSERTION_SECRET_BYTES_MIN} bytes; `grab secrets new` makes good ones")
        return value

    @field_validator(*SECRETS)
    @classmethod
    def _fit_to_be_secret(cls, value: Any, info: ValidationInfo) -> Any:
        mine = list(_secrets_in(value))
        for secret in mine:
            if info.field_name in {"secrets", "ops_secrets"} and len(secret) < SECRET_LENGTH_MIN:
                raise ValueError(f"write kid:secret with a secret of at least {SECRET_LENGTH_MIN} characters")
            if why := weakness(secret):
                raise ValueError(f"a secret there cannot be used: {why}; `grab secrets new` makes good ones")
        if len(set(mine)) < len(mine):
            raise ValueError("the same secret stands there twice; each key needs its own")
        for name in SECRETS:
            if name != info.field_name and set(mine) & set(_secrets_in(info.data.get(name))):
                raise ValueError(f"a secret of {variable_of((name,))} stands there as well; each needs secrets of its own")
        return value


SECRET_FIELDS: Final = ("redis_url", "guard_redis_url", "database_url", *SECRETS)
"""Each of these can stand in a file: its variable with `_FILE` behind it names it."""


def _secrets_in(value: Any) -> Iterator[str]:
    """The secret parts of a value of the settings, of any kind."""
    for secret in value.values() if isinstance(value, dict) else [value]:
        if isinstance(secret, SecretStr) and secret.get_secret_value():
            yield secret.get_secret_value()


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that looks like one of ours and is none: a misspelt setting is in force nowhere."""
    fields = [variable_of((name,)) for name in Settings.model_fields]
    files = [f"{variable_of((name,))}_FILE" for name in SECRET_FIELDS]
    known = {*fields, *files, *USED_ELSEWHERE, "GRAB_REDIS_URL", "GRAB_DATABASE_URL"}
    sentences = []
    for name in sorted(environ):
        if name.upper().startswith("GRAB_") and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.8)
            sentences.append(f"{name[:80]} is no setting" + (f"; did you mean {near[0]}?" if near else "; it has no effect."))
    return sentences


def _as_bytes(secrets: Mapping[str, SecretStr]) -> list[tuple[str, bytes]]:
    return [(kid, secret.get_secret_value().encode()) for kid, secret in secrets.items()]


def settings_errors(error: ValidationError) -> list[str]:
    """One line a setting, by the name of its variable."""
    return [f"{variable_of(problem['loc'])}: {problem['msg'].removeprefix('Value error, ')}" for problem in error.errors()]


def variable_of(location: Sequence[int | str]) -> str:
    """The variable of the environment that a field of the settings is read from."""
    name = str(location[0]).upper() if location else ""
    return name if name in {"REDIS_URL", "DATABASE_URL"} else f"GRAB_{name.removeprefix('GRAB_')}"
