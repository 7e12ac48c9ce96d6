"""A misread voucher code is always noticed."""

import itertools
import random
import re
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grab_service.vocabulary.voucher_codes import (
    ALPHABET,
    GENERATE_MAX,
    LENGTHS,
    MODULUS,
    RANDOM_LENGTH,
    TEXT_MAX,
    TIME_BEGAN_AT_S,
    TIME_LENGTH,
    TIME_STEP_S,
    generate,
    normalise,
)

LENGTH, LENGTH_BEFORE = LENGTHS
DATA_LENGTH = TIME_LENGTH + RANDOM_LENGTH
SHOWN = re.compile(rf"[{ALPHABET}]{{4}}(-[{ALPHABET}]{{4}}){{5}}")
SHOWN_BEFORE = re.compile(rf"[{ALPHABET}]{{4}}(-[{ALPHABET}]{{4}}){{4}}")


def shown(bare: str) -> str:
    return "-".join(bare[start : start + 4] for start in range(0, len(bare), 4))


def with_check(number: int, length: int = LENGTH) -> str:
    """A code made the slow way, by the definition."""
    digits = number << 10 | number % MODULUS
    return "".join(ALPHABET[digits >> 5 * place & 31] for place in reversed(range(length)))


def examples(count: int) -> list[str]:
    """So many codes as they are made now, and as they were made before, without hyphens."""
    now = [code.replace("-", "") for code in generate(count)]
    chance = random.Random(count)
    return now + [with_check(chance.getrandbits(5 * RANDOM_LENGTH), LENGTH_BEFORE) for _ in range(count)]


numbers = st.integers(min_value=0, max_value=32**DATA_LENGTH - 1)
numbers_before = st.integers(min_value=0, max_value=32**RANDOM_LENGTH - 1)
bare_codes = numbers.map(with_check) | numbers_before.map(lambda number: with_check(number, LENGTH_BEFORE))


def test_codes_look_as_promised_and_do_not_repeat() -> None:
    codes = generate(20_000)
    assert len(set(codes)) == 20_000
    assert all(SHOWN.fullmatch(code) for code in codes)
    assert len(ALPHABET) == len(set(ALPHABET)) == 32
    assert not set("ILOU") & set(ALPHABET)


def test_every_generated_code_is_read_back_as_itself() -> None:
    assert all(normalise(code) == code for code in generate(5_000))


def test_all_but_the_time_and_the_check_is_random() -> None:
    codes = [code.replace("-", "") for code in generate(20_000)]
    for place in range(TIME_LENGTH, DATA_LENGTH):
        counts = [sum(code[place] == letter for code in codes) for letter in ALPHABET]
        # 625 of each expected, standard deviation 25: seven of them off would be a defect.
        assert max(abs(count - 625) for count in counts) < 175, place


def test_codes_of_one_step_begin_alike_and_those_of_the_next_come_behind_them() -> None:
    moment_s = TIME_BEGAN_AT_S + 31 * TIME_STEP_S
    (first,) = generate(1, moment_s)
    assert first.startswith("000Z-")
    assert {code[:5] for code in generate(100, moment_s + TIME_STEP_S - 1)} == {"000Z-"}
    assert {code[:5] for code in generate(100, moment_s + TIME_STEP_S)} == {"0010-"}
    order = [generate(1, TIME_BEGAN_AT_S + step * TIME_STEP_S)[0] for step in range(0, 32**TIME_LENGTH, 997)]
    assert order == sorted(order)


def test_codes_begin_with_the_time_of_now() -> None:
    steps = [int(time.time() - TIME_BEGAN_AT_S) // TIME_STEP_S]
    (code,) = generate(1)
    steps.append(int(time.time() - TIME_BEGAN_AT_S) // TIME_STEP_S)
    assert sum(ALPHABET.index(letter) << 5 * (3 - place) for place, letter in enumerate(code[:4])) in steps


def test_the_time_lasts_until_2044_and_then_begins_again() -> None:
    ends_at_s = TIME_BEGAN_AT_S + 32**TIME_LENGTH * TIME_STEP_S
    assert datetime.fromtimestamp(ends_at_s, UTC).strftime("%Y-%m") == "2044-12"
    for at_s, time_said in ((ends_at_s - 1, "ZZZZ-"), (ends_at_s, "0000-"), (0, None), (-1e9, None), (1e12, None)):
        (code,) = generate(1, at_s)
        assert normalise(code) == code
        assert time_said is None or code.startswith(time_said)


@given(bare_codes)
def test_the_fast_check_is_the_one_defined(bare: str) -> None:
    assert normalise(bare) == shown(bare)


def test_the_mathematics_of_the_check_holds() -> None:
    # A valid code is one whose 24 values, times these weights, sum to 0 modulo 1021; of 20, the last of these.
    weights = [pow(32, place, MODULUS) for place in reversed(range(DATA_LENGTH))] + [-32 % MODULUS, -1 % MODULUS]
    assert all(MODULUS % divisor for divisor in range(2, 32))  # 32² > 1021: prime
    assert 0 not in weights  # so one changed character, by 1..31, never leaves the sum at 0
    assert len(set(weights)) == LENGTH  # nor does exchanging two different ones: (a - b) · (weight - weight')
    for code in examples(1):
        weighed = zip(code, weights[-len(code) :], strict=True)
        assert sum(ALPHABET.index(letter) * weight for letter, weight in weighed) % MODULUS == 0


def test_every_single_wrong_character_is_noticed() -> None:
    for code in [*examples(20), "0" * LENGTH, with_check(32**DATA_LENGTH - 1)]:
        assert normalise(code)
        for place, letter in itertools.product(range(len(code)), ALPHABET):
            if letter != code[place]:
                assert normalise(code[:place] + letter + code[place + 1 :]) is None


def test_every_exchange_of_two_different_characters_is_noticed() -> None:
    for code in examples(200):
        for one, other in itertools.combinations(range(len(code)), 2):
            if code[one] != code[other]:
                letters = list(code)
                letters[one], letters[other] = letters[other], letters[one]
                assert normalise("".join(letters)) is None


@given(bare_codes, st.data())
def test_a_code_survives_how_people_write_it(bare: str, data: st.DataObject) -> None:
    written = ""
    for letter in bare:
        forms = [letter, letter.lower(), chr(ord(letter) + 0xFEE0)]
        forms += {"0": ["O", "o", "Ｏ"], "1": ["I", "i", "L", "l", "ｌ"]}.get(letter, [])
        written += data.draw(st.sampled_from(forms)) + data.draw(st.sampled_from(["", "", "-", " ", "—", "　"]))
    assert normalise(written) == (shown(bare) if len(written) <= TEXT_MAX else None)


@given(st.text(max_size=100))
def test_arbitrary_text_never_raises(text: str) -> None:
    answer = normalise(text)
    assert answer is None or SHOWN.fullmatch(answer) or SHOWN_BEFORE.fullmatch(answer)


@pytest.mark.parametrize(
    "text",
    [
        *("", "-", *("0" * length for length in range(19, 26) if length not in LENGTHS), "0" * 10_000_000),
        *(start + end for start in ("0" * 19, "0" * 23) for end in "U!ßſ"),
    ],
)
def test_what_is_no_code_is_none(text: str) -> None:
    assert normalise(text) is None


def test_the_number_of_codes_is_bounded() -> None:
    assert generate(0) == []
    for count in (-1, GENERATE_MAX + 1):
        with pytest.raises(ValueError, match="codes at once"):
            generate(count)
