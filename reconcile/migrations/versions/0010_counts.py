"""What the workers counted, by second, and how far it was read."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the two tables."""
    op.create_table(
        "counts",
        sa.Column("campaign_id", sa.Text, nullable=False, comment="empty: answered before a campaign was looked up"),
        sa.Column("second", sa.BigInteger, nullable=False, comment="Unix second; without a campaign the hour's first"),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("n", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "second", "outcome", name="counts_pk"),
        sa.CheckConstraint("n > 0", name="n"),
        comment="What the workers answered, by second: lower bounds, for a worker that is killed takes its last second along",
    )
    op.create_table(
        "counts_cursor",
        sa.Column("cell", sa.Text, nullable=False),
        sa.Column("last_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("cell", name="counts_cursor_pk"),
        comment="How far the stream of counts has been added up; moved in the same transaction as the sums",
    )
