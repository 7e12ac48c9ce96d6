"""Checks of a campaign before publication.

Errors keep it from being scheduled; warnings are advice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.campaigns.definition import Definition
from grab_service.campaigns.eligible import conditions_of
from grab_service.campaigns.service import Campaign
from grab_service.cell.store import Cell
from grab_service.health.check import ReadinessCheck
from grab_service.health.postgres_checks import commits_of
from grab_service.health.redis_checks import check_server
from grab_service.problems import Text as Words
from grab_service.sql.tables import members, orgs, pool_codes
from grab_service.vocabulary.campaigns import BenefitKind, Eligibility
from grab_service.vocabulary.times import parse_rfc3339


class Level(StrEnum):
    """Whether a finding keeps the campaign from being scheduled."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class PreflightFinding:
    """One thing that would go wrong: `field` of the definition, and the figures that its words name."""

    level: Level
    code: str
    field: str
    figures: tuple[tuple[str, int | str], ...] = ()

    def in_language(self, language: str) -> dict[str, Any]:
        """The finding as JSON shows it."""
        message = _WORDS[self.code].in_language(language).format_map(dict(self.figures))
        return {
            "level": self.level.value,
            "code": self.code,
            "field": self.field,
            "message": message,
            **dict(self.figures),
        }


_WORDS: Final = {
    "closes-in-the-past": Words("截止时间已经过去", "The closing time has passed."),
    "opens-in-the-past": Words("开抢时间已经过去，发布后马上开始", "The opening has passed: it opens as soon as it is armed."),
    "release-after-closing": Words(
        "有 {units} 份在截止时间之后才放出，永远抢不到", "{units} units are released after closing: nobody can get them."
    ),
    "too-few-codes": Words(
        "需要 {needed} 个券码，只导入了 {loaded} 个", "{needed} codes are needed, {loaded} have been imported."
    ),
    "redis-evicts": Words("Redis 可能清除已有的领取：{found}", "Redis may throw claims away: {found}."),
    "redis-forgets": Words("Redis 可能丢失已告知的领取：{found}", "Redis may lose claims that winners were told of: {found}."),
    "too-few-replicas": Words(
        "Redis 副本不够：{found}；抢到的人都会收到“结果未知”", "Too few replicas of Redis follow: {found}."
    ),
    "postgres-forgets": Words(
        "PostgreSQL 可能丢失已告知的领取：{found}", "PostgreSQL may lose claims that winners were told of: {found}."
    ),
    "not-known": Words("服务器的设置无法确认：{found}", "A setting of the servers is not known: {found}."),
    "nobody-eligible": Words("没有会员符合资格", "No member is eligible."),
    "fewer-eligible-than-units": Words(
        "符合资格的会员最多领 {claims} 份，少于库存 {units} 份",
        "Those eligible can take {claims} units at most, fewer than the {units} there are.",
    ),
    "unknown-orgs": Words("{count} 个工会没有登记", "{count} of the unions are not registered."),
    "voucher-ends-before-opening": Words("券在开抢之前就失效", "The vouchers are invalid before the campaign even opens."),
    "voucher-ends-before-closing": Words(
        "晚抢到的人拿到的券已经失效", "Those who win late get vouchers that are no longer valid."
    ),
}


_OF_SERVERS: Final = {
    "eviction_policy": "redis-evicts",
    "aof_policy": "redis-forgets",
    "replicas": "too-few-replicas",
    "commits": "postgres-forgets",
}
"""By check: the code of its finding if it fails."""


async def preflight(engine: AsyncEngine, cell: Cell, campaign: Campaign) -> list[PreflightFinding]:
    """Everything found, errors first. Times are held against the cell's clock.

    Raises:
        CellError: the cell cannot be asked, so nothing can be scheduled either.
    """
    return await look_ahead(engine, cell, Definition.model_validate(campaign.definition), campaign.campaign_id)


async def look_ahead(engine: AsyncEngine, cell: Cell, definition: Definition, campaign_id: str = "") -> list[PreflightFinding]:
    """The same for a definition that nobody has written down yet; `campaign_id`: whose codes count as imported.

    Raises:
        CellError: the cell cannot be asked.
    """
    now_ms = (await cell.read_campaigns([])).now_ms
    findings = [*_of_times(definition, now_ms)]
    checks = await check_server(cell.client, cell.keys, cell.durability, cell.replicas_min)
    async with engine.connect() as connection:
        checks["commits"] = await commits_of(connection, cell.durability)
        loaded = (
            await connection.execute(
                select(func.count()).select_from(pool_codes).where(pool_codes.c.campaign_id == campaign_id)
            )
        ).scalar_one()
        eligible = (await connection.execute(_count_eligible(definition.rules_of_eligibility()))).scalar_one()
        named = definition.eligibility.orgs or []
        known = 0
        if named:
            registered = select(func.count()).select_from(orgs).where(orgs.c.org_id.in_(named))
            known = (await connection.execute(registered)).scalar_one()
    findings += _of_codes(definition, loaded)
    findings += _of_servers(checks)
    findings += _of_members(definition, eligible, len(named) - known)
    return sorted(findings, key=lambda finding: finding.level is not Level.ERROR)


def _of_servers(checks: Mapping[str, ReadinessCheck]) -> list[PreflightFinding]:
    """What readiness and the doctor would say of the servers, by what was declared."""
    found = [(code, checks[name]) for name, code in _OF_SERVERS.items()]
    return [
        PreflightFinding(Level.WARNING, code if check.ok is False else "not-known", "", (("found", check.detail),))
        for code, check in found
        if not check.ok
    ]


def _of_times(definition: Definition, now_ms: int) -> list[PreflightFinding]:
    findings = []
    releases = definition.releases_in_order()
    closes_at_ms, opens_at_ms = definition.ends_at_ms, releases[0].opens_at_ms
    if closes_at_ms <= now_ms:
        findings.append(PreflightFinding(Level.ERROR, "closes-in-the-past", "closes_at"))
    elif opens_at_ms <= now_ms:
        findings.append(PreflightFinding(Level.WARNING, "opens-in-the-past", "releases.0.opens_at"))
    for place, release in enumerate(releases):
        if release.opens_at_ms >= closes_at_ms:
            field = f"releases.{place}.opens_at"
            findings.append(PreflightFinding(Level.ERROR, "release-after-closing", field, (("units", release.quantity),)))
    if definition.benefit.valid_until is not None:
        ends_at_ms = parse_rfc3339(definition.benefit.valid_until)
        if ends_at_ms <= max(opens_at_ms, min(now_ms, closes_at_ms)):
            findings.append(PreflightFinding(Level.ERROR, "voucher-ends-before-opening", "benefit.valid_until"))
        elif ends_at_ms <= closes_at_ms:
            findings.append(PreflightFinding(Level.WARNING, "voucher-ends-before-closing", "benefit.valid_until"))
    return findings


def _of_codes(definition: Definition, loaded: int) -> list[PreflightFinding]:
    if definition.benefit_kind is not BenefitKind.CODE_POOL:
        return []
    if loaded < definition.total:
        figures = (("needed", definition.total), ("loaded", loaded))
        return [PreflightFinding(Level.ERROR, "too-few-codes", "releases", figures)]
    return []


def _of_members(definition: Definition, eligible: int, unknown_orgs: int) -> list[PreflightFinding]:
    findings = []
    if unknown_orgs:
        findings.append(PreflightFinding(Level.WARNING, "unknown-orgs", "eligibility.orgs", (("count", unknown_orgs),)))
    claims = eligible * definition.limit_per_member
    if eligible == 0:
        findings.append(PreflightFinding(Level.WARNING, "nobody-eligible", "eligibility"))
    elif claims < definition.total:
        figures = (("claims", claims), ("units", definition.total))
        findings.append(PreflightFinding(Level.WARNING, "fewer-eligible-than-units", "eligibility", figures))
    return findings


def _count_eligible(rules: Eligibility) -> Select[int]:
    return select(func.count()).select_from(members).where(members.c.status == "active", *conditions_of(rules))
