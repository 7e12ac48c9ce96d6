"""The audit of a closed cell: the invariants of the open cell, read directly on the guard's connection."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.audit import AuditReport, CampaignCut, CellCut, audit_books
from grab_service.audit.cut import FACTS, SIZES
from grab_service.vocabulary.keys import CellKeys
from reconcile.redis_link import Command, RedisLink


async def audit_closed(link: RedisLink, engine: AsyncEngine, cell_name: str) -> AuditReport:
    """Compare the counters of the closed cell with Postgres; its log must be drained.

    Raises:
        LinkBrokenError, SQLAlchemyError, OSError: one of the two did not answer.
    """
    return await audit_books(await _read_cut(link, CellKeys.of(cell_name)), engine, cell_name)


async def _read_cut(link: RedisLink, keys: CellKeys) -> CellCut:
    campaign_ids = sorted(name.decode() for name in await link.call("SMEMBERS", keys.campaigns))
    commands: list[Command] = [["TIME"], ["HMGET", keys.cell, "epoch", "seq", "members_version"]]
    for campaign_id in campaign_ids:
        campaign = keys.of_campaign(campaign_id)
        commands += [
            ["HMGET", campaign.campaign, *FACTS],
            ["HLEN", campaign.claims],
            ["ZCARD", campaign.free],
            ["HLEN", campaign.returns],
            ["LLEN", campaign.codes],
        ]
    answers: list[Any] = await link.transaction(commands)
    time, cell = answers[:2]
    cuts = {}
    for at, campaign_id in enumerate(campaign_ids):
        facts, *sizes = answers[2 + 5 * at : 7 + 5 * at]
        names = [name.encode() for name in (*FACTS, *SIZES)]
        cut = CampaignCut.parse(campaign_id, dict(zip(names, [*facts, *sizes], strict=True)))
        if cut is not None:
            cuts[campaign_id] = cut
    return CellCut(
        now_ms=int(time[0]) * 1000 + int(time[1]) // 1000,
        epoch=int(cell[0] or 0),
        seq=int(cell[1] or 0),
        members_version=int(cell[2] or 0),
        campaigns=cuts,
        heads={},
    )
