"""What a constraint on one row cannot say: no claim lies outside its campaign.

One check per statement and not per row, so that a drained batch of thousands pays once. The ledger is the only writer of claims
and of a published campaign's total, and holds the cursor's row while it writes, so that the two triggers never miss each other.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

CLAIMS_WITHIN_CAMPAIGN = """
CREATE FUNCTION claims_within_campaign() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  fault record;
BEGIN
  SELECT changed.seq, changed.campaign_id, changed.unit_no, changed.slot, campaigns.total, campaigns.limit_per_member,
         CASE WHEN campaigns.campaign_id IS NULL THEN 'claims_campaign_exists'
              WHEN changed.slot > campaigns.limit_per_member THEN 'claims_slot_within_limit'
              ELSE 'claims_unit_within_total' END AS name
    INTO fault
    FROM changed LEFT JOIN campaigns USING (campaign_id)
   WHERE campaigns.campaign_id IS NULL
      OR changed.slot > campaigns.limit_per_member
      OR (changed.unit_no > campaigns.total AND changed.state IN ('pending_payment', 'fulfilled'))
   LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'claim % lies outside campaign %', fault.seq, fault.campaign_id
      USING ERRCODE = 'check_violation', TABLE = 'claims', CONSTRAINT = fault.name,
            DETAIL = format('unit_no %s of %s, slot %s of %s', fault.unit_no, fault.total, fault.slot, fault.limit_per_member);
  END IF;
  RETURN NULL;
END $$
"""

CAMPAIGN_COVERS_CLAIMS = """
CREATE FUNCTION campaign_covers_claims() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  fault record;
BEGIN
  -- Most updates of a campaign lower nothing and need not look at its claims.
  IF NOT EXISTS (SELECT FROM changed JOIN before USING (campaign_id)
                  WHERE changed.total < before.total OR changed.limit_per_member < before.limit_per_member) THEN
    RETURN NULL;
  END IF;
  SELECT claims.seq, claims.campaign_id, claims.unit_no, changed.total,
         CASE WHEN claims.slot > changed.limit_per_member THEN 'claims_slot_within_limit'
              ELSE 'claims_unit_within_total' END AS name
    INTO fault
    FROM changed JOIN claims USING (campaign_id)
   WHERE claims.slot > changed.limit_per_member
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

CAMPAIGN_KEEPS_CLAIMS = """
CREATE FUNCTION campaign_keeps_claims() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM claims WHERE claims.campaign_id = OLD.campaign_id) THEN
    RAISE EXCEPTION 'campaign % has claims', OLD.campaign_id
      USING ERRCODE = 'foreign_key_violation', TABLE = 'campaigns', CONSTRAINT = 'claims_campaign_exists';
  END IF;
  RETURN NULL;
END $$
"""


def upgrade() -> None:
    """Create the functions, and the triggers that call them."""
    op.execute(CLAIMS_WITHIN_CAMPAIGN)
    op.execute(CAMPAIGN_COVERS_CLAIMS)
    op.execute(CAMPAIGN_KEEPS_CLAIMS)
    for event in ("INSERT", "UPDATE"):
        op.execute(
            f"CREATE TRIGGER claims_within_campaign_{event.lower()} AFTER {event} ON claims "
            "REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION claims_within_campaign()"
        )
    op.execute(
        "CREATE TRIGGER campaign_covers_claims AFTER UPDATE ON campaigns "
        "REFERENCING OLD TABLE AS before NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION campaign_covers_claims()"
    )
    # A row of campaigns is seldom deleted or renamed; these may look row by row.
    op.execute(
        "CREATE TRIGGER campaign_keeps_claims_delete AFTER DELETE ON campaigns "
        "FOR EACH ROW EXECUTE FUNCTION campaign_keeps_claims()"
    )
    op.execute(
        "CREATE TRIGGER campaign_keeps_claims_rename AFTER UPDATE OF campaign_id ON campaigns "
        "FOR EACH ROW WHEN (OLD.campaign_id <> NEW.campaign_id) EXECUTE FUNCTION campaign_keeps_claims()"
    )
