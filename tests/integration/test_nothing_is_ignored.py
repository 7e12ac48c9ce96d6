"""A request is refused if a part of it would be ignored, in every call that the service describes."""

import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic_core.core_schema import ErrorType

from grab_service.http.field_errors import _REASONS, reason_of
from tests.harness.service import Service

WRITES = ("post", "put", "patch", "delete")


async def calls(service: Service) -> list[tuple[str, str]]:
    """(method, address) of every call, with ids that nobody has."""
    paths: dict[str, dict[str, Any]] = (await service.http.get("/openapi.json")).json()["paths"]
    return [(method, re.sub(r"\{[^}]+\}", "nobody", path)) for path, methods in paths.items() for method in methods]


def reasons(answer: Any) -> Iterator[tuple[str, str]]:
    assert (answer.status_code, answer.json()["code"]) == (422, "validation"), (answer.request.url, answer.text)
    return ((error["field"], error["reason"]) for error in answer.json()["errors"])


async def test_every_call_under_v1_refuses_a_parameter_that_it_does_not_know(service: Service) -> None:
    tried = 0
    for method, path in await calls(service):
        answer = await service.http.request(method, f"{path}?lmit=5&cursr=x")
        if not path.startswith("/v1/"):
            assert answer.status_code != 422, path
            continue
        found = dict(reasons(answer))
        assert set(found) == {"lmit", "cursr"}, path
        assert all(reason.startswith("没有这个参数") for reason in found.values())
        tried += 1
    assert tried >= 30


async def test_every_get_takes_a_number_against_caches_and_answers_as_without(service: Service) -> None:
    for method, path in await calls(service):
        if method != "get" or not path.startswith("/v1/"):
            continue
        plain, fresh = await service.http.get(path), await service.http.get(f"{path}?t=1795000000000")
        assert fresh.status_code == plain.status_code, path
        assert list(reasons(await service.http.get(f"{path}?t=now"))) == [("t", "应为 1 到 16 位数字")]
        assert list(reasons(await service.http.get(f"{path}?t=1&t=2"))) == [("t", "只能出现一次")]


async def test_no_call_that_writes_takes_it(service: Service) -> None:
    for method, path in await calls(service):
        if method in WRITES and path.startswith("/v1/"):
            assert [field for field, _ in reasons(await service.http.request(method, f"{path}?t=1"))] == ["t"]


async def test_a_parameter_that_stands_twice_is_refused_and_the_known_ones_are_named(service: Service) -> None:
    head = {**service.ops(), "accept-language": "en"}
    twice = await service.http.get("/v1/ops/log?limit=1&limit=500", headers=head)
    assert list(reasons(twice)) == [("limit", "it may stand there once")]
    unknown = await service.http.get("/v1/ops/campaigns?Limit=1", headers=head)
    assert list(reasons(unknown)) == [("Limit", "there is no such parameter; there are: cursor, limit, state")]


@pytest.mark.parametrize("encoding", ["br", "gzip", "deflate, identity", "x"])
async def test_a_body_that_is_said_to_be_compressed_is_refused_by_every_call(service: Service, encoding: str) -> None:
    for method, path in await calls(service):
        if method not in WRITES:
            continue
        head = {"content-encoding": encoding, "accept-language": "en"}
        answer = await service.http.request(method, path, headers=head, json={"role": "admin"})
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media-type"), path
        assert "Content-Encoding" in answer.json()["detail"]


async def test_a_grab_whose_encoding_is_none_is_a_grab(service: Service) -> None:
    for head in ({"content-encoding": "identity"}, {"content-encoding": ""}):
        answer = await service.http.post("/v1/campaigns/nobody/claims", headers=head)
        assert answer.json()["code"] == "pass-invalid"
    refused = await service.http.post("/v1/campaigns/nobody/claims", headers={"content-encoding": "br"})
    assert refused.status_code == 415


def test_no_reason_in_chinese_holds_words_of_a_programming_language() -> None:
    kinds = {*get_args(ErrorType), *_REASONS}
    about = {name: "5" for words in _REASONS.values() for name in re.findall(r"\{(\w+)", words.zh)}
    about |= {"expected": "'open', 'closed' or None"}
    for kind in kinds:
        said = reason_of({"type": kind, "msg": "Input should be a valid string", "ctx": about}, "zh")
        assert re.search("[一-鿿]", said), kind
        assert not re.search(r"\bor\b|None|Input|should|str\b|\bint\b|\^", said), (kind, said)
