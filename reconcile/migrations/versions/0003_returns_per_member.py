"""A bound on a member's returns: an index over returned claims, and the bound in the definition of campaigns.

Campaigns that were written before have the default.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Build the index, and write the default into the definitions there are."""
    op.create_index(
        "claims_given_back_ix", "claims", ["member_id", "campaign_id"], postgresql_where=sa.text("state = 'returned'")
    )
    op.execute("""UPDATE campaigns SET definition = '{"returns_per_member": 1}'::jsonb || definition""")
