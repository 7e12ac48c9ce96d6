"""Every problem is worded plainly, in both languages, and has one status."""

import http
import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grab_service.problems import CATALOGUE, RESERVED, Problem, body, choose_language
from grab_service.vocabulary.outcomes import REFUSALS, Outcome, Undecided, slug
from grab_service.vocabulary.passes import PassRefusal

EVERY = list(CATALOGUE.values())
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def test_every_refusal_of_the_rules_has_its_problem() -> None:
    for outcome in (*REFUSALS, Outcome.IDEMPOTENCY_KEY_MISSING, *Undecided):
        assert CATALOGUE[slug(outcome)].status >= 400
    for refusal in PassRefusal:
        assert CATALOGUE[refusal.value].status == 401


@pytest.mark.parametrize("problem", EVERY, ids=lambda problem: problem.slug)
def test_both_languages_say_everything(problem: Problem) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", problem.slug)
    assert http.HTTPStatus(problem.status) >= 400
    texts = [problem.title, problem.detail, problem.explanation, *(variant.text for variant in problem.variants)]
    for text in texts:
        assert CHINESE.search(text.zh)
        assert not CHINESE.search(text.en)
        assert re.search(r"[a-z]", text.en)
    for text in texts[1:]:
        assert text.zh.endswith("。")
        assert text.en.endswith(".")
    assert len(problem.title.zh) <= 16
    assert len(problem.detail.zh) <= 40
    assert len(problem.explanation.zh) > len(problem.detail.zh) / 2
    assert "{" not in problem.detail.zh + problem.detail.en + problem.explanation.zh + problem.explanation.en


@pytest.mark.parametrize("problem", EVERY, ids=lambda problem: problem.slug)
def test_both_languages_of_a_better_sentence_name_the_same_things(problem: Problem) -> None:
    for variant in problem.variants:
        assert variant.needs, "a variant that needs nothing hides the plain sentence"
        in_zh, in_en = (set(re.findall(r"\{(\w+)\}", text)) for text in (variant.text.zh, variant.text.en))
        assert in_zh == in_en


@pytest.mark.parametrize("problem", EVERY, ids=lambda problem: problem.slug)
def test_what_clients_should_repeat_by_themselves_says_when(problem: Problem) -> None:
    assert (problem.status in {429, 503}) == (problem.retry_after_s is not None)
    assert problem.retry_after_s is None or 1 <= problem.retry_after_s <= 10


def test_a_body_is_a_problem_detail_with_its_extra_members_after_the_fixed_ones() -> None:
    answer = body("sold-out", "en", next_release_at_ms=None, waitlist=False)
    assert list(answer) == ["type", "title", "status", "detail", "code", "next_release_at_ms", "waitlist"]
    assert answer["type"] == "/problems/sold-out"
    assert answer["code"] == "sold-out"
    assert answer["status"] == 409
    assert answer["detail"] == "Everything is taken. Thank you for coming; better luck next time."
    assert orjson.loads(orjson.dumps(answer)) == answer


def test_chinese_is_spoken_unless_english_is_asked_for() -> None:
    assert body("paused", "zh") == body("paused", "fr")
    assert CHINESE.search(body("paused", "zh")["detail"])
    assert not CHINESE.search(body("paused", "en")["detail"])


def test_the_sentence_says_what_is_known() -> None:
    assert body("per-member-limit", "zh", limit=3, used=3)["detail"] == "每人限领 3 份，你已经领了 3 份。"
    assert body("insufficient-points", "en", required=50, available=0)["detail"] == ("This takes 50 points, and you have 0.")
    assert body("sold-out", "zh", next_release_at_ms=1_800_000_000_000, waitlist=True)["detail"].startswith("这一批")
    assert "候补" in body("sold-out", "zh", next_release_at_ms=None, waitlist=True)["detail"]
    assert "到期" in body("member-blocked", "zh", until="2026-09-20T04:00:00Z")["detail"]
    assert "到期" not in body("member-blocked", "zh", until=None)["detail"]


def test_coded_values_are_put_in_words_and_unknown_ones_stand_as_they_are() -> None:
    answer = body("not-eligible", "zh", failed_rules=("orgs", "tags_any", "mystery"))
    assert answer["detail"] == "你暂时不符合这次活动的条件：限指定单位的会员；限指定身份的会员；mystery。"
    assert answer["failed_rules"] == ("orgs", "tags_any", "mystery")
    assert body("wrong-state", "en", state="draft")["detail"] == "The campaign is a draft, which does not allow this."


@pytest.mark.parametrize("problem", EVERY, ids=lambda problem: problem.slug)
@pytest.mark.parametrize("value", [None, "", "{0}", "{x.__class__}", 0, ("orgs",), [1], {"a": 1}, True])
def test_no_extra_value_breaks_a_sentence(problem: Problem, value: object) -> None:
    names = {name for variant in problem.variants for name in variant.needs}
    for lang in ("zh", "en"):
        answer = body(problem.slug, lang, **dict.fromkeys(names, value))
        assert isinstance(answer["detail"], str)
        assert answer["detail"]


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_an_extra_member_never_replaces_a_fixed_one(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be replaced"):
        body("paused", "zh", **{name: "x"})


def test_extra_members_may_be_called_like_our_own_parameters() -> None:
    assert body("validation", "zh", slug="a", lang="b")["slug"] == "a"


def test_an_unlisted_slug_is_a_bug() -> None:
    with pytest.raises(KeyError):
        body("no-such-problem", "zh")


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "zh"),
        (b"", "zh"),
        (b"zh", "zh"),
        (b"zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        (b"zh-Hans-CN", "zh"),
        (b"en", "en"),
        (b"EN-us", "en"),
        (b"en-US,en;q=0.9,zh-CN;q=0.8", "en"),
        (b"zh;q=0.5, en", "en"),
        (b"zh-CN;q=0.5,en;q=0.6", "en"),
        (b"en ; q=0.3 , zh ; q=0.4", "zh"),
        (b"en,zh", "en"),
        (b"zh,en", "zh"),
        (b"fr", "zh"),
        (b"fr, en;q=0.1", "en"),
        (b"*", "zh"),
        (b"en;q=0.5, *;q=0.8", "zh"),
        (b"en, *;q=0.5", "en"),
        (b"en;q=0", "zh"),
        (b"en;q=0.000", "zh"),
        (b"en;q=1.000", "en"),
        (b"en;q=2", "zh"),
        (b"en;q=-1", "zh"),
        (b"en;q=abc", "zh"),
        (b"en;q=nan", "zh"),
        (b"en;q=", "zh"),
        (b"en;q=0.5\n", "en"),
        (b"en;level=1;q=0.7", "en"),
        (b"english", "zh"),
        (b"\xff\xfe,en", "en"),
        (b",,,;;;===", "zh"),
        (b"fr," * 100 + b"en", "zh"),
        (b"x" * 100_000 + b",en", "zh"),
    ],
)
def test_accept_language_is_read_as_the_standard_says(header: bytes | None, language: str) -> None:
    assert choose_language(header) == language


@given(
    st.binary(max_size=200)
    | st.lists(st.sampled_from([b"en", b"zh", b"*", b";", b"q=", b"0.5", b",", b"1", b" "])).map(b"".join)
)
def test_no_header_breaks_the_choice(header: bytes) -> None:
    assert choose_language(header) in {"zh", "en"}
