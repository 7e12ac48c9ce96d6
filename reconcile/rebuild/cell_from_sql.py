"""SQL that selects a cell from Postgres in the format of the cell's keys.

Postgres itself writes the records down: for a million claims that is several times faster than to fetch rows and to write them
down here, and members are waiting. What is said here is what `vocabulary.claims` and `vocabulary.members` say, to the byte;
tests compare the two.

Each kind of record is read in one pass over all campaigns, in their order: a pass for each campaign would read the table of
claims once for each, and an index that saves that would be paid for by every claim that is drained.
"""

from typing import Final

from sqlalchemy import text

from grab_service.audit.counters import COUNTERS, columns_of
from grab_service.vocabulary.claims import RECORDS

_CLAIM: Final = (
    f"concat(E'{RECORDS}\\tseq=', seq, E'\\tepoch=', epoch, E'\\tat_ms=', granted_at_ms,"
    " E'\\tstate=', CASE WHEN returned_seq IS NULL AND state IN ('returned', 'lapsed') THEN 'fulfilled' ELSE state END,"
    " E'\\tunit_no=', unit_no, E'\\tordinal=', ordinal, E'\\tcode=', code, E'\\tkey=', idempotency_key,"
    " CASE WHEN source <> 'grab' THEN E'\\tsource=' || source END)"
)
"""A claim that was given back or has lapsed is held in the cell until the cell is told, which the entry `returned` shows."""

ROOM_TO_SORT: Final = text("SET LOCAL work_mem = '64MB'")

COUNT_MEMBERS: Final = text("SELECT count(*) AS members, coalesce(max(version), 0) AS members_version FROM members")

COUNT_CLAIMS: Final = text(
    f"SELECT campaign_id, {columns_of(COUNTERS)},"  # noqa: S608 -- put together from constants
    " count(idempotency_key) AS bound, count(returned_seq) AS returned "
    "FROM (SELECT *, returned_seq IS NULL AS active FROM claims) AS now GROUP BY campaign_id"
)

MEMBERS: Final = text(
    "SELECT member_id, concat_ws('|', version, status, org_id, coalesce(CAST(blocked_until_ms AS text), ''),"
    " coalesce(CAST(birthday_month AS text), ''), coalesce(to_char(joined_on, 'YYYY-MM-DD'), ''),"
    " CASE WHEN cardinality(tags) = 0 THEN ',' ELSE ',' || array_to_string(tags, ',') || ',' END) "
    "FROM members"
)

HOLDINGS: Final = text(
    f"SELECT campaign_id, member_id, string_agg({_CLAIM}, E'\\n' ORDER BY seq) "  # noqa: S608 -- put together from constants
    "FROM (SELECT * FROM claims WHERE returned_seq IS NULL ORDER BY campaign_id, member_id, seq) AS held"
    " GROUP BY campaign_id, member_id ORDER BY campaign_id"
)
"""Member, and the claims that hold a unit, one a line.

Sorted first: else PostgreSQL walks the index over members, a row here and a row there, which takes three times as long.
"""

BINDINGS: Final = text(
    f"SELECT campaign_id, member_id || E'\\t' || idempotency_key, {_CLAIM} "  # noqa: S608 -- put together from constants
    "FROM claims WHERE idempotency_key IS NOT NULL ORDER BY campaign_id"
)

RETURNS: Final = text("SELECT campaign_id, seq, returned_seq FROM claims WHERE returned_seq IS NOT NULL ORDER BY campaign_id")

FREE_UNITS: Final = text(
    "SELECT campaign_id, unit_no, unit_no"
    " FROM unnest(CAST(:campaign_ids AS text[]), CAST(:issued AS integer[])) AS lot (campaign_id, issued),"
    " generate_series(1, issued) AS unit_no WHERE NOT EXISTS "
    "(SELECT FROM claims WHERE claims.campaign_id = lot.campaign_id AND claims.unit_no = unit_no.unit_no"
    " AND returned_seq IS NULL) ORDER BY campaign_id"
)
"""What lies below the highest unit ever issued and is not held."""

FREE_CODES: Final = text(
    "SELECT campaign_id, code FROM pool_codes WHERE campaign_id = ANY(CAST(:campaign_ids AS text[]))"
    " AND NOT EXISTS (SELECT FROM claims WHERE claims.code = pool_codes.code) ORDER BY campaign_id, position"
)

CODES_LOADED: Final = text("SELECT campaign_id, max(position) AS codes_loaded FROM pool_codes GROUP BY campaign_id")
