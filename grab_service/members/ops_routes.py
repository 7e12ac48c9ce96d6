"""Calls for ops about members, unions and blocks."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from grab_service.http.answers import json_answer
from grab_service.http.bodies import StrictRoute
from grab_service.http.contract import CELL, LEDGER, OPS_ONLY, WRITTEN, answers
from grab_service.http.dependencies import WITH_OPS_TOKEN, Reader, TheCell, TheEngine, TheLanguage, TheView, Writer
from grab_service.http.fields import Moment, OrgId, OrgName, Reason
from grab_service.http.paging import Cursor, Limit, decode_cursor, encode_cursor, page_of
from grab_service.members.orgs import list_orgs, write_org
from grab_service.members.service import FOREVER_MS, MemberOnRecord, block, list_blocks, list_members, read_member, unblock
from grab_service.members.service import Block as BlockedMember
from grab_service.members.shapes import Block, BlockPage, OpsMember, OpsMemberPage, Org, OrgPage
from grab_service.problems import Text
from grab_service.refusal import RefusalError
from grab_service.vocabulary import members
from grab_service.vocabulary.times import parse_rfc3339, rfc3339

router = APIRouter(prefix="/v1/ops", tags=["ops"], route_class=StrictRoute, dependencies=WITH_OPS_TOKEN)


class WrittenOrg(BaseModel):
    """A union and its name."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        str_strip_whitespace=True,
        json_schema_extra={"examples": [{"org_id": "org-001", "name": "科学城第一小学工会"}]},
    )

    org_id: OrgId
    name: OrgName


class WrittenBlock(BaseModel):
    """Until when, and why."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"until": "2026-10-01T00:00:00Z", "reason": "代抢，第二次"}]},
    )

    until: Moment | None = Field(default=None, description="null or left out: until it is lifted")
    reason: Reason


def block_body(blocked: BlockedMember) -> dict[str, Any]:
    """A blocked member as JSON shows it."""
    until = None if blocked.until_ms == FOREVER_MS else rfc3339(blocked.until_ms)
    return {"member_id": blocked.member_id, "until": until, "reason": blocked.reason}


def member_body(found: MemberOnRecord) -> dict[str, Any]:
    """A member as JSON shows them to ops."""
    member, blocked = found.member, found.block
    body = None if blocked is None else block_body(blocked)
    return {
        "member_id": member.member_id,
        "org_id": member.org_id,
        "person_id": member.person_id,
        "name": member.name,
        "tags": list(member.tags),
        "birthday_month": member.birthday_month,
        "joined_on": None if member.joined_on is None else member.joined_on.isoformat(),
        "status": member.status.value,
        "blocked": None if body is None else {"until": body["until"], "reason": body["reason"]},
    }


@router.get("/members", summary="Members", response_model=OpsMemberPage, responses=answers("validation", *OPS_ONLY, *LEDGER))
async def all_members(
    _identity: Reader,
    engine: TheEngine,
    view: TheView,
    language: TheLanguage,
    q: Annotated[str | None, Query(max_length=64, description="the start of an id, or a part of a name")] = None,
    org: Annotated[str | None, Query(max_length=32, description="only those of this union")] = None,
    cursor: Cursor = None,
    limit: Limit = 20,
) -> Response:
    """By id."""
    place: Any = decode_cursor(cursor, language, str)
    after = place[0] if place else None
    found = await list_members(engine, q=q, org_id=org, now_ms=view.now_ms(), after=after, limit=limit + 1)
    page, more = page_of(found, limit)
    next_cursor = encode_cursor(page[-1].member.member_id) if more else None
    return json_answer({"items": [member_body(one) for one in page], "next_cursor": next_cursor})


@router.get(
    "/members/{member_id}",
    summary="One member",
    response_model=OpsMember,
    responses=answers("member-not-found", *OPS_ONLY, *LEDGER),
)
async def one_member(member_id: str, _identity: Reader, engine: TheEngine, view: TheView) -> Response:
    """The member's record, and their block if there is one."""
    return json_answer(member_body(await read_member(engine, member_id, now_ms=view.now_ms())))


@router.get("/orgs", summary="Unions", response_model=OrgPage, responses=answers("validation", *OPS_ONLY, *LEDGER))
async def all_orgs(
    _identity: Reader, engine: TheEngine, language: TheLanguage, cursor: Cursor = None, limit: Limit = 20
) -> Response:
    """By id."""
    place: Any = decode_cursor(cursor, language, str)
    found = await list_orgs(engine, after=place[0] if place else None, limit=limit + 1)
    page, more = page_of(found, limit)
    items = [{"org_id": org.org_id, "name": org.name} for org in page]
    return json_answer({"items": items, "next_cursor": encode_cursor(page[-1].org_id) if more else None})


@router.post(
    "/orgs",
    summary="Register a union, or rename it",
    status_code=201,
    response_model=Org,
    responses=answers(
        *WRITTEN,
        *OPS_ONLY,
        *LEDGER,
        ok={200: {"model": Org, "description": "It was there; it has this name now."}},
    ),
)
async def set_org(written: WrittenOrg, identity: Writer, engine: TheEngine) -> Response:
    """201 if it is new, 200 if it was there."""
    new = await write_org(engine, identity, members.Org(written.org_id, written.name))
    return json_answer({"org_id": written.org_id, "name": written.name}, 201 if new else 200)


@router.get(
    "/blocklist",
    summary="Members who may not grab now",
    response_model=BlockPage,
    responses=answers("validation", *OPS_ONLY, *LEDGER),
)
async def all_blocks(
    _identity: Reader, engine: TheEngine, view: TheView, language: TheLanguage, cursor: Cursor = None, limit: Limit = 20
) -> Response:
    """By id."""
    place: Any = decode_cursor(cursor, language, str)
    found = await list_blocks(engine, now_ms=view.now_ms(), after=place[0] if place else None, limit=limit + 1)
    page, more = page_of(found, limit)
    items = [block_body(blocked) for blocked in page]
    return json_answer({"items": items, "next_cursor": encode_cursor(page[-1].member_id) if more else None})


@router.put(
    "/blocklist/{member_id}",
    summary="Block a member",
    response_model=Block,
    responses=answers(*WRITTEN, "member-not-found", *OPS_ONLY, *LEDGER, *CELL),
)
async def set_block(
    member_id: str, written: WrittenBlock, identity: Writer, engine: TheEngine, view: TheView, cell: TheCell
) -> Response:
    """After the answer no later grab of theirs wins. Their claims stay theirs."""
    until_ms = FOREVER_MS if written.until is None else parse_rfc3339(written.until)
    if until_ms <= view.now_ms():
        reason = Text("应为将来的时间", "a time to come is needed")
        raise RefusalError("validation", errors=[{"field": "until", "reason": reason}])
    return json_answer(block_body(await block(engine, cell, identity, member_id, until_ms, written.reason)))


@router.delete(
    "/blocklist/{member_id}",
    summary="Lift a block",
    status_code=204,
    responses=answers("member-not-found", *OPS_ONLY, *LEDGER, *CELL),
)
async def lift_block(member_id: str, identity: Writer, engine: TheEngine, cell: TheCell) -> Response:
    """No error if there is none."""
    await unblock(engine, cell, identity, member_id)
    return Response(status_code=204)
