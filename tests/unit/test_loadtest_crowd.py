from pathlib import Path

import pytest

from loadtest.generator.requests import Target, build_requests, in_order_of_taps
from loadtest.passes import PassesError, read_passes


def write(folder: Path, text: bytes) -> Path:
    path = folder / "passes.tsv"
    path.write_bytes(text)
    return path


def test_passes_are_read_in_order(tmp_path: Path) -> None:
    members = read_passes(write(tmp_path, b"m1\tp1\nm2\tp2\r\n\n"))
    assert [(member.member_id, member.bearer) for member in members] == [(b"m1", b"p1"), (b"m2", b"p2")]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", "nobody"),
        (b"m1\tp1\nm2 p2\n", "line 2"),
        (b"m1\tp1\nm1\tp2\n", "line 2: member m1 stands there twice"),
        (b"m1\tp 1\n", "line 1"),
        ("m1\t通行证\n".encode(), "line 1"),
    ],
)
def test_what_is_no_pass_is_named_by_line(tmp_path: Path, text: bytes, complaint: str) -> None:
    with pytest.raises(PassesError, match=complaint):
        read_passes(write(tmp_path, text))


def test_a_missing_file_is_an_error_of_the_passes(tmp_path: Path) -> None:
    with pytest.raises(PassesError, match="cannot read"):
        read_passes(tmp_path / "nowhere")


def test_everyone_taps_as_often_as_asked_and_the_seed_decides_the_order(tmp_path: Path) -> None:
    members = read_passes(write(tmp_path, b"".join(b"m%d\tp\n" % n for n in range(50))))
    queue = in_order_of_taps(members, 3, seed=7)
    assert sorted(m.member_id for m in queue) == sorted(m.member_id for m in members * 3)
    assert queue == in_order_of_taps(members, 3, seed=7)
    assert queue != in_order_of_taps(members, 3, seed=8)


def test_a_request_is_the_grab_of_the_contract(tmp_path: Path) -> None:
    members = read_passes(write(tmp_path, b"m1\tp1\n"))
    target = Target("127.0.0.1", 8000, "/v1/campaigns/c1/claims")
    assert build_requests(members, target) == [
        (
            b"POST /v1/campaigns/c1/claims HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nConnection: keep-alive\r\n"
            b"Content-Length: 0\r\nAuthorization: Bearer p1\r\n\r\n"
        )
    ]


def test_keys_are_a_members_own(tmp_path: Path) -> None:
    members = read_passes(write(tmp_path, b"m1\tp1\n"))
    [request] = build_requests(members, Target("::1", 80, "/x", idempotency_prefix="run-1"))
    assert b"\r\nIdempotency-Key: run-1-m1\r\n\r\n" in request
    assert b"\r\nHost: [::1]:80\r\n" in request
