"""Does the proxy's configuration keep what docs/OPERATIONS.md says a proxy must do?"""

import re
from pathlib import Path

import pytest

from grab_service.api.standing_headers import standing_headers
from grab_service.grabpath.protocol import HEAD_MAX_BYTES, HEAD_TIMEOUT_S
from grab_service.settings import Settings

CONF = (Path(__file__).parents[2] / "deploy/nginx.conf").read_text(encoding="utf-8")
DEFAULT = Settings()


def values(directive: str) -> list[str]:
    return re.findall(rf"^\s*{directive}\s+([^;]+);", CONF, re.MULTILINE)


def seconds(text: str) -> float:
    assert text.endswith("s"), text
    return float(text[:-1])


def size_bytes(text: str) -> int:
    return int(text[:-1]) * {"k": 1024, "m": 1024 * 1024}[text[-1]]


def test_the_proxy_gives_idle_connections_up_before_the_service_does() -> None:
    (upstream,) = re.findall(r"upstream api \{(.*?)\n  \}", CONF, re.DOTALL)
    (idle,) = re.findall(r"keepalive_timeout ([^;]+);", upstream)
    assert seconds(idle) < min(DEFAULT.drain_s, DEFAULT.keep_alive_s)
    assert "keepalive 512;" in upstream


def test_the_proxy_never_repeats_a_request() -> None:
    assert values("proxy_next_upstream") == ["off"]


def test_the_proxy_is_no_more_patient_with_slow_senders_than_the_service() -> None:
    assert seconds(values("client_header_timeout")[0]) <= HEAD_TIMEOUT_S
    assert values("proxy_request_buffering") == ["on"]
    number, each = values("large_client_header_buffers")[0].split()
    assert int(number) * size_bytes(each) <= HEAD_MAX_BYTES


def test_the_proxy_takes_bodies_as_large_as_the_service_does() -> None:
    assert [size_bytes(value) for value in values("client_max_body_size")] == [DEFAULT.body_max_bytes, DEFAULT.import_max_bytes]


def test_the_proxy_waits_longer_for_a_grab_than_its_deadline() -> None:
    assert seconds(values("proxy_read_timeout")[0]) > 2 * DEFAULT.grab_deadline_s


def test_the_proxy_limits_nobody_by_address() -> None:
    assert not values("limit_conn") + values("limit_req")


def test_the_proxy_speaks_the_words_of_the_service() -> None:
    for code in ("outcome-unknown", "too-large"):
        assert f'"code":"{code}"' in CONF


def test_what_the_proxy_says_by_itself_has_the_headers_of_every_answer() -> None:
    named = re.findall(r"location @\w+ \{(.*?)\n    \}", CONF, re.DOTALL)
    assert len(named) == 2
    for block in named:
        added = {name.lower(): value.strip('"') for name, value in re.findall(r"add_header (\S+) (.+) always;", block)}
        assert added.items() >= dict(standing_headers(DEFAULT)).items()


@pytest.mark.parametrize(
    ("directive", "expected"),
    [
        # A connection to the service is kept, and only its own words about connections reach it.
        ("proxy_http_version", ["1.1"]),
        ("proxy_set_header Connection", ['""']),
        ("proxy_set_header Host", ["$host"]),
        # Nobody names an address for himself.
        ("proxy_set_header X-Forwarded-For", ["$remote_addr"]),
        ("proxy_set_header Upgrade", []),
        # Slow readers hold no connection of the service, and no answer with a code is written to the proxy's disk.
        ("proxy_buffering", ["on"]),
        ("proxy_max_temp_file_size", ["0"]),
        ("proxy_pass", ["http://api", "http://api"]),
        ("server_tokens", ["off"]),
        ("access_log", ["off"]),
        ("reset_timedout_connection", ["on"]),
        # A service that gives no answer, or half of one, is an unknown outcome.
        ("error_page 502 504", ["= @unknown"]),
        ("error_page 413", ["= @large"]),
        ("internal", ["", ""]),
        ("default_type", ["application/problem+json"] * 2),
        ("add_header Retry-After", ["2 always"]),
        ("add_header Cache-Control", ["no-store always"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_line_of_the_proxy_that_others_rely_on(directive: str, expected: list[str]) -> None:
    found = re.findall(rf"^\s*{directive}(?:\s+([^;]+))?;", CONF, re.MULTILINE)
    assert [value.strip() for value in found] == expected


def test_slow_senders_and_readers_end_at_the_proxy() -> None:
    for directive in ("client_body_timeout", "send_timeout", "proxy_connect_timeout"):
        assert 0 < seconds(values(directive)[0]) <= DEFAULT.keep_alive_s


COMPOSE = (Path(__file__).parents[2] / "docker-compose.yml").read_text(encoding="utf-8")
SERVICES = dict(re.findall(r"^  (\w+):\n((?:    .*\n|\n)+)", COMPOSE.partition("\nservices:\n")[2], re.MULTILINE))


def test_the_valkey_of_the_compose_file_loses_nothing_it_has_acknowledged() -> None:
    (command,) = re.findall(r"command: \[([^\]]+)\]", SERVICES["valkey"])
    words = [word.strip().strip('"') for word in command.split(",") if word.strip()]
    options = dict(zip(words[::2], words[1::2], strict=True))
    assert options == {
        "--appendonly": "yes",
        "--appendfsync": "always",
        "--save": "",
        "--maxmemory-policy": "noeviction",
        "--tcp-backlog": "4096",
    }
    assert f"net.core.somaxconn: {options['--tcp-backlog']}\n" in SERVICES["valkey"]


def test_the_servers_of_the_compose_file_keep_their_data_and_only_the_proxy_has_a_door() -> None:
    assert set(SERVICES) == {"valkey", "postgres", "provision", "migrate", "reconcile", "api", "proxy"}
    assert '"valkey:/data"' in SERVICES["valkey"]
    assert '"postgres:/var/lib/postgresql"' in SERVICES["postgres"]
    # SIGINT ends the sessions and writes everything down; the image's own sign waits for them.
    assert "stop_signal: SIGINT\n" in SERVICES["postgres"]
    assert [name for name, text in SERVICES.items() if "ports:" in text] == ["proxy"]
    for line in ("read_only: true", "cap_drop: [ALL]", 'security_opt: ["no-new-privileges:true"]'):
        assert line in COMPOSE.partition("\nservices:\n")[0]


@pytest.mark.parametrize(
    ("service", "login", "forbidden"),
    [
        ("api", "api", ("LEDGER_PASSWORD", "GUARD_PASSWORD", "OWNER_PASSWORD")),
        ("reconcile", "ledger", ("API_PASSWORD", "OWNER_PASSWORD", "GRAB_OPS_SECRETS")),
        ("migrate", "owner", ("API_PASSWORD", "LEDGER_PASSWORD", "GUARD_PASSWORD", "REDIS_URL")),
    ],
)
def test_each_program_of_the_compose_file_has_its_own_login_and_no_other(
    service: str, login: str, forbidden: tuple[str, ...]
) -> None:
    text = SERVICES[service]
    assert f"DATABASE_URL: postgresql://grab_${{GRAB_CELL:-district}}_{login}:${{{login.upper()}_PASSWORD:?" in text
    assert not [name for name in (*forbidden, "REDIS_PASSWORD", "POSTGRES_PASSWORD") if name in text]
