"""Can a voucher code be misread without anybody noticing?"""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grab_service.vocabulary.voucher_codes import (
    ALPHABET,
    CHECK_LENGTH,
    DATA_LENGTH,
    GENERATE_MAX,
    MODULUS,
    TEXT_MAX,
    generate,
    normalise,
)

LENGTH = DATA_LENGTH + CHECK_LENGTH
SHOWN = re.compile(rf"[{ALPHABET}]{{4}}(-[{ALPHABET}]{{4}}){{4}}")


def shown(bare: str) -> str:
    return "-".join(bare[start : start + 4] for start in range(0, LENGTH, 4))


def with_check(number: int) -> str:
    """A code made the slow way, by the definition."""
    digits = number << 10 | number % MODULUS
    return "".join(ALPHABET[digits >> 5 * place & 31] for place in reversed(range(LENGTH)))


numbers = st.integers(min_value=0, max_value=32**DATA_LENGTH - 1)


def test_codes_look_as_promised_and_do_not_repeat() -> None:
    codes = generate(20_000)
    assert len(set(codes)) == 20_000
    assert all(SHOWN.fullmatch(code) for code in codes)
    assert len(ALPHABET) == len(set(ALPHABET)) == 32
    assert not set("ILOU") & set(ALPHABET)


def test_every_generated_code_is_read_back_as_itself() -> None:
    assert all(normalise(code) == code for code in generate(5_000))


def test_every_character_of_the_data_is_random() -> None:
    codes = [code.replace("-", "") for code in generate(20_000)]
    for place in range(DATA_LENGTH):
        counts = [sum(code[place] == letter for code in codes) for letter in ALPHABET]
        # 625 of each expected, standard deviation 25: seven of them off would be a defect.
        assert max(abs(count - 625) for count in counts) < 175, place


@given(numbers)
def test_the_fast_check_is_the_one_defined(number: int) -> None:
    bare = with_check(number)
    assert normalise(bare) == shown(bare)


def test_the_mathematics_of_the_check_holds() -> None:
    # A valid code is one whose twenty values, times these weights, sum to 0 modulo 1021.
    weights = [pow(32, place, MODULUS) for place in reversed(range(DATA_LENGTH))] + [-32 % MODULUS, -1 % MODULUS]
    assert all(MODULUS % divisor for divisor in range(2, 32))  # 32² > 1021: prime
    assert 0 not in weights  # so one changed character, by 1..31, never leaves the sum at 0
    assert len(set(weights)) == LENGTH  # nor does exchanging two different ones: (a - b) · (weight - weight')
    code = generate(1)[0].replace("-", "")
    assert sum(ALPHABET.index(letter) * weight for letter, weight in zip(code, weights, strict=True)) % MODULUS == 0


def test_every_single_wrong_character_is_noticed() -> None:
    for code in [generate(1)[0].replace("-", "") for _ in range(20)] + ["0" * LENGTH, with_check(32**DATA_LENGTH - 1)]:
        assert normalise(code)
        for place, letter in itertools.product(range(LENGTH), ALPHABET):
            if letter != code[place]:
                assert normalise(code[:place] + letter + code[place + 1 :]) is None


def test_every_exchange_of_two_different_characters_is_noticed() -> None:
    for code in [generate(1)[0].replace("-", "") for _ in range(200)]:
        for one, other in itertools.combinations(range(LENGTH), 2):
            if code[one] != code[other]:
                letters = list(code)
                letters[one], letters[other] = letters[other], letters[one]
                assert normalise("".join(letters)) is None


@given(numbers, st.data())
def test_a_code_survives_how_people_write_it(number: int, data: st.DataObject) -> None:
    bare = with_check(number)
    written = ""
    for letter in bare:
        forms = [letter, letter.lower(), chr(ord(letter) + 0xFEE0)]
        forms += {"0": ["O", "o", "Ｏ"], "1": ["I", "i", "L", "l", "ｌ"]}.get(letter, [])
        written += data.draw(st.sampled_from(forms)) + data.draw(st.sampled_from(["", "", "-", " ", "—", "　"]))
    assert normalise(written) == (shown(bare) if len(written) <= TEXT_MAX else None)


@given(st.text(max_size=100))
def test_arbitrary_text_never_raises(text: str) -> None:
    answer = normalise(text)
    assert answer is None or SHOWN.fullmatch(answer)


@pytest.mark.parametrize(
    "text", ["", "-", "0" * 19, "0" * 21, "U" * 20, "0" * 19 + "!", "0" * 19 + "ß", "0" * 19 + "ſ", "0" * 10_000_000]
)
def test_what_is_no_code_is_none(text: str) -> None:
    assert normalise(text) is None


def test_the_number_of_codes_is_bounded() -> None:
    assert generate(0) == []
    for count in (-1, GENERATE_MAX + 1):
        with pytest.raises(ValueError, match="codes at once"):
            generate(count)
