import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.generator.http_parse import BODY_MAX_BYTES, HEAD_MAX_BYTES, Answer, HttpParseError, header, take_answer

PLAIN = b'HTTP/1.1 409 Conflict\r\nX-A: b\r\nContent-Length: 19\r\n\r\n{"code":"sold-out"}'
CHUNKED = (
    b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n6;x=y\r\n567\r\n8\r\n0\r\nTrailer: t\r\n\r\n"
)
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def take(data: bytes) -> Answer:
    answer = take_answer(data)
    assert answer is not None
    return answer


def test_an_answer_with_a_length_is_taken_whole() -> None:
    answer = take(PLAIN)
    assert (answer.status, answer.body, answer.size, answer.closes) == (409, b'{"code":"sold-out"}', len(PLAIN), False)


def test_chunks_are_put_together_and_trailers_passed_over() -> None:
    answer = take(CHUNKED)
    assert (answer.status, answer.body, answer.size) == (201, b"01234567\r\n8", len(CHUNKED))


def test_interim_answers_are_passed_over() -> None:
    assert (take(INTERIM).status, take(INTERIM).body) == (200, b"ok")


@given(st.sampled_from([PLAIN, CHUNKED, INTERIM]), st.data())
def test_wherever_it_is_cut_the_answer_comes_only_when_whole(data: bytes, draw: st.DataObject) -> None:
    cut = draw.draw(st.integers(0, len(data) - 1))
    assert take_answer(data[:cut]) is None
    assert take(data).size == len(data)


def test_bytes_after_an_answer_are_left_alone() -> None:
    assert take(PLAIN + b"HTTP/1.1 200 OK").size == len(PLAIN)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (BODY_MAX_BYTES + 1),
        b"HTTP/1.1 200 OK\r\n" + b"x" * HEAD_MAX_BYTES,
    ],
)
def test_what_cannot_be_framed_is_an_error_and_not_a_guess(data: bytes) -> None:
    with pytest.raises(HttpParseError):
        take_answer(data)


@pytest.mark.parametrize(
    ("head", "closes"),
    [
        (b"HTTP/1.1 200 OK", False),
        (b"HTTP/1.1 200 OK\r\nConnection: keep-alive", False),
        (b"HTTP/1.1 200 OK\r\nConnection: close", True),
        (b"HTTP/1.0 200 OK", True),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive", False),
    ],
)
def test_a_closing_server_is_noticed(head: bytes, closes: bool) -> None:
    assert take(head + b"\r\nContent-Length: 0\r\n\r\n").closes is closes


def test_headers_are_found_by_name_and_not_by_a_part_of_it() -> None:
    head = b"http/1.1 503 x\r\nx-retry-after: 9\r\nretry-after:  2 "
    assert header(head, b"retry-after") == b"2"
    assert header(head, b"after") is None
