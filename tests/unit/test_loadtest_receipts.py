from pathlib import Path

import pytest

from loadtest.clock import ServerClock
from loadtest.receipts import ReceiptBook, ReceiptsError, clock_line, find_receipts, header_line, one_line, read_receipts

FACTS = {"run": "r1", "campaign": "c1", "idempotency_prefix": None}


def write(path: Path, *lines: bytes) -> Path:
    with ReceiptBook(path) as book:
        book.append([header_line(FACTS), clock_line(ServerClock(500, 20, 300))])
        book.append(lines)
    return path


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    body = b'{"a":\n"tab\\t"}\tx'
    path = write(
        tmp_path / "a.receipts",
        b"S\t1\tm1\t1\t1000\n",
        b"S\t2\tm2\t3\t1001\n",
        b"A\t1\t2000\t201\t\t%b\n" % one_line(body),
        b"L\t2\t2100\tconnection-lost\n",
    )
    receipts = read_receipts(path)
    one, two = receipts.attempts[1], receipts.attempts[2]
    assert (one.member, one.attempt, one.sent_at_us, one.answered_at_us, one.status) == ("m1", 1, 1000, 2000, 201)
    assert one.body == b'{"a": "tab\\t"}\tx'
    assert (two.member, two.attempt, two.status, two.answered_at_us) == ("m2", 3, 0, 0)
    assert not receipts.torn


@pytest.mark.parametrize("cut", range(1, 22))
def test_a_torn_last_line_is_passed_over_wherever_it_was_torn(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path / "a.receipts", b"S\t1\tm1\t1\t1000\n", b"A\t1\t2000\t409\tsold-out\t\n")
    path.write_bytes(path.read_bytes()[:-cut])
    receipts = read_receipts(path)
    assert receipts.torn
    assert receipts.attempts[1].status == 0


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.receipts", b"S\t1\tm1\t1\t1000\n", b"S\tx\tm1\n", b"S\t2\tm1\t1\t1000\n")
    with pytest.raises(ReceiptsError, match="line 4"):
        read_receipts(path)


def test_an_answer_without_its_request_is_a_broken_file(tmp_path: Path) -> None:
    with pytest.raises(ReceiptsError, match="line 3"):
        read_receipts(write(tmp_path / "a.receipts", b"A\t9\t2000\t409\tsold-out\t\n"))


def test_a_book_is_never_begun_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "a.receipts")
    with pytest.raises(FileExistsError):
        ReceiptBook(path)


def test_a_moment_is_placed_on_the_servers_clock_within_the_widest_bounds(tmp_path: Path) -> None:
    path = write(tmp_path / "a.receipts", clock_line(ServerClock(530, 10, 200)))
    assert read_receipts(path).server_us(10_000) == (10_480, 10_540)


def test_keys_follow_from_the_header(tmp_path: Path) -> None:
    path = tmp_path / "a.receipts"
    with ReceiptBook(path) as book:
        book.append([header_line({**FACTS, "idempotency_prefix": "r1"}), b"S\t1\tm1\t1\t1000\n"])
    assert read_receipts(path).attempts[1].key == "r1-m1"


def test_receipts_are_found_in_folders_and_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ReceiptsError, match="no receipts"):
        find_receipts([tmp_path])
    path = write(tmp_path / "a.receipts")
    assert find_receipts([tmp_path, path]) == [path]
