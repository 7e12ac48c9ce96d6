"""Closing times of campaigns, last seen seqs of lost lives, acknowledgements of alarms, and progress of audits."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the table; when campaigns of before were closed, the log of ops knows."""
    op.add_column(
        "campaigns", sa.Column("closed_at_ms", sa.BigInteger, comment="when ops closed or cancelled it; null: nobody did")
    )
    op.execute(
        "UPDATE campaigns SET closed_at_ms = ("
        "SELECT max(at_ms) FROM ops_log WHERE object_id = campaign_id AND outcome = 'done'"
        " AND action IN ('campaign.close', 'campaign.cancel')"
        ") WHERE state IN ('closed', 'cancelled')"
    )
    # A draft that is deleted takes its codes along, and nobody else may take any away.
    op.drop_constraint("pool_codes_campaign_id_fk", "pool_codes")
    op.create_foreign_key(
        "pool_codes_campaign_id_fk", "pool_codes", "campaigns", ["campaign_id"], ["campaign_id"], ondelete="CASCADE"
    )
    op.create_table(
        "lives_seen",
        sa.Column("epoch", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False, comment="members may have been told of what lies up to here"),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("epoch", name="lives_seen_pk"),
        comment="How far a life of the cell was seen that is over: by workers that outlived it, or in its log",
    )
    op.create_table(
        "comparisons",
        sa.Column("campaign_id", sa.Text, nullable=False),
        sa.Column(
            "compared_at_ms", sa.BigInteger, comment="when the last round through all its claims began; null: there was none"
        ),
        sa.Column("begun_at_ms", sa.BigInteger, comment="when the round under way began"),
        sa.Column("part", sa.SmallInteger, nullable=False, comment="where the next audit goes on: 0 claims, 1 bindings"),
        sa.Column("cursor", sa.BigInteger, nullable=False),
        sa.Column("arming", sa.Text, nullable=False, comment="the nonce of the cell in that round"),
        sa.PrimaryKeyConstraint("campaign_id", name="comparisons_pk"),
        comment="How far the audits of the ledger have come",
    )
    op.add_column("alarms", sa.Column("acknowledged_at_ms", sa.BigInteger))
    op.add_column("alarms", sa.Column("acknowledged_by", sa.Text, comment="who of ops has taken note"))
    op.add_column("alarms", sa.Column("acknowledged_why", sa.Text))
    op.drop_index("alarms_open_ix", "alarms")
    op.create_index(
        "alarms_open_ix",
        "alarms",
        ["kind"],
        unique=True,
        postgresql_where=sa.text("cleared_at_ms IS NULL AND kind <> 'recovery_lost'"),
    )
    op.create_index(
        "alarms_lost_ix",
        "alarms",
        [sa.text("(detail ->> 'epoch')")],
        unique=True,
        postgresql_where=sa.text("kind = 'recovery_lost'"),
    )
    op.create_table_comment(
        "alarms", "What the ledger found wrong; open until cleared. A loss stays, one for each life of the cell"
    )
