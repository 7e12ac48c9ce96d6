"""The chain binds every entry and its place; a worker that begins in its midst folds the same heads as the ledger."""

import json
import re
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as some

from grab_service.grabpath.chain import KEPT_MAX, AsOf, Chain
from grab_service.vocabulary.chain import START, BadEntryBytesError, digest_of, entry_bytes, fold, texts_of
from grab_service.vocabulary.durability import Recorded

ROOT: Final = Path(__file__).parents[2]
DIGESTS: Final = [sha256(b"%d" % seq).digest() for seq in range(1, 21)]
HEADS: Final = [*accumulate(DIGESTS, fold, initial=START)]
"""By seq: entries of one seq each, and the head behind each."""


def note(seq: int, *, epoch: int = 1, head: bytes | None = None) -> Recorded:
    return Recorded(epoch, seq, (HEADS[seq] if head is None else head).hex())


def chain_from(seq: int, until: int) -> Chain:
    chain = Chain()
    chain.begin(1, seq)
    for later in range(seq + 1, until + 1):
        chain.add(later, DIGESTS[later - 1])
    return chain


def test_the_page_and_the_code_agree_on_bytes_digests_and_heads() -> None:
    page = (ROOT / "docs" / "CHAIN.md").read_text("utf-8")
    vectors = [json.loads(found) for found in re.findall(r"^\{.*\}$", page, re.MULTILINE)]
    assert len(vectors) >= 3
    head = START
    for vector in vectors:
        entry_id, *pairs = (text.encode() for text in vector["entry"])
        raw = entry_bytes(entry_id, pairs)
        head = fold(head, digest_of(raw))
        assert (raw.decode(), digest_of(raw).hex(), head.hex()) == (vector["bytes"], vector["digest"], vector["head"])


@given(some.lists(some.text(max_size=30), min_size=1, max_size=9))
def test_an_entry_is_read_back_from_its_bytes(texts: list[str]) -> None:
    entry_id, *pairs = (text.encode() for text in texts)
    assert [*texts_of(entry_bytes(entry_id, pairs))] == texts


@pytest.mark.parametrize("raw", [b"x", b"2:x", b":", b"1x", b"-1:", b"1:x3:y", b"12345678901:x"])
def test_other_bytes_are_no_entry(raw: bytes) -> None:
    with pytest.raises(BadEntryBytesError):
        [*texts_of(raw)]


@pytest.mark.parametrize("begins", [0, 3, 7])
@pytest.mark.parametrize("noted", [3, 7, 9, 10])
def test_a_worker_that_begins_anywhere_has_the_heads_of_the_ledger_once_it_hears_of_one(begins: int, noted: int) -> None:
    chain = chain_from(begins, 10)
    assert chain.as_of == AsOf(10, None)
    chain.hear(note(noted))
    known = noted >= begins
    assert chain.as_of == AsOf(10, HEADS[10].hex() if known else None)
    chain.add(11, DIGESTS[10])
    assert chain.as_of.head == (HEADS[11].hex() if known else None)
    for seq in range(12):
        assert chain.at(seq).head == (HEADS[seq].hex() if known and seq >= noted else None), seq
    assert not chain.differs


def test_a_note_is_taken_once_the_log_is_read_up_to_it_and_only_of_this_life() -> None:
    chain = chain_from(4, 8)
    chain.hear(note(9))
    chain.hear(note(8, epoch=2))
    chain.hear(Recorded(1, 8, ""))
    assert chain.as_of == AsOf(8, None)
    chain.add(9, DIGESTS[8])
    chain.hear(note(9))
    assert chain.as_of == AsOf(9, HEADS[9].hex())
    chain.begin(2, 12)
    assert chain.as_of == AsOf(12, None)


def test_another_head_of_the_ledger_is_seen_and_one_that_agrees_is_not() -> None:
    chain = chain_from(0, 10)
    chain.hear(note(5))
    seen = []
    for seq, head in ((7, HEADS[7]), (10, HEADS[10]), (8, bytes(32))):
        chain.hear(note(seq, head=head))
        seen.append(chain.differs)
    assert seen == [False, False, True]
    assert chain.as_of == AsOf(10, HEADS[10].hex()), "it goes on saying what it has seen"


def test_what_is_kept_is_bounded() -> None:
    chain = Chain()
    chain.begin(1, 0)
    for seq in range(1, KEPT_MAX + 3):
        chain.add(seq, DIGESTS[0])
    known = []
    for seq in (1, 2):  # the digests behind the first are gone
        chain.hear(note(seq))
        known.append(chain.as_of.head is not None)
    chain.add(KEPT_MAX + 3, DIGESTS[0])
    assert (known, chain.at(2).head) == ([False, True], None)
