"""The dependencies of routes: parts of the worker, language, caller; each a named type.

All are coroutines: FastAPI would send a plain function to another thread, which costs more than it does.
"""

from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.datastructures import Headers

from grab_service.cell.store import Cell
from grab_service.grabpath.view import View
from grab_service.identity.assertions import AssertionKeys
from grab_service.identity.tokens import is_ended
from grab_service.problems import Language, choose_language
from grab_service.refusal import RefusalError
from grab_service.server.worker import Worker
from grab_service.settings import Settings
from grab_service.vocabulary import passes
from grab_service.vocabulary.passes import OpsIdentity, PassRefusal, Role

_READERS = frozenset({Role.VIEWER, Role.OPERATOR, Role.APPROVER, Role.ADMIN})
_WRITERS = frozenset({Role.OPERATOR, Role.ADMIN})
_ADMINS = frozenset({Role.ADMIN})

_PASS = HTTPBearer(scheme_name="memberPass", description="A member's pass, from `POST /v1/sessions`.", auto_error=False)
_OPS_TOKEN = HTTPBearer(scheme_name="opsToken", description="A token of somebody of ops.", auto_error=False)


def worker_of(request: Request) -> Worker:
    """The worker that this application was built of."""
    worker: Worker = request.app.state.worker
    return worker


def now_ms_of(worker: Worker) -> int:
    """The cell's clock as this worker knows it."""
    return worker.view.now_ms()


def language_of(request: Request) -> Language:
    """In which language the caller wants to be spoken to."""
    wish = request.headers.get("accept-language")
    return choose_language(wish.encode("latin-1") if wish is not None else None)


def bearer_token(headers: Headers) -> bytes | None:
    """What follows `Bearer` in the header `Authorization`; None without it."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip().encode("latin-1") if scheme.lower() == "bearer" else None


async def member_of(request: Request) -> str | None:
    """The member whose pass came along; None if none did.

    Raises:
        RefusalError: pass-invalid or pass-expired.
    """
    token = bearer_token(request.headers)
    worker = worker_of(request)
    if token is None:
        if "authorization" in request.headers:
            worker.refused.note(PassRefusal.INVALID.value)
            raise RefusalError("pass-invalid")
        return None
    member_id = passes.verify(worker.keys, token, now_ms_of(worker) / 1000)
    if isinstance(member_id, PassRefusal):
        worker.refused.note(member_id.value)
        raise RefusalError(member_id.value)
    return member_id


async def signed_in(member_id: "AnyMember") -> str:
    """The member whose pass came along.

    Raises:
        RefusalError: pass-invalid or pass-expired.
    """
    if member_id is None:
        raise RefusalError("pass-invalid")
    return member_id


async def identity_of(request: Request) -> OpsIdentity:
    """The ops user who calls.

    Raises:
        RefusalError: sign-in-required.
    """
    shown = bearer_token(request.headers)
    worker = worker_of(request)
    token = passes.verify_ops(worker.keys, shown, now_ms_of(worker) / 1000) if shown is not None else None
    if token is None or isinstance(token, PassRefusal):
        worker.refused.note(f"ops-{'token-missing' if token is None else token.value}")
        raise RefusalError("sign-in-required")
    if await is_ended(worker.engine, token):
        worker.refused.note("ops-token-ended")
        raise RefusalError("sign-in-required")
    return token.identity


async def reader(request: Request) -> OpsIdentity:
    """Somebody of ops who may look.

    Raises:
        RefusalError: sign-in-required or forbidden.
    """
    return _one_of(_READERS, await identity_of(request))


async def writer(request: Request) -> OpsIdentity:
    """Somebody of ops who may change things.

    Raises:
        RefusalError: sign-in-required or forbidden.
    """
    return _one_of(_WRITERS, await identity_of(request))


async def admin(request: Request) -> OpsIdentity:
    """Somebody of ops who may decide on the others.

    Raises:
        RefusalError: sign-in-required or forbidden.
    """
    return _one_of(_ADMINS, await identity_of(request))


def _one_of(roles: frozenset[Role], identity: OpsIdentity) -> OpsIdentity:
    if identity.role not in roles:
        raise RefusalError("forbidden", role=identity.role.value)
    return identity


async def _worker(request: Request) -> Worker:
    return worker_of(request)


async def _language(request: Request) -> Language:
    return language_of(request)


async def _assertion_keys(request: Request) -> AssertionKeys:
    keys: AssertionKeys = request.app.state.assertion_keys
    return keys


async def _settings(request: Request) -> Settings:
    return worker_of(request).settings


async def _cell(request: Request) -> Cell:
    return worker_of(request).cell


async def _view(request: Request) -> View:
    return worker_of(request).view


async def _engine(request: Request) -> AsyncEngine:
    return worker_of(request).engine


TheWorker = Annotated[Worker, Depends(_worker)]
TheAssertionKeys = Annotated[AssertionKeys, Depends(_assertion_keys)]
TheCell = Annotated[Cell, Depends(_cell)]
TheView = Annotated[View, Depends(_view)]
TheEngine = Annotated[AsyncEngine, Depends(_engine)]
TheSettings = Annotated[Settings, Depends(_settings)]
TheLanguage = Annotated[Language, Depends(_language)]

# The schemes are there for OpenAPI; we identify the caller ourselves, in one way for all.
AnyMember = Annotated[str | None, Depends(member_of)]
MemberId = Annotated[str, Depends(signed_in)]
Reader = Annotated[OpsIdentity, Depends(reader)]
Writer = Annotated[OpsIdentity, Depends(writer)]
Admin = Annotated[OpsIdentity, Depends(admin)]
WITH_PASS: list[Any] = [Depends(_PASS)]
WITH_OPS_TOKEN: list[Any] = [Depends(_OPS_TOKEN)]
