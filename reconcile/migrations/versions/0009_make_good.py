"""Claims that ops make good: their source, which no limit binds, the keys of ops, and the claims that a lost life had."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

CLAIMS_WITHIN_CAMPAIGN = """
CREATE OR REPLACE FUNCTION claims_within_campaign() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  fault record;
BEGIN
  SELECT changed.seq, changed.campaign_id, changed.unit_no, changed.ordinal, campaigns.total, campaigns.limit_per_member,
         CASE WHEN campaigns.campaign_id IS NULL THEN 'claims_campaign_exists'
              WHEN changed.ordinal > campaigns.limit_per_member AND changed.source = 'grab' THEN 'claims_ordinal_within_limit'
              ELSE 'claims_unit_within_total' END AS name
    INTO fault
    FROM changed LEFT JOIN campaigns USING (campaign_id)
   WHERE campaigns.campaign_id IS NULL
      OR (changed.ordinal > campaigns.limit_per_member AND changed.source = 'grab')
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
         CASE WHEN claims.ordinal > changed.limit_per_member AND claims.source = 'grab' THEN 'claims_ordinal_within_limit'
              ELSE 'claims_unit_within_total' END AS name
    INTO fault
    FROM changed JOIN claims USING (campaign_id)
   WHERE (claims.ordinal > changed.limit_per_member AND claims.source = 'grab')
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


def upgrade() -> None:
    """Add the column, whose default needs no row to be written anew, and the tables; say the triggers anew."""
    op.add_column(
        "claims",
        sa.Column("source", sa.Text, nullable=False, server_default="grab", comment="make_good: ops have given it"),
    )
    op.create_check_constraint(op.f("claims_source_ck"), "claims", "source IN ('grab', 'make_good')")
    op.create_table_comment(
        "claims",
        "Grants; inserted by the ledger alone. Triggers: no held unit_no above the total, no grab's ordinal above limit",
    )
    op.execute(CLAIMS_WITHIN_CAMPAIGN)
    op.execute(CAMPAIGN_COVERS_CLAIMS)
    op.create_table(
        "make_good_keys",
        sa.Column("idempotency_key", sa.Text, nullable=False),
        sa.Column("campaign_id", sa.Text, nullable=False),
        sa.Column("member_id", sa.Text, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("idempotency_key", name="make_good_keys_pk"),
        comment="What ops have asked for with a key: the campaign and the member that it stands for, for good",
    )
    op.create_table(
        "claims_seen",
        sa.Column("epoch", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("campaign_id", sa.Text, nullable=False),
        sa.Column("member_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("epoch", "seq", name="claims_seen_pk"),
        comment="Claims of lives of the cell that are over, which were not on record as far as the workers that saw them knew",
    )
