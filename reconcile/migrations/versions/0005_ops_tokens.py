"""Tokens of ops: who holds one, and which were ended before their time."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "ops_tokens",
        sa.Column("token_id", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_at_ms", sa.BigInteger, comment="refused since then; null: nobody has ended it"),
        sa.PrimaryKeyConstraint("token_id", name="ops_tokens_pk"),
        comment="Tokens of ops: on record from their making or their first use on",
    )
    op.create_index("ops_tokens_created_at_ms_token_id_ix", "ops_tokens", ["created_at_ms", "token_id"])
