"""The grassroots unions and their names."""

from sqlalchemy import Boolean, literal_column, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.ops_log.log import logged
from grab_service.sql.tables import orgs
from grab_service.vocabulary.members import Org
from grab_service.vocabulary.passes import OpsIdentity


async def write_org(engine: AsyncEngine, identity: OpsIdentity, org: Org) -> bool:
    """Register a union, or rename it; whether it is new."""
    statement = insert(orgs).values(org_id=org.org_id, name=org.name)
    statement = statement.on_conflict_do_update(index_elements=[orgs.c.org_id], set_={"name": org.name})
    is_new = literal_column("xmax = 0", Boolean)
    async with (
        logged(engine, identity, "org.write", org.org_id, detail={"name": org.name}),
        engine.begin() as connection,
    ):
        return (await connection.execute(statement.returning(is_new))).scalar_one()


async def list_orgs(engine: AsyncEngine, *, after: str | None, limit: int) -> list[Org]:
    """Unions by id."""
    query = select(orgs.c.org_id, orgs.c.name).order_by(orgs.c.org_id).limit(limit)
    if after is not None:
        query = query.where(orgs.c.org_id > after)
    async with engine.connect() as connection:
        return [Org(org_id, name) for org_id, name in await connection.execute(query)]
