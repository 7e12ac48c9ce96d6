"""The chain of the log: its head beside the cursor, the digest of each entry, and signed checkpoints.

The chain begins with the first entry that is drained after this step.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column and the tables."""
    start = sa.text("decode(repeat('00', 32), 'hex')")
    op.add_column("log_cursor", sa.Column("head", sa.LargeBinary, nullable=False, server_default=start, comment="of the chain"))
    op.create_table(
        "log_entries",
        sa.Column("last_seq", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("first_seq", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("campaign_id", sa.Text, comment="null: an entry of the whole cell"),
        sa.Column("digest", sa.LargeBinary, nullable=False, comment="SHA-256 of the entry's bytes"),
        sa.Column("head", sa.LargeBinary, nullable=False, comment="SHA-256 of the head before and the digest"),
        sa.Column("entry", sa.LargeBinary, comment="the bytes of a campaign's own entry"),
        sa.PrimaryKeyConstraint("last_seq", name="log_entries_pk"),
        sa.CheckConstraint("digest = sha256(entry)", name=op.f("log_entries_digest_ck")),
        comment="The chain of the log: each entry's digest and head",
    )
    op.create_index(
        "log_entries_campaign_id_last_seq_ix",
        "log_entries",
        ["campaign_id", "last_seq"],
        postgresql_where=sa.text("campaign_id IS NOT NULL"),
    )
    op.create_index("log_entries_at_ms_last_seq_ix", "log_entries", ["at_ms", "last_seq"])
    op.create_table(
        "checkpoints",
        sa.Column("seq", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("head", sa.LargeBinary, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("signature", sa.Text, nullable=False, comment="detached JWS of head, seq and time"),
        sa.PrimaryKeyConstraint("seq", name="checkpoints_pk"),
        comment="Heads of the chain that the ledger has signed",
    )


def downgrade() -> None:
    """Forget the chain; entries that Redis has trimmed cannot be folded again."""
    op.drop_table("checkpoints")
    op.drop_table("log_entries")
    op.drop_column("log_cursor", "head")
