"""Does the proxy's configuration keep what docs/OPERATIONS.md says a proxy must do?"""

import re
from pathlib import Path

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
