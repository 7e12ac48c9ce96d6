"""Drafts: change, copy from another campaign, preview before saving, deletion."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.campaigns.definition import READ_ONLY, Definition
from grab_service.campaigns.service import Campaign, create_campaign, find_campaign, read_campaign
from grab_service.http.merge_patch import merged
from grab_service.ops_log.log import logged
from grab_service.refusal import RefusalError
from grab_service.sql.tables import campaigns
from grab_service.vocabulary.campaigns import CampaignState
from grab_service.vocabulary.passes import OpsIdentity
from grab_service.vocabulary.times import parse_rfc3339, rfc3339

_VALIDITY: Final = ("valid_from", "valid_until")


def changed_definition(campaign: Campaign, facts: Mapping[str, Any], changes: Mapping[str, Any]) -> Definition:
    """The definition after a merge patch; `facts` are what the campaign says of itself, and may stand in the patch unchanged.

    Raises:
        pydantic.ValidationError: a read-only field differs, or the whole is no definition.
    """
    wrong = [
        InitErrorDetails(type=PydanticCustomError("read_only", "it is read-only"), loc=(name,), input=changes[name])
        for name in sorted(READ_ONLY & changes.keys())
        if changes[name] != facts[name]
    ]
    if wrong:
        raise ValidationError.from_exception_data("Definition", wrong)
    return Definition.model_validate(merged(campaign.definition, changes))


async def copy_campaign(
    engine: AsyncEngine, identity: OpsIdentity, campaign_id: str, *, title: str | None = None, opens_at_ms: int | None = None
) -> Campaign:
    """A new draft with the definition of another campaign, its releases as they are in force now.

    With `opens_at_ms` all times move along, so that the first release opens then: releases, closing, validity of vouchers.
    Codes of a pool are not copied.

    Raises:
        RefusalError: campaign-not-found.
        pydantic.ValidationError: the times do not fit any more, or an earlier release took what this one does not.
    """
    source = await read_campaign(engine, campaign_id)
    later_ms = 0 if opens_at_ms is None else opens_at_ms - source.opens_at_ms
    written: dict[str, Any] = dict(source.definition)
    written["releases"] = [
        {"opens_at": rfc3339(release.opens_at_ms + later_ms), "quantity": release.quantity}
        for release in source.releases
        if release.quantity
    ]
    written["closes_at"] = rfc3339(source.closes_at_ms + later_ms)
    benefit = written["benefit"] = dict(written["benefit"])
    for name in _VALIDITY:
        if benefit.get(name) is not None:
            benefit[name] = rfc3339(parse_rfc3339(benefit[name]) + later_ms)
    if title is not None:
        written["title"] = title
    return await create_campaign(engine, identity, Definition.model_validate(written), copied_from=campaign_id)


async def delete_draft(engine: AsyncEngine, identity: OpsIdentity, campaign: Campaign) -> None:
    """Delete a draft as it was read, with the codes that were imported for it; its lines in the log of ops stay.

    Raises:
        RefusalError: campaign-not-found; wrong-state: no draft any more; precondition-failed: somebody changed it meanwhile.
    """
    detail = {"version": campaign.version, "title": campaign.definition["title"]}
    async with (
        logged(engine, identity, "campaign.delete", campaign.campaign_id, detail=detail),
        engine.begin() as connection,
    ):
        deleted = await connection.execute(
            delete(campaigns)
            .where(campaigns.c.campaign_id == campaign.campaign_id)
            .where(campaigns.c.version == campaign.version)
            .where(campaigns.c.state == CampaignState.DRAFT.value)
        )
        if deleted.rowcount != 1:
            now = await find_campaign(connection, campaign.campaign_id)
            if now.state is not CampaignState.DRAFT:
                raise RefusalError("wrong-state", state=now.state.value)
            raise RefusalError("precondition-failed")
