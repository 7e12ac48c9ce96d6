"""The reader of plain grabs says what the ordinary parser says, or nothing."""

from typing import Any

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from grab_service.problems import choose_language
from grab_service.server.reader import HOSTS_MAX, PLAIN_MAX_BYTES, SHAPES_MAX, START, GrabReader, bearer_token

PLAIN = b"POST /v1/campaigns/c-1/claims HTTP/1.1\r\nHost: grab\r\nAuthorization: Bearer abc\r\n\r\n"
SPECIAL = [
    *("authorization", "idempotency-key", "accept-language", "content-length", "connection"),
    *("transfer-encoding", "expect", "upgrade", "proxy-connection", "x-request-id"),
]


class Reference:
    """Everything a parser says of a request, without any haste."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.url = b""
        self.whole = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_message_complete(self) -> None:
        self.whole = True


def ordinary(data: bytes) -> tuple[Reference, Any] | None:
    reference = Reference()
    parser = httptools.HttpRequestParser(reference)
    try:
        parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    return reference, parser


def any_case(name: str) -> st.SearchStrategy[str]:
    spellings = [name, name.title(), name.upper(), name.swapcase()]
    return st.sampled_from(spellings)


names = st.one_of(
    st.sampled_from(SPECIAL).flatmap(any_case), st.text("abcXYZ-_!~", min_size=1, max_size=8), st.just("bad name"), st.just("")
)
values = st.one_of(
    st.sampled_from(
        ["0", "1", "keep-alive", "Keep-Alive", "close", "Bearer abc", "bearer  abc ", "Basic x", "en", "zh-CN,en;q=0.1"]
    ),
    st.sampled_from(["chunked", "100-continue", "websocket", "", " ", "x\ty", "x\x00y", "x\r\n y", "käse"]),
    st.text("ab ;,=.%", max_size=12),
)
campaign_ids = st.sampled_from(["c", "c-1", "a" * 40, "a" * 41, "", "a/b", "a?b", "a%41", "a b", "ä", "C"])


@given(
    campaign_ids,
    st.lists(st.tuples(names, values), max_size=6),
    st.sampled_from(["", "{}", "POST /v1/campaigns/c/claims HTTP/1.1"]),
)
@example("c", [("Authorization", "Bearer abc"), ("Authorization", "Bearer x")], "")
@example("c", [("Authorization", "Bearer abc"), ("Connection", "close")], "")
def test_what_is_read_is_what_the_ordinary_parser_reads(campaign_id: str, headers: list[tuple[str, str]], behind: str) -> None:
    head = f"POST /v1/campaigns/{campaign_id}/claims HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers)
    data = (head + "\r\n" + behind).encode("latin-1")
    reader = GrabReader()
    plain = reader.read(data)
    said = ordinary(data)
    if plain is not None:
        assert said is not None
        reference, parser = said
        known = dict(reference.headers)
        assert len(known) == len(reference.headers), "a name that stands twice is nothing plain"
        assert known.keys().isdisjoint({b"transfer-encoding", b"expect", b"upgrade", b"proxy-connection"})
        assert known.get(b"content-length", b"0") == b"0"
        assert reference.whole
        assert parser.should_keep_alive()
        assert reference.url == f"/v1/campaigns/{plain[0]}/claims".encode("latin-1")
        authorization = known.get(b"authorization")
        assert plain[1] == (None if authorization is None else bearer_token(authorization))
        assert plain[2] == known.get(b"idempotency-key", b"")
        assert plain[3] == choose_language(known.get(b"accept-language"))
        assert plain[4] == known.get(b"x-request-id")
    assert reader.read(PLAIN) == ("c-1", b"abc", b"", "zh", None), "whatever came before"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        ["Content-Length: 0"],
        ["connection: keep-alive", "X-Forwarded-For: 10.0.0.1", "traceparent: 00-1-2-01"],
        ["Accept-Language: en", "idempotency-key: k"],
        ["X-Request-Id: 1"],
    ],
)
def test_the_lane_is_for_what_browsers_proxies_and_tools_send(headers: list[str]) -> None:
    lines = ["POST /v1/campaigns/c-1/claims HTTP/1.1", "Host: grab", "authorization: Bearer abc", *headers]
    plain = GrabReader().read(("\r\n".join(lines) + "\r\n\r\n").encode())
    assert plain is not None
    assert plain[:2] == ("c-1", b"abc")


def test_what_is_too_large_is_not_plain() -> None:
    long = PLAIN.replace(b"\r\n\r\n", b"\r\nX: " + b"a" * PLAIN_MAX_BYTES + b"\r\n\r\n")
    many = PLAIN.replace(b"\r\n\r\n", b"".join(b"\r\nX-%d: 1" % number for number in range(100)) + b"\r\n\r\n")
    assert GrabReader().read(long) is None
    assert GrabReader().read(many) is None


def test_what_clients_make_up_is_not_kept_for_ever() -> None:
    reader = GrabReader()
    for number in range(3 * SHAPES_MAX):
        assert reader.read(
            PLAIN.replace(b"grab", b"grab-%d\r\nX-%d: x" % (number, number)).replace(
                b"\r\n\r\n", b"\r\nAccept-Language: x-%d\r\n\r\n" % number
            )
        )
    assert len(reader._shapes) <= SHAPES_MAX
    assert len(reader._languages) <= SHAPES_MAX
    assert len(reader._hosts) <= HOSTS_MAX


def test_a_host_that_is_none_is_refused_also_behind_one_that_is() -> None:
    reader = GrabReader()
    assert reader.read(PLAIN) is not None
    assert reader.read(PLAIN.replace(b": grab", b": a b")) is None
    assert reader.read(PLAIN) is not None


def test_the_token_is_read_as_the_ordinary_way_reads_it() -> None:
    for value in (b"Bearer abc", b"bearer abc", b"BEARER  abc ", b"Bearer", b"Basic abc", b"", b"Bearer "):
        scheme, _, token = value.partition(b" ")
        assert bearer_token(value) == (token.strip() if scheme.lower() == b"bearer" else None), value
    assert PLAIN.startswith(START)
