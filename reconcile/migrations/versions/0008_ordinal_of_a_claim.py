"""The column `slot` of claims, its constraints and its index are called `ordinal`, as in the cell's records.

A release that knows only the old name can neither read nor write claims after this step.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# The bodies of functions are kept as text, so a renamed column does not reach into them.
CLAIMS_WITHIN_CAMPAIGN = """
CREATE OR REPLACE FUNCTION claims_within_campaign() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  fault record;
BEGIN
  SELECT changed.seq, changed.campaign_id, changed.unit_no, changed.ordinal, campaigns.total, campaigns.limit_per_member,
         CASE WHEN campaigns.campaign_id IS NULL THEN 'claims_campaign_exists'
              WHEN changed.ordinal > campaigns.limit_per_member THEN 'claims_ordinal_within_limit'
              ELSE 'claims_unit_within_total' END AS name
    INTO fault
    FROM changed LEFT JOIN campaigns USING (campaign_id)
   WHERE campaigns.campaign_id IS NULL
      OR changed.ordinal > campaigns.limit_per_member
      OR (changed.unit_no > campaigns.total AND changed.state IN ('pending_payment', 'fulfilled'))
   LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'claim % lies outside campaign %', fault.seq, fault.campaign_id
      USING ERRCODE = 'check_violation', TABLE = 'claims', CONSTRAINT = fault.name,
            DETAIL = format('unit_no %s of %s, ordinal %s of %s',
                            fault.unit_no, fault.total, fault.ordinal, fault.limit_per_member);
  END IF;
  RETURN NULL;
END $$
"""

CAMPAIGN_COVERS_CLAIMS = """
CREATE OR REPLACE FUNCTION campaign_covers_claims() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  fault record;
BEGIN
  -- Most updates of a campaign lower nothing and need not look at its claims.
  IF NOT EXISTS (SELECT FROM changed JOIN before USING (campaign_id)
                  WHERE changed.total < before.total OR changed.limit_per_member < before.limit_per_member) THEN
    RETURN NULL;
  END IF;
  SELECT claims.seq, claims.campaign_id, claims.unit_no, changed.total,
         CASE WHEN claims.ordinal > changed.limit_per_member THEN 'claims_ordinal_within_limit'
              ELSE 'claims_unit_within_total' END AS name
    INTO fault
    FROM changed JOIN claims USING (campaign_id)
   WHERE claims.ordinal > changed.limit_per_member
      OR (claims.unit_no > changed.total AND claims.state IN ('pending_payment', 'fulfilled'))
   LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'campaign % would not cover its claim %', fault.campaign_id, fault.seq
      USING ERRCODE = 'check_violation', TABLE = 'campaigns', CONSTRAINT = fault.name,
            DETAIL = format('unit_no %s, total %s', fault.unit_no, fault.total);
  END IF;
  RETURN NULL;
END $$
"""

# PostgreSQL 18 names this constraint, earlier ones do not.
RENAME_NOT_NULL = """
DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'claims'::regclass AND conname = 'claims_slot_not_null') THEN
    ALTER TABLE claims RENAME CONSTRAINT claims_slot_not_null TO claims_ordinal_not_null;
  END IF;
END $$
"""


def upgrade() -> None:
    """Rename; the rows and the index stay as they are, so it takes no time however many claims there are."""
    op.alter_column("claims", "slot", new_column_name="ordinal")
    op.execute("ALTER TABLE claims RENAME CONSTRAINT claims_slot_ck TO claims_ordinal_ck")
    op.execute(RENAME_NOT_NULL)
    op.execute("ALTER INDEX claims_slot_uq RENAME TO claims_ordinal_uq")
    op.create_table_comment(
        "claims", "Grants; inserted by the ledger alone. Triggers: no held unit_no above the total, no ordinal above the limit"
    )
    op.execute(CLAIMS_WITHIN_CAMPAIGN)
    op.execute(CAMPAIGN_COVERS_CLAIMS)
