"""The tables of the first release, equal to `grab_service/sql/tables.py`, and the counter of members' versions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

HELD = "state IN ('pending_payment', 'fulfilled')"


def upgrade() -> None:
    """Create everything, referenced tables first."""
    _who_may_ask()
    _campaigns()
    _claims()
    _the_log()
    _records()


def _who_may_ask() -> None:
    op.create_table(
        "orgs",
        sa.Column("org_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("org_id", name="orgs_pk"),
        comment="Grassroots unions",
    )
    op.create_table(
        "members",
        sa.Column("member_id", sa.Text, nullable=False),
        sa.Column("org_id", sa.Text, nullable=False),
        sa.Column("person_id", sa.Text),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("tags", ARRAY(sa.Text), nullable=False),
        sa.Column("birthday_month", sa.SmallInteger),
        sa.Column("joined_on", sa.Date),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("blocked_until_ms", sa.BigInteger, comment="blocked until then; null: not blocked"),
        sa.Column("blocked_reason", sa.Text),
        sa.Column("version", sa.BigInteger, nullable=False, comment="rises with every change; what the cell was told last"),
        sa.PrimaryKeyConstraint("member_id", name="members_pk"),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.org_id"], name="members_org_id_fk"),
        sa.CheckConstraint("status IN ('active', 'suspended', 'left')", name=op.f("members_status_ck")),
        sa.CheckConstraint("birthday_month BETWEEN 1 AND 12", name=op.f("members_birthday_month_ck")),
        comment="Who may ask; published to the cell without names",
    )
    op.create_index("members_version_ix", "members", ["version"])
    op.create_index("members_org_id_ix", "members", ["org_id"])
    op.execute("CREATE SEQUENCE members_version AS bigint")


def _campaigns() -> None:
    op.create_table(
        "campaigns",
        sa.Column("campaign_id", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False, comment="of the configuration; the ETag of ops"),
        sa.Column("state", sa.Text, nullable=False, comment="drafts: written by ops; published: follows the log"),
        sa.Column("definition", JSONB, nullable=False, comment="as ops wrote it, defaults filled in"),
        sa.Column("opens_at_ms", sa.BigInteger, nullable=False),
        sa.Column("closes_at_ms", sa.BigInteger, nullable=False),
        sa.Column("releases", JSONB, nullable=False, comment="[[opens_at_ms, quantity], …] in force; follows the log"),
        sa.Column("total", sa.Integer, nullable=False, comment="sum of the releases: no unit number lies above it"),
        sa.Column("limit_per_member", sa.SmallInteger, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("published_seq", sa.BigInteger, comment="where the log says that it came into the cell"),
        sa.PrimaryKeyConstraint("campaign_id", name="campaigns_pk"),
        sa.CheckConstraint(
            "state IN ('draft', 'scheduled', 'paused', 'closed', 'settled', 'archived', 'cancelled')",
            name=op.f("campaigns_state_ck"),
        ),
        sa.CheckConstraint("total >= 0", name=op.f("campaigns_total_ck")),
        sa.CheckConstraint("limit_per_member >= 1", name=op.f("campaigns_limit_per_member_ck")),
        sa.CheckConstraint("opens_at_ms < closes_at_ms", name=op.f("campaigns_window_ck")),
        comment="Campaigns",
    )
    op.create_table(
        "pool_codes",
        sa.Column("campaign_id", sa.Text, nullable=False),
        sa.Column(
            "position",
            sa.Integer,
            nullable=False,
            comment="1…n in the order of import; the cell loads in this order",
        ),
        sa.Column("code", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "position", name="pool_codes_pk"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.campaign_id"], name="pool_codes_campaign_id_fk"),
        sa.UniqueConstraint("code", name="pool_codes_code_uq"),
        sa.CheckConstraint("position >= 1", name=op.f("pool_codes_position_ck")),
        comment="Codes of third parties",
    )


def _claims() -> None:
    op.create_table(
        "claims",
        sa.Column(
            "seq",
            sa.BigInteger,
            autoincrement=False,
            nullable=False,
            comment="position in the log: one member, one unit",
        ),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("campaign_id", sa.Text, nullable=False),
        sa.Column("member_id", sa.Text, nullable=False),
        sa.Column("unit_no", sa.Integer, nullable=False),
        sa.Column("slot", sa.SmallInteger, nullable=False, comment="1…limit_per_member; 1 where the limit is one"),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("granted_at_ms", sa.BigInteger, nullable=False),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("code", sa.Text),
        sa.Column("voucher_state", sa.Text),
        sa.Column("valid_from_ms", sa.BigInteger),
        sa.Column("valid_until_ms", sa.BigInteger),
        sa.Column("decided_at_ms", sa.BigInteger, comment="when it ceased to be held"),
        sa.Column("returned_seq", sa.BigInteger, comment="where the log says that its unit went back to stock"),
        sa.PrimaryKeyConstraint("seq", name="claims_pk"),
        sa.CheckConstraint(
            "state IN ('pending_payment', 'fulfilled', 'lapsed', 'returned', 'revoked')", name=op.f("claims_state_ck")
        ),
        sa.CheckConstraint(
            "voucher_state IN ('active', 'redeemed', 'returned', 'expired', 'revoked')",
            name=op.f("claims_voucher_state_ck"),
        ),
        sa.CheckConstraint("unit_no >= 1", name=op.f("claims_unit_no_ck")),
        sa.CheckConstraint("slot >= 1", name=op.f("claims_slot_ck")),
        sa.CheckConstraint(f"returned_seq IS NULL OR NOT ({HELD})", name=op.f("claims_returned_is_not_held_ck")),
        comment="Grants; inserted by the ledger alone. Triggers: no held unit_no above the total, no slot above the limit",
    )
    unique = {
        "claims_unit_uq": (["campaign_id", "unit_no"], HELD),
        "claims_slot_uq": (
            ["campaign_id", "member_id", "slot"],
            "state IN ('pending_payment', 'fulfilled', 'revoked')",
        ),
        "claims_code_uq": (["code"], "code IS NOT NULL"),
        "claims_idempotency_key_uq": (
            ["campaign_id", "member_id", "idempotency_key"],
            "idempotency_key IS NOT NULL",
        ),
        "claims_returned_seq_uq": (["returned_seq"], "returned_seq IS NOT NULL"),
    }
    for name, (columns, where) in unique.items():
        op.create_index(name, "claims", columns, unique=True, postgresql_where=sa.text(where))
    op.create_index("claims_member_id_seq_ix", "claims", ["member_id", "seq"])


def _the_log() -> None:
    op.create_table(
        "log_cursor",
        sa.Column("cell", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("last_id", sa.Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False, comment="time of the last entry drained"),
        sa.PrimaryKeyConstraint("cell", name="log_cursor_pk"),
        comment="What of the log has been drained; moved in the same transaction as the rows",
    )
    op.create_table(
        "epochs",
        sa.Column("epoch", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("predecessor", sa.Integer, nullable=False),
        sa.Column("first_seq", sa.BigInteger, nullable=False),
        sa.Column("began_at_ms", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("epoch", name="epochs_pk"),
        comment="The lives of the cell",
    )
    op.create_table(
        "commands",
        sa.Column("command_id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("campaign_id", sa.Text, nullable=False),
        sa.Column("member_id", sa.Text, nullable=False),
        sa.Column("claim_seq", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column(
            "done_seq",
            sa.BigInteger,
            comment="where the log says it was done; null: still to be sent, again and again",
        ),
        sa.Column("last_outcome", sa.Text, comment="what Lua answered last"),
        sa.PrimaryKeyConstraint("command_id", name="commands_pk"),
        sa.UniqueConstraint("claim_seq", name="commands_claim_seq_uq"),
        sa.CheckConstraint("kind IN ('return_unit')", name=op.f("commands_kind_ck")),
        sa.CheckConstraint("reason IN ('returned', 'lapsed')", name=op.f("commands_reason_ck")),
        comment="The outbox: what Postgres decided and the cell must still be told",
    )
    op.create_index("commands_pending_ix", "commands", ["command_id"], postgresql_where=sa.text("done_seq IS NULL"))


def _records() -> None:
    op.create_table(
        "ops_log",
        sa.Column("entry_id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("object_id", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("outcome", sa.Text, nullable=False, comment="requested, then done or the slug of the refusal"),
        sa.Column("detail", JSONB, nullable=False),
        sa.PrimaryKeyConstraint("entry_id", name="ops_log_pk"),
        comment="Who did what, when and why",
    )
    op.create_index("ops_log_object_id_entry_id_ix", "ops_log", ["object_id", "entry_id"])
    op.create_table(
        "alarms",
        sa.Column("alarm_id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("raised_at_ms", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("detail", JSONB, nullable=False),
        sa.Column("cleared_at_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("alarm_id", name="alarms_pk"),
        comment="What the ledger found wrong; open until cleared",
    )
    op.create_index("alarms_open_ix", "alarms", ["kind"], unique=True, postgresql_where=sa.text("cleared_at_ms IS NULL"))
    op.create_table(
        "used_assertions",
        sa.Column("jti", sa.Text, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("jti", name="used_assertions_pk"),
        comment="Assertions exchanged for a pass, each once",
    )
    op.create_index("used_assertions_expires_at_ms_ix", "used_assertions", ["expires_at_ms"])
