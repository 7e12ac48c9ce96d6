"""Upload calls for ops: third-party codes, and members."""

from fastapi import APIRouter, Request, Response

from grab_service.campaigns.codes import import_codes
from grab_service.campaigns.shapes import CodesImport, MembersImport
from grab_service.http.answers import in_words, json_answer
from grab_service.http.bodies import StrictRoute, read_csv
from grab_service.http.contract import LEDGER, OPS_ONLY, WRITTEN, answers, csv_body
from grab_service.http.dependencies import WITH_OPS_TOKEN, TheCell, TheEngine, TheLanguage, Writer
from grab_service.members.service import import_members

router = APIRouter(prefix="/v1/ops", tags=["ops"], dependencies=WITH_OPS_TOKEN, route_class=StrictRoute)

MEMBERS_EXAMPLE = (
    "member_id,org_id,person_id,name,tags,birthday_month,joined_on,status\r\n"
    "m-000001,org-001,,张三,model-worker|劳模,9,2016-05-01,active\r\n"
)


@router.post(
    "/campaigns/{campaign_id}/codes",
    summary="Import codes",
    response_model=CodesImport,
    responses=answers(
        *WRITTEN,
        "campaign-not-found",
        "wrong-state",
        *OPS_ONLY,
        *LEDGER,
        extra={"wrong-state": {"state": "closed"}},
    ),
    openapi_extra=csv_body("code\r\nAB12-CD34\r\nEF56-GH78\r\n"),
)
async def codes(
    campaign_id: str, request: Request, identity: Writer, engine: TheEngine, cell: TheCell, language: TheLanguage
) -> Response:
    """A CSV with the header `code`. Rows that cannot be taken are named, the others are taken."""
    done = await import_codes(engine, cell, identity, campaign_id, await read_csv(request))
    return json_answer(
        {
            "rows": done.rows,
            "imported": done.imported,
            "rejected_rows": done.rejected_rows,
            "rejected": in_words(done.rejected, language),
            "loaded": done.loaded,
        }
    )


@router.post(
    "/members/import",
    summary="Import members",
    response_model=MembersImport,
    responses=answers(*WRITTEN, *OPS_ONLY, *LEDGER),
    openapi_extra=csv_body(MEMBERS_EXAMPLE),
)
async def members(request: Request, identity: Writer, engine: TheEngine, cell: TheCell, language: TheLanguage) -> Response:
    """A CSV with all columns of the example, in any order; tags are separated by `|`.

    Rows that cannot be taken are named, the others are taken; `rows` = `imported` + `updated` + `rejected_rows`. Unions that
    are not registered are, by their id, and named in `new_orgs`: a typo shows there.
    """
    done = await import_members(engine, cell, identity, await read_csv(request))
    return json_answer(
        {
            "rows": done.rows,
            "imported": done.imported,
            "updated": done.updated,
            "unchanged": done.unchanged,
            "rejected_rows": done.rejected_rows,
            "new_orgs": [{"org_id": org.org_id, "rows": org.rows} for org in done.new_orgs],
            "rejected": in_words(done.rejected, language),
            "published": done.published,
        }
    )
