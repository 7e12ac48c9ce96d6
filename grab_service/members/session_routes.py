"""The call that exchanges an assertion of the host app for a pass, well before the rush."""

from datetime import date
from typing import Any

import structlog
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from grab_service.cell.store import CellError
from grab_service.http.answers import json_answer
from grab_service.http.bodies import StrictRoute
from grab_service.http.contract import LEDGER, WRITTEN, answers
from grab_service.http.dependencies import TheAssertionKeys, TheLanguage, TheWorker, now_ms_of
from grab_service.http.field_errors import field_errors
from grab_service.http.fields import Day, MemberIdText, OrgId, PersonName, ProfileTags
from grab_service.http.shapes import MemberSession
from grab_service.identity.assertions import ASSERTION_MAX_BYTES, AssertionRefusedError
from grab_service.members.profiles import Profile, take_assertion
from grab_service.publishing.publish import publish_members
from grab_service.refusal import RefusalError
from grab_service.vocabulary import passes
from grab_service.vocabulary.times import rfc3339

router = APIRouter(prefix="/v1", tags=["members"], route_class=StrictRoute)


log = structlog.get_logger()


class Assertion(BaseModel):
    """What the host app signed."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"assertion": "eyJ…"}]})

    assertion: str = Field(min_length=1, max_length=ASSERTION_MAX_BYTES, description="a JWT of at most five minutes")


class _Said(BaseModel):
    """The claims of a genuine assertion that we read; the host app may say more."""

    model_config = ConfigDict(extra="ignore", strict=True)

    sub: MemberIdText
    org_id: OrgId | None = None
    person_id: MemberIdText | None = None
    name: PersonName | None = None
    tags: ProfileTags | None = None
    birthday_month: int | None = Field(default=None, ge=1, le=12)
    joined_on: Day | None = None

    def profile(self) -> Profile:
        return Profile(
            org_id=self.org_id,
            person_id=self.person_id,
            name=self.name,
            tags=tuple(self.tags) if self.tags is not None else None,
            birthday_month=self.birthday_month,
            joined_on=date.fromisoformat(self.joined_on) if self.joined_on is not None else None,
        )


@router.post(
    "/sessions",
    summary="Exchange an assertion for a pass",
    response_model=MemberSession,
    responses=answers(
        *WRITTEN,
        "assertion-invalid",
        "assertion-used",
        "member-unknown",
        *LEDGER,
    ),
)
async def exchange(wanted: Assertion, worker: TheWorker, keys: TheAssertionKeys, language: TheLanguage) -> Response:
    """Well before the rush. Each assertion (`jti`) is good for one pass.

    It may carry the member's profile: `org_id`, `person_id`, `name`, `tags`, `birthday_month`, `joined_on`; a member who
    is not registered yet is registered by it, at once, if it names their union.
    """
    now_ms, version_in_cell = now_ms_of(worker), worker.view.members_version
    try:
        claims = keys.verify(wanted.assertion, now_ms / 1000)
    except AssertionRefusedError as error:
        worker.refused.note(f"assertion: {error}")
        raise RefusalError("assertion-invalid") from error
    try:
        said = _Said.model_validate(claims)
    except ValidationError as error:
        errors: list[dict[str, Any]] = field_errors(error.errors(), language)
        raise RefusalError("validation", errors=errors) from error
    expires_at_ms = int(claims["exp"] * 1000)
    member = await take_assertion(worker.engine, claims["jti"], expires_at_ms, now_ms, said.sub, said.profile())
    if member.changed:
        try:
            await publish_members(worker.engine, worker.cell)
        except CellError as error:
            # On record; the ledger's sweep tells the cell as soon as it can be told, and until then nobody wins anyway.
            log.warning("member_not_published_yet", why=str(error))
    made_at_s = now_ms // 1000
    expires_at_s = made_at_s + worker.settings.pass_ttl_s
    # The pass names the union only if the cell held this very record before it was read: the log tells later changes.
    org_id = member.org_id if member.version <= version_in_cell else ""
    return json_answer(
        {
            "pass": passes.mint(worker.keys, member.member_id, expires_at_s, made_at_s=made_at_s, org_id=org_id),
            "expires_at": rfc3339(expires_at_s * 1000),
            "member": {"member_id": member.member_id, "org_id": member.org_id, "status": member.status},
        }
    )
