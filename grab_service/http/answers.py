"""Responses: JSON as bytes, problems after RFC 9457, and one place that words every failure."""

from typing import Any, Final, Protocol, runtime_checkable

import orjson
from asyncpg import PostgresError
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from grab_service import problems
from grab_service.cell.store import CellError
from grab_service.http.dependencies import language_of
from grab_service.http.field_errors import field_errors
from grab_service.refusal import RefusalError, refusal_of
from grab_service.vocabulary.claims import UnknownRecordError

PROBLEM_TYPE: Final = "application/problem+json"
NO_STORE: Final = {"cache-control": "no-store"}

_NAME_OF_STATUS: Final = {400: "malformed", 404: "not-found", 405: "method-not-allowed", 413: "too-large"}
_CHALLENGED: Final = 401
_CUT_OFF: Final = frozenset({"too-large", "request-timeout"})


def json_answer(content: Any, status: int = 200, **headers: str) -> Response:
    """The content as JSON; nothing is kept by caches unless `cache_control` says so. Header names with `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(orjson.dumps(content), status, {**NO_STORE, **named}, "application/json")


@runtime_checkable
class _Spoken(Protocol):
    """A text in two languages."""

    def in_language(self, lang: str, /) -> Any: ...


def in_words(value: Any, language: str) -> Any:
    """The value with all that can be said in two languages put into words."""
    match value:
        case _Spoken():
            return value.in_language(language)
        case list() | tuple():
            return [in_words(part, language) for part in value]
        case dict():
            return {name: in_words(part, language) for name, part in value.items()}
        case _:
            return value


def problem_answer(request: Request, refusal: RefusalError) -> Response:
    """The problem document of a refusal."""
    language = language_of(request)
    problem = problems.CATALOGUE[refusal.name]
    headers = {"content-language": language, **NO_STORE}
    retry_after_s = refusal.retry_after_s if refusal.retry_after_s is not None else problem.retry_after_s
    if retry_after_s is not None:
        headers["retry-after"] = str(retry_after_s)
    if problem.status == _CHALLENGED:
        headers["www-authenticate"] = "Bearer"
    extra = {**in_words(refusal.extra, language), "request_id": request.state.request_id}
    body = orjson.dumps(problems.body(refusal.name, language, **extra))
    return Response(body, problem.status, headers, PROBLEM_TYPE)


def _on_refusal(request: Request, error: Exception) -> Response:
    refusal = refusal_of(error)
    if refusal is None or refusal.name in _CUT_OFF:
        raise error  # a body that was cut off is the edge's to deal with
    return problem_answer(request, refusal)


def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problem_answer(request, RefusalError("validation", errors=field_errors(error.errors(), language_of(request))))


def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    name = _NAME_OF_STATUS.get(error.status_code)
    if name is None:
        raise error
    answer = problem_answer(request, RefusalError(name))
    if name == "method-not-allowed":
        # Each method of an address is a route of its own; the router names those of the first only.
        routes: list[APIRoute] = request.app.state.routes
        path = request.scope["path"]
        # An address that is written out goes before one whose last part is an id.
        written_out = [route for route in routes if route.path == path]
        fitting = written_out or [route for route in routes if route.path_regex.match(path)]
        found = {method for route in fitting for method in route.methods or ()}
        found |= {"HEAD"} if "GET" in found else set()
        answer.headers["allow"] = ", ".join(sorted(found)) or (error.headers or {}).get("allow", "GET")
    return answer


def put_failures_into_words(app: FastAPI) -> None:
    """Have every declared failure answered as a problem; an undeclared one is a bug, and left to the edge."""
    for failure in (RefusalError, CellError, UnknownRecordError, SQLAlchemyError, PostgresError, OSError):
        app.add_exception_handler(failure, _on_refusal)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http_exception)
