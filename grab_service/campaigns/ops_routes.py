"""Calls for ops: create and read campaigns, and change drafts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from grab_service.campaigns.definition import Definition, Title
from grab_service.campaigns.drafts import changed_definition, copy_campaign, delete_draft
from grab_service.campaigns.facts import campaign_facts
from grab_service.campaigns.service import Campaign, change_draft, create_campaign, list_campaigns, read_campaign
from grab_service.campaigns.shapes import OpsCampaign, OpsCampaignPage
from grab_service.grabpath.view import View
from grab_service.http.answers import json_answer
from grab_service.http.bodies import StrictRoute
from grab_service.http.contract import ETAG, LEDGER, LOCATION, OPS_ONLY, WRITTEN, answers
from grab_service.http.dependencies import (
    WITH_OPS_TOKEN,
    Reader,
    TheEngine,
    TheLanguage,
    TheView,
    Writer,
)
from grab_service.http.etags import matches_version, version_etag
from grab_service.http.examples import DEFINITION
from grab_service.http.field_errors import field_errors
from grab_service.http.fields import Moment
from grab_service.http.paging import Cursor, Limit, decode_cursor, encode_cursor, page_of
from grab_service.problems import Language
from grab_service.refusal import RefusalError
from grab_service.vocabulary.campaigns import CampaignState
from grab_service.vocabulary.times import parse_rfc3339

router = APIRouter(prefix="/v1/ops/campaigns", tags=["ops"], route_class=StrictRoute, dependencies=WITH_OPS_TOKEN)

_FOUND: Final = ("campaign-not-found",)

# FastAPI would answer 422 to a required header that is missing; the contract says 428.
_IF_MATCH: Final = {
    "name": "If-Match",
    "in": "header",
    "required": True,
    "description": "the ETag of what was read",
    "schema": {"type": "string"},
    "example": '"1"',
}


class WantedCopy(BaseModel):
    """The fields in which the copy differs."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        str_strip_whitespace=True,
        json_schema_extra={"examples": [{"title": "骑行券（十月）", "opens_at": "2026-10-20T04:00:00Z"}]},
    )

    title: Title | None = None
    opens_at: Moment | None = Field(default=None, description="when its first release opens")


def campaign_body(campaign: Campaign, view: View) -> dict[str, Any]:
    """A campaign as ops read it; the number of units given out comes from the worker's view of the log."""
    published = view.campaign(campaign.campaign_id)
    return campaign_facts(campaign, published.active if published is not None else 0, view.now_ms())


def campaign_answer(campaign: Campaign, view: View, status: int = 200, **headers: str) -> Response:
    """A campaign with the ETag of its configuration."""
    return json_answer(campaign_body(campaign, view), status, etag=version_etag(campaign.version), **headers)


@router.post(
    "",
    summary="Write a campaign: a draft",
    status_code=201,
    response_model=OpsCampaign,
    responses=answers(*WRITTEN, *OPS_ONLY, *LEDGER, ok={201: {"headers": ETAG | LOCATION}}),
)
async def create(
    definition: Annotated[Definition, Body(openapi_examples={"moon cakes": {"value": DEFINITION}})],
    identity: Writer,
    engine: TheEngine,
    view: TheView,
) -> Response:
    """Only `title`, `releases`, `closes_at` and `benefit` are required; the rest is a free rush for all, one each.

    An unsupported field is refused by name. The answer of `GET` may be sent; read-only fields are not carried over.
    """
    campaign = await create_campaign(engine, identity, definition)
    return campaign_answer(campaign, view, 201, location=f"/v1/ops/campaigns/{campaign.campaign_id}")


@router.get(
    "",
    summary="All campaigns, newest first",
    response_model=OpsCampaignPage,
    responses=answers("validation", *OPS_ONLY, *LEDGER),
)
async def list_all(
    _identity: Reader,
    engine: TheEngine,
    view: TheView,
    language: TheLanguage,
    state: Annotated[CampaignState | None, Query(description="only those in this state")] = None,
    cursor: Cursor = None,
    limit: Limit = 20,
) -> Response:
    """Drafts included."""
    after: Any = decode_cursor(cursor, language, int, str)
    found = await list_campaigns(engine, after=after, limit=limit + 1, states=[state] if state else [])
    campaigns, more = page_of(found, limit)
    last = campaigns[-1] if more else None
    return json_answer(
        {
            "items": [campaign_body(campaign, view) for campaign in campaigns],
            "next_cursor": encode_cursor(last.created_at_ms, last.campaign_id) if last else None,
        }
    )


@router.get(
    "/{campaign_id}",
    summary="One campaign",
    response_model=OpsCampaign,
    responses=answers(*_FOUND, *OPS_ONLY, *LEDGER, ok={200: {"headers": ETAG}}),
)
async def read(campaign_id: str, _identity: Reader, engine: TheEngine, view: TheView) -> Response:
    """The ETag covers the configuration: what `PATCH` changes."""
    return campaign_answer(await read_campaign(engine, campaign_id), view)


@router.patch(
    "/{campaign_id}",
    summary="Change a draft",
    response_model=OpsCampaign,
    responses=answers(
        *WRITTEN,
        *_FOUND,
        "wrong-state",
        "precondition-failed",
        "precondition-required",
        *OPS_ONLY,
        *LEDGER,
        extra={"wrong-state": {"state": "scheduled"}},
        ok={200: {"headers": ETAG}},
    ),
    openapi_extra={"parameters": [_IF_MATCH]},
)
async def change(
    campaign_id: str,
    changes: Annotated[
        dict[str, Any],
        Body(
            description="A merge patch (RFC 7396): a field left out stays, null goes back to its default.",
            openapi_examples={"a better title": {"value": {"title": "中秋月饼（第二批）"}}},
        ),
    ],
    identity: Writer,
    engine: TheEngine,
    view: TheView,
    language: TheLanguage,
    if_match: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """The whole must be valid afterwards; once scheduled, the configuration is fixed.

    What `GET` gives may be sent back, with read-only fields unchanged.
    """
    campaign = await read_campaign(engine, campaign_id)
    _check_version(campaign, if_match)
    with _words_of_validation(language):
        definition = changed_definition(campaign, campaign_body(campaign, view), changes)
    return campaign_answer(await change_draft(engine, identity, campaign, definition), view)


@router.post(
    "/{campaign_id}/copy",
    summary="Write a campaign like another one: a draft",
    status_code=201,
    response_model=OpsCampaign,
    responses=answers(*WRITTEN, *_FOUND, *OPS_ONLY, *LEDGER, ok={201: {"headers": ETAG | LOCATION}}),
)
async def copy(
    campaign_id: str, wanted: WantedCopy, identity: Writer, engine: TheEngine, view: TheView, language: TheLanguage
) -> Response:
    """With `opens_at` all times move along: releases, closing, validity. Codes of a pool are not copied."""
    opens_at_ms = None if wanted.opens_at is None else parse_rfc3339(wanted.opens_at)
    with _words_of_validation(language):
        made = await copy_campaign(engine, identity, campaign_id, title=wanted.title, opens_at_ms=opens_at_ms)
    return campaign_answer(made, view, 201, location=f"/v1/ops/campaigns/{made.campaign_id}")


@router.delete(
    "/{campaign_id}",
    summary="Delete a draft",
    status_code=204,
    responses=answers(
        *_FOUND,
        "wrong-state",
        "precondition-failed",
        "precondition-required",
        *OPS_ONLY,
        *LEDGER,
        extra={"wrong-state": {"state": "scheduled"}},
    ),
    openapi_extra={"parameters": [_IF_MATCH]},
)
async def remove(
    campaign_id: str,
    identity: Writer,
    engine: TheEngine,
    if_match: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """With the codes that were imported for it. A scheduled campaign can only be cancelled or closed, and stays on record."""
    campaign = await read_campaign(engine, campaign_id)
    _check_version(campaign, if_match)
    await delete_draft(engine, identity, campaign)
    return Response(status_code=204)


@contextmanager
def _words_of_validation(language: Language) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        raise RefusalError("validation", errors=field_errors(error.errors(), language)) from error


def _check_version(campaign: Campaign, if_match: str | None) -> None:
    if if_match is None:
        raise RefusalError("precondition-required")
    if not matches_version(if_match, version_etag(campaign.version)):
        raise RefusalError("precondition-failed")
    if campaign.state is not CampaignState.DRAFT:
        raise RefusalError("wrong-state", state=campaign.state.value)
