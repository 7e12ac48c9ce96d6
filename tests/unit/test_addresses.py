"""Addresses are read correctly, and no password is ever shown."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from grab_service.addresses import AddressError, PostgresAddress, RedisAddress, masked
from grab_service.settings import Settings, settings_errors


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\n")
    return path


def test_an_address_of_redis_says_what_a_connection_needs() -> None:
    address = RedisAddress.parse("redis://me:p%40ss%2Fword@[::1]:6380/3?socket_connect_timeout=2.5")
    assert address.settings(1.0) == {
        "host": "::1",
        "port": 6380,
        "db": 3,
        "username": "me",
        "password": "p@ss/word",
        "socket_connect_timeout": 2.5,
    }
    assert RedisAddress.parse("redis://h").settings(1.0)["socket_connect_timeout"] == 1.0


def test_an_encrypted_connection_is_always_verified(ca: Path) -> None:
    settings = RedisAddress.parse(f"rediss://:p@h:6379/0?ssl_ca_certs={ca}&ssl_cert_reqs=required").settings(1.0)
    assert (settings["ssl_ca_certs"], settings["ssl_cert_reqs"], settings["ssl_check_hostname"]) == (str(ca), "required", True)
    for weaker in ("ssl_cert_reqs=none", "ssl_cert_reqs=optional", "ssl_check_hostname=false"):
        with pytest.raises(AddressError, match="without verification"):
            RedisAddress.parse(f"rediss://:p@h:6379/0?{weaker}")


def test_a_unix_socket_is_a_path() -> None:
    settings = RedisAddress.parse("unix://me:p@/run/redis/redis.sock?db=2").settings(1.0)
    assert (settings["path"], settings["db"], settings["username"], "host" in settings) == (
        "/run/redis/redis.sock",
        2,
        "me",
        False,
    )


def test_several_nodes_are_those_of_a_cluster() -> None:
    assert RedisAddress.parse("redis://:p@a:7000,b,[fe80::1]:7002/0").nodes == (("a", 7000), ("b", 6379), ("fe80::1", 7002))
    with pytest.raises(AddressError, match="database 0 alone"):
        RedisAddress.parse("redis://a,b/1")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://:P@h:6379/0?decode_responses=True", "would replace what the programs rely on"),
        ("redis://:P@h:6379/0?protocol=3", "would replace what the programs rely on"),
        ("redis://:P@h:6379/0?socket_timeout=60", "would replace what the programs rely on"),
        ("redis://:P@h:6379/0?foo=bar", "'foo' is not known; known are db, socket_connect_timeout"),
        ("redis://:P@h:6379/0?db=1", "they differ"),
        ("redis://:P@h:6379/zero", "no number of a database"),
        ("redis://:P@h:6379/0?socket_connect_timeout=0", "more than 0 and at most 60"),
        ("redis://:P@h:6379/0?socket_connect_timeout=61", "more than 0 and at most 60"),
        ("redis://:P@h:6379/0?ssl_ca_certs=/x", "begins with rediss"),
        ("rediss://:P@h:6379/0?ssl_ca_certs=/no/such/ca.pem", "where no file is"),
        ("redis://:P@h:65536/0", "cannot be read"),
        ("redis://:P@:6379/0", "no host beside it"),
        ("redis://:P@h:6379/0?password=Q", "password stands among the parameters"),
        ("redis://:P@h:6379/0?db=0&db=0", "stands twice"),
        ("redis://:P@h:6379/0?db=", "is empty"),
        ("redis://:P@h:6379/0?db", "name=value"),
        ("redis:///0", "names no host"),
        ("unix://run/redis.sock", "unix:///path/of.sock"),
        ("http://h", "does not begin with redis:// or rediss:// or unix://"),
        ("redis://:not#encoded@h:6379/0", "write %23"),
        ("redis://:not/encoded@h:6379/0", "write %2F"),
        ("redis://:not?encoded@h:6379/0", "write %2F, %3F"),
        ("redis://:not@encoded@h:6379/0", "%40"),
        ("redis://:not encoded@h:6379/0", "white space"),
    ],
)
def test_an_address_of_redis_that_cannot_be_handed_on_is_refused_with_its_reason(url: str, why: str) -> None:
    with pytest.raises(AddressError, match=why) as refused:
        RedisAddress.parse(url)
    assert "encoded@" not in str(refused.value)


def test_an_address_of_postgres_hands_on_what_the_driver_knows(ca: Path) -> None:
    address = PostgresAddress.parse(
        f"postgresql+asyncpg://me:p%2Fq@db:5432/grab?sslmode=verify-full&sslrootcert={ca}"
        "&connect_timeout=10&application_name=till&options=-c%20work_mem%3D16MB%20-c%20lock_timeout%3D5s"
    )
    assert address.dsn.startswith("postgresql://me:p%2Fq@db:5432/grab?sslmode=verify-full&sslrootcert=")
    assert not {"connect_timeout", "application_name", "options"} & set(
        address.dsn.replace("?", "&").replace("=", "&").split("&")
    )
    assert (address.connect_timeout_s, address.application_name) == (10.0, "till")
    assert address.options == {"work_mem": "16MB", "lock_timeout": "5s"}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///grab?host=/run/postgresql",
        "postgres://me@a:5432,b:5433/grab?target_session_attrs=read-write",
        "postgresql://me:p@h/grab?sslmode=disable",
    ],
)
def test_other_addresses_of_postgres_that_libpq_knows_are_taken(url: str) -> None:
    assert PostgresAddress.parse(url).database == "grab"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://u:P@h/n?foo=bar", "'foo' is not known; known are application_name"),
        ("postgresql://u:P@h/n?prepared_statement_cache_size=0", "is not known"),
        ("postgresql://u:P@h/n?channel_binding=require", "is not known"),
        ("postgresql://u:P@h/n?sslmode=on", "sslmode is one of"),
        ("postgresql://u:P@h/n?sslrootcert=/no/such.pem", "where no file is"),
        ("postgresql://u:P@h/n?connect_timeout=ten", "a number of seconds"),
        ("postgresql://u:P@h/n?host=/run", "name it once"),
        ("postgresql:///n?host=/run&port=0", "from 1 to 65535"),
        ("postgresql://u:P@h/n?target_session_attrs=standby", "a standby takes no claims"),
        ("postgresql://u:P@h/n?options=-c%20synchronous_commit%3Doff", "synchronous_commit, which the programs rely on"),
        ("postgresql://u:P@h/n?options=-c%20STATEMENT_timeout%3D0", "statement_timeout, which the programs rely on"),
        ("postgresql://u:P@h/n?options=--statement-timeout%3D0", "statement_timeout, which the programs rely on"),
        ("postgresql://u:P@h/n?options=-x", "written -c name=value"),
        ("postgresql://h/n?user=u&password=P", "stands among the parameters"),
        ("host=h password=P", "does not begin with postgresql://"),
        ("sqlite:///x.db", "does not begin with postgresql://"),
        ("postgresql://u:not#encoded@h/n", "write %23"),
    ],
)
def test_an_address_of_postgres_that_cannot_be_handed_on_is_refused_with_its_reason(url: str, why: str) -> None:
    with pytest.raises(AddressError, match=why):
        PostgresAddress.parse(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@h:6379/0", "redis://:***@h:6379/0"),
        ("redis://me:se#cr@et/x@h:6379/0", "redis://me:***@h:6379/0"),
        ("redis://me@h:6379/0", "redis://me@h:6379/0"),
        ("redis://h:6379/0?password=secret&db=1", "redis://h:6379/0?password=***&db=1"),
        ("postgresql://h/n?sslpassword=secret", "postgresql://h/n?sslpassword=***"),
        ("redis://me:secret", "redis://me:***"),
        ("redis://:sec/ret", "redis://:***"),
        ("redis://h:6379", "redis://h:6379"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("host=h password=secret", "host=h password=***"),
    ],
)
def test_a_password_is_masked_whether_the_address_can_be_read_or_not(url: str, shown: str) -> None:
    assert masked(url) == shown


@pytest.mark.parametrize("variable", ["REDIS_URL", "GRAB_GUARD_REDIS_URL", "DATABASE_URL"])
def test_settings_refuse_an_address_by_the_name_of_its_variable_and_without_its_password(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    scheme = "postgresql" if variable == "DATABASE_URL" else "redis"
    monkeypatch.setenv(variable, f"{scheme}://me:hush#hush@h:1/0")
    with pytest.raises(ValidationError) as refused:
        Settings()
    (line,) = settings_errors(refused.value)
    assert line == f"{variable}: {scheme}://me:***@h:1/0 cannot be used: it holds a #; in a user name or a password write %23"
