"""Import of unions from a file."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Boolean, literal_column
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.files.csv_rows import Rejection
from grab_service.files.orgs_csv import OrgRow, parse_orgs
from grab_service.http.uploads import Parsed, read_file
from grab_service.ops_log.log import logged
from grab_service.sql.tables import orgs
from grab_service.vocabulary.passes import OpsIdentity

ROWS_PER_STATEMENT: Final = 1_000


@dataclass(frozen=True, slots=True)
class OrgsImport:
    """Result of an import: unions that are new, those that were known and have the name of the file now, and rows refused."""

    imported: int
    updated: int
    rejected: Sequence[Rejection]
    rows: int
    rejected_rows: int


async def import_orgs(engine: AsyncEngine, identity: OpsIdentity, data: bytes) -> OrgsImport:
    """Take the unions of a CSV file with the columns `org_id,name`.

    Raises:
        RefusalError: validation if the file cannot be read.
    """
    async with logged(engine, identity, "orgs.import", None) as entry:
        parsed: Parsed[OrgRow] = await asyncio.to_thread(read_file, parse_orgs, data, OrgRow)
        statement = insert(orgs)
        statement = statement.on_conflict_do_update(index_elements=[orgs.c.org_id], set_={"name": statement.excluded.name})
        imported = 0
        async with engine.begin() as connection:
            # In one order for all, so that two imports at once never wait for each other in a circle.
            found = sorted((row.org for row in parsed.rows), key=lambda org: org.org_id)
            for start in range(0, len(found), ROWS_PER_STATEMENT):
                rows = [{"org_id": org.org_id, "name": org.name} for org in found[start : start + ROWS_PER_STATEMENT]]
                written = statement.values(rows).returning(literal_column("xmax = 0", Boolean))
                imported += sum((await connection.execute(written)).scalars())
        entry.detail |= {"imported": imported, "rejected": len(parsed.rejected)}
        known, refused = len(parsed.rows) - imported, parsed.rejected_rows
        return OrgsImport(imported, known, parsed.rejected, rows=len(parsed.rows) + refused, rejected_rows=refused)
