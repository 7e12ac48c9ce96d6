"""The proxy's configuration does what docs/OPERATIONS.md says a proxy must do."""

import re
from pathlib import Path

import pytest

from grab_service.server.protocol import HEAD_MAX_BYTES, HEAD_TIMEOUT_S
from grab_service.server.standing_headers import standing_headers
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


def test_the_proxy_repeats_only_what_was_never_sent() -> None:
    """Without `non_idempotent` nginx sends no POST a second time; what was waited for in vain comes too late for another."""
    assert values("proxy_next_upstream") == ["error timeout"]
    assert values("proxy_next_upstream_tries") == ["2"]
    (late,) = map(seconds, values("proxy_next_upstream_timeout"))
    assert all(seconds(connect) < late for connect in values("proxy_connect_timeout"))
    assert all(seconds(read) > late for read in values("proxy_read_timeout"))


def test_what_ops_and_machines_call_is_not_at_the_door_of_members() -> None:
    public, ops = re.findall(r"\n  server \{\n(.*?)\n  \}", CONF, re.DOTALL)
    assert "listen 8080" in public
    assert "listen 8081" in ops
    (closed,) = re.findall(r"location ~ (\S+) \{\n\s+return 404;", public)
    for path in ("/v1/ops", "/v1/ops/campaigns", "/v1/dev/sessions", "/metrics", "/readyz", "/livez"):
        assert re.match(closed, path), path
    for path in ("/v1/opsx", "/v1/campaigns", "/", "/docs", "/v1/time", "/livezone"):
        assert not re.match(closed, path), path


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
    assert len(named) == 5
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
        ("error_page 502 504", ["= @unknown"] * 2),
        ("error_page 413", ["= @large"] * 2),
        ("internal", [""] * 5),
        ("default_type", ["application/problem+json"] * 5),
        ("add_header Retry-After", ["2 always"] * 2),
        ("add_header Cache-Control", ["no-store always"] * 2),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_line_of_the_proxy_that_others_rely_on(directive: str, expected: list[str]) -> None:
    found = re.findall(rf"^\s*{directive}(?:\s+([^;]+))?;", CONF, re.MULTILINE)
    assert [value.strip() for value in found] == expected


def test_slow_senders_and_readers_end_at_the_proxy() -> None:
    for directive in ("client_body_timeout", "send_timeout", "proxy_connect_timeout"):
        assert 0 < seconds(values(directive)[0]) <= DEFAULT.keep_alive_s
