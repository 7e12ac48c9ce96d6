"""Codes that are shown on request: when it was, and that a code that was seen never leaves its claim.

Campaigns that were written before show their codes at once.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column and its bound, and write the default into the definitions there are."""
    comment = "when its holder asked for the code, where that is shown on request"
    op.add_column("claims", sa.Column("revealed_at_ms", sa.BigInteger, comment=comment))
    op.create_check_constraint(op.f("claims_seen_code_stays_ck"), "claims", "revealed_at_ms IS NULL OR code IS NOT NULL")
    op.execute("""
        UPDATE campaigns
        SET definition = jsonb_set(definition, '{benefit}', '{"reveal": "at_once"}' || (definition -> 'benefit'))
        WHERE definition -> 'benefit' IS NOT NULL""")
