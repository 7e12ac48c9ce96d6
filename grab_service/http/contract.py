"""The problems of each call in OpenAPI: by name, with an example."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from grab_service import problems
from grab_service.http.shapes import ProblemShape
from grab_service.vocabulary.queries import FRESH, UNDER

PROBLEM_TYPE: Final = "application/problem+json"
_PROBLEM_SCHEMA: Final = {"$ref": "#/components/schemas/Problem"}

EVERYWHERE: Final = ("internal-error",)
WRITTEN: Final = ("malformed", "unsupported-media-type", "validation", "too-large", "request-timeout")
"""Of calls that take a body."""
MEMBER_ONLY: Final = ("pass-invalid", "pass-expired")
OPS_ONLY: Final = ("sign-in-required", "forbidden")
LEDGER: Final = ("ledger-unavailable",)
CELL: Final = ("paused-for-recovery", "outcome-unknown")

Responses = dict[int | str, dict[str, Any]]


def answers(*names: str, extra: Mapping[str, Mapping[str, Any]] | None = None, ok: Responses | None = None) -> Responses:
    """The `responses` of a route, by status: the answer if all goes well, and the problems it may answer.

    Args:
        names: slugs of the catalogue; those of every call need not be named.
        extra: slug to the members beside the fixed ones, for the example.
        ok: status to what FastAPI takes, for answers that are no problem.
    """
    by_status: dict[int, dict[str, Any]] = {}
    for name in dict.fromkeys([*names, *EVERYWHERE]):
        problem = problems.CATALOGUE[name]
        value = problems.body(name, "en", **(extra or {}).get(name, {}))
        by_status.setdefault(problem.status, {})[name] = {"summary": problem.title.en, "value": value}
    responses: Responses = dict(ok or {})
    for status, examples in sorted(by_status.items()):
        responses[status] = {
            "description": " · ".join(f"`{name}`: {example['summary']}" for name, example in examples.items()),
            "content": {PROBLEM_TYPE: {"schema": _PROBLEM_SCHEMA, "examples": examples}},
        }
        waits = {problems.CATALOGUE[name].retry_after_s for name in examples} - {None}
        if waits:
            responses[status]["headers"] = {"Retry-After": _header("Seconds to wait before a repeat.", "integer")}
    return responses


def _header(description: str, kind: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind}}


ETAG: Final = {"ETag": _header("Of the version that was answered.", "string")}
LOCATION: Final = {"Location": _header("Where it is from now on.", "string")}


UNDER_V1: Final = {str(status): said for status, said in answers("validation", "unsupported-media-type").items()}
"""Of every call under `/v1`: a parameter that it does not know, a body that is compressed."""

FRESH_PARAMETER: Final = {
    "name": FRESH,
    "in": "query",
    "required": False,
    "description": "Any number, for web-views that keep answers by their address; it changes nothing.",
    "schema": {"type": "string", "pattern": "^[0-9]{1,16}$"},
}


def _says(response: dict[str, Any] | None, shape: str) -> bool:
    content = (response or {}).get("content", {}).get("application/json", {})
    reference: str = content.get("schema", {}).get("$ref", "")
    return reference.endswith(f"/{shape}")


def csv_body(example: str) -> dict[str, Any]:
    """For `openapi_extra`: a call that takes a CSV, as it is or as the one file of a form."""
    form = {"type": "object", "properties": {"file": {"type": "string", "contentMediaType": "text/csv"}}}
    content = {
        "text/csv": {"schema": {"type": "string"}, "example": example},
        "multipart/form-data": {"schema": {**form, "required": ["file"]}},
    }
    return {"requestBody": {"required": True, "content": content}}


def _restore_nulls(schema: dict[str, Any], routes: list[APIRoute]) -> None:
    """Put the examples of answers back as they were written: FastAPI leaves out what is null in them."""
    for route in (route for route in routes if route.include_in_schema):
        for method in route.methods or ():
            described = schema["paths"][route.path][method.lower()]["responses"]
            for status, response in route.responses.items():
                for kind, content in response.get("content", {}).items():
                    given = {key: content[key] for key in ("example", "examples") if key in content}
                    described[str(status)]["content"][kind].update(given)


def describe(app: FastAPI, description: str) -> None:
    """Have `/openapi.json` say all of it: the problems' shape, and the headers that answers carry."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title,
                version=app.version,
                description=description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            components = schema.setdefault("components", {})
            shapes = components.setdefault("schemas", {})
            problem = ProblemShape.model_json_schema(ref_template="#/components/schemas/{model}")
            shapes.update(problem.pop("$defs", {}))
            shapes["Problem"] = problem
            for name in ("HTTPValidationError", "ValidationError"):
                shapes.pop(name, None)
            _restore_nulls(schema, app.state.routes)
            server_time = _header("The cell's clock when the answer left, Unix milliseconds.", "integer")
            request_id = _header("Of the request: its own `X-Request-Id`, or a new one.", "string")
            components["headers"] = {"ServerTime": server_time, "RequestId": request_id}
            for path, operations in schema["paths"].items():
                for method, operation in operations.items():
                    # FastAPI says of every parameter that it may be wrong; texts of any shape are never.
                    if _says(operation["responses"].get("422"), "HTTPValidationError"):
                        del operation["responses"]["422"]
                    if path.startswith(UNDER):
                        operation["responses"] = {**UNDER_V1, **operation["responses"]}
                        if method == "get":
                            operation.setdefault("parameters", []).append(FRESH_PARAMETER)
                    for response in operation["responses"].values():
                        headers = response.setdefault("headers", {})
                        headers["X-Server-Time-Ms"] = {"$ref": "#/components/headers/ServerTime"}
                        headers["X-Request-Id"] = {"$ref": "#/components/headers/RequestId"}
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way FastAPI means it to be replaced
