"""OpenAPI states the whole contract, and is sound."""

import re
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # has no types
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from grab_service.problems import CATALOGUE
from grab_service.server.call_kinds import DECLARED
from grab_service.server.worker import Worker
from grab_service.service.app import build_app
from grab_service.settings import Settings
from grab_service.vocabulary.outcomes import slug
from tests.harness.worker import forget_metrics
from tests.rules import RULES

# But for the refusals of the rules.
GRAB_ANSWERS = {
    201: set[str](),
    200: set[str](),
    400: {"malformed", "idempotency-key-missing"},
    401: {"pass-invalid", "pass-expired"},
    404: {"campaign-not-found"},
    408: {"request-timeout"},
    413: {"too-large"},
    415: {"unsupported-media-type"},
    422: {"validation"},
    429: {"rate-limited"},
    500: {"internal-error"},
    503: {"overloaded", "paused-for-recovery", "outcome-unknown"},
}


def application(*, dev: bool) -> FastAPI:
    forget_metrics()
    settings = Settings(
        redis_url="redis://127.0.0.1:1/0",
        database_url="postgresql://nobody@127.0.0.1:1/none",
        secrets={"k1": SecretStr("a secret of tests, long enough")},
        dev=dev,
    )
    return build_app(Worker.build(settings))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return application(dev=True).openapi()


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def examples_of(content: dict[str, Any]) -> list[Any]:
    return [*([content["example"]] if "example" in content else []), *_values(content.get("examples", {}))]


def _values(examples: dict[str, Any]) -> list[Any]:
    return [example["value"] for example in examples.values()]


def test_every_kind_of_call_is_declared_for_a_call_that_is_there(document: dict[str, Any]) -> None:
    assert DECLARED.keys() <= document["paths"].keys()


def test_development_calls_are_not_described_where_they_are_not_there() -> None:
    document = application(dev=False).openapi()
    assert not [path for path in document["paths"] if "/dev/" in path]
    assert "development" not in {tag["name"] for tag in document["tags"]}


def test_the_grab_is_described_with_all_its_answers(document: dict[str, Any]) -> None:
    responses = document["paths"]["/v1/campaigns/{campaign_id}/claims"]["post"]["responses"]
    answers = {status: set(names) for status, names in GRAB_ANSWERS.items()}
    for refusal in (slug(word) for rule in RULES for word in rule.OUTCOMES):
        answers.setdefault(CATALOGUE[refusal].status, set()).add(refusal)
    assert {int(status) for status in responses} == answers.keys()
    for status, names in answers.items():
        if names:
            assert set(responses[str(status)]["content"]["application/problem+json"]["examples"]) == names
    assert "Retry-After" in responses["503"]["headers"]
    assert "Location" in responses["201"]["headers"]


def test_every_answer_carries_the_server_time_and_problems_are_problems(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            assert "X-Server-Time-Ms" in response["headers"], name
            if int(status) >= 400 and name != "GET /readyz":
                assert set(response["content"]) == {"application/problem+json"}, (name, status)
                for slug, example in response["content"]["application/problem+json"]["examples"].items():
                    assert example["value"]["code"] == slug
                    assert CATALOGUE[slug].status == int(status)


def test_every_call_says_what_it_is_for_and_has_its_own_name(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name


def test_calls_say_who_may_make_them(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        wanted = operation.get("security", [])
        if "/v1/ops/" in name:
            assert wanted == [{"opsToken": []}], name
        elif re.search(r"/claims|/me/|/eligibility", name):
            assert wanted == [{"memberPass": []}], name
    optional = document["paths"]["/v1/campaigns/{campaign_id}"]["get"]["security"]
    assert optional == [{"memberPass": []}, {}]


def test_every_example_is_what_its_schema_says(document: dict[str, Any]) -> None:
    checked = 0
    for name, operation in operations(document):
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        contents = [(kind, content) for body in bodies for kind, content in body.get("content", {}).items()]
        for kind, content in contents:
            schema = {**content.get("schema", {}), "components": document["components"]}
            for example in examples_of(content):
                if "json" in kind:
                    jsonschema.validate(example, schema)
                else:
                    assert isinstance(example, str), name
                checked += 1
    for shape in document["components"]["schemas"].values():
        for example in shape.get("examples", []):
            jsonschema.validate(example, {**shape, "components": document["components"]})
            checked += 1
    assert checked > 100


def test_every_shape_that_is_referred_to_is_there(document: dict[str, Any]) -> None:
    shapes = document["components"]["schemas"]
    referred = set(re.findall(r"#/components/schemas/([A-Za-z0-9_-]+)", str(document)))
    assert referred <= shapes.keys()
    assert "HTTPValidationError" not in shapes
