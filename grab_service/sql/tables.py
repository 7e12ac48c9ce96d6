"""The tables of PostgreSQL, with their constraints.

Migrations (`reconcile/migrations`) build exactly this; a test compares them. One database serves one cell.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata: Final = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pk",
        "fk": "%(table_name)s_%(column_0_N_name)s_fk",
        "uq": "%(table_name)s_%(column_0_N_name)s_uq",
        "ck": "%(table_name)s_%(constraint_name)s_ck",
        "ix": "%(table_name)s_%(column_0_N_name)s_ix",
    }
)

HELD: Final = "state IN ('pending_payment', 'fulfilled')"
"""A claim in one of these states holds a unit."""

orgs = Table(
    "orgs",
    metadata,
    Column("org_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    comment="Grassroots unions",
)

members = Table(
    "members",
    metadata,
    Column("member_id", Text, primary_key=True),
    Column("org_id", Text, ForeignKey("orgs.org_id"), nullable=False),
    Column("person_id", Text),
    Column("name", Text, nullable=False),
    Column("tags", ARRAY(Text), nullable=False),
    Column("birthday_month", SmallInteger),
    Column("joined_on", Date),
    Column("status", Text, nullable=False),
    Column("blocked_until_ms", BigInteger, comment="blocked until then; null: not blocked"),
    Column("blocked_reason", Text),
    Column("version", BigInteger, nullable=False, comment="rises with every change; what the cell was told last"),
    CheckConstraint("status IN ('active', 'suspended', 'left')", name="status"),
    CheckConstraint("birthday_month BETWEEN 1 AND 12", name="birthday_month"),
    Index(None, "version"),
    Index(None, "org_id"),
    comment="Who may ask; published to the cell without names",
)

campaigns = Table(
    "campaigns",
    metadata,
    Column("campaign_id", Text, primary_key=True),
    Column("version", Integer, nullable=False, comment="of the configuration; the ETag of ops"),
    Column("state", Text, nullable=False, comment="drafts: written by ops; published: follows the log"),
    Column("definition", JSONB, nullable=False, comment="as ops wrote it, defaults filled in"),
    Column("opens_at_ms", BigInteger, nullable=False),
    Column("closes_at_ms", BigInteger, nullable=False),
    Column("releases", JSONB, nullable=False, comment="[[opens_at_ms, quantity], …] in force; follows the log"),
    Column("total", Integer, nullable=False, comment="sum of the releases: no unit number lies above it"),
    Column("limit_per_member", SmallInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("published_seq", BigInteger, comment="where the log says that it came into the cell"),
    Column("closed_at_ms", BigInteger, comment="when ops closed or cancelled it; null: nobody did"),
    CheckConstraint("state IN ('draft', 'scheduled', 'paused', 'closed', 'settled', 'archived', 'cancelled')", name="state"),
    CheckConstraint("total >= 0", name="total"),
    CheckConstraint("limit_per_member >= 1", name="limit_per_member"),
    CheckConstraint("opens_at_ms < closes_at_ms", name="window"),
    comment="Campaigns",
)

pool_codes = Table(
    "pool_codes",
    metadata,
    Column("campaign_id", Text, ForeignKey("campaigns.campaign_id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, comment="1…n in the order of import; the cell loads in this order"),
    Column("code", Text, nullable=False),
    UniqueConstraint("code"),
    CheckConstraint("position >= 1", name="position"),
    comment="Codes of third parties",
)

claims = Table(
    "claims",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False, comment="position in the log: one member, one unit"),
    Column("epoch", Integer, nullable=False),
    Column("campaign_id", Text, nullable=False),
    Column("member_id", Text, nullable=False),
    Column("unit_no", Integer, nullable=False),
    Column("ordinal", SmallInteger, nullable=False, comment="1…limit_per_member; 1 where the limit is one"),
    Column("state", Text, nullable=False),
    Column("granted_at_ms", BigInteger, nullable=False),
    Column("idempotency_key", Text),
    Column("code", Text),
    Column("voucher_state", Text),
    Column("valid_from_ms", BigInteger),
    Column("valid_until_ms", BigInteger),
    Column("decided_at_ms", BigInteger, comment="when it ceased to be held"),
    Column("returned_seq", BigInteger, comment="where the log says that its unit went back to stock"),
    Column("revealed_at_ms", BigInteger, comment="when its holder asked for the code, where that is shown on request"),
    Column("source", Text, nullable=False, server_default="grab", comment="make_good: ops have given it"),
    CheckConstraint("state IN ('pending_payment', 'fulfilled', 'lapsed', 'returned', 'revoked')", name="state"),
    CheckConstraint("voucher_state IN ('active', 'redeemed', 'returned', 'expired', 'revoked')", name="voucher_state"),
    CheckConstraint("unit_no >= 1", name="unit_no"),
    CheckConstraint("ordinal >= 1", name="ordinal"),
    CheckConstraint("source IN ('grab', 'make_good')", name="source"),
    CheckConstraint(f"returned_seq IS NULL OR NOT ({HELD})", name="returned_is_not_held"),
    CheckConstraint("revealed_at_ms IS NULL OR code IS NOT NULL", name="seen_code_stays"),
    Index("claims_unit_uq", "campaign_id", "unit_no", unique=True, postgresql_where=text(HELD)),
    Index(
        "claims_ordinal_uq",
        "campaign_id",
        "member_id",
        "ordinal",
        unique=True,
        postgresql_where=text("state IN ('pending_payment', 'fulfilled', 'revoked')"),
    ),
    Index("claims_code_uq", "code", unique=True, postgresql_where=text("code IS NOT NULL")),
    Index(
        "claims_idempotency_key_uq",
        "campaign_id",
        "member_id",
        "idempotency_key",
        unique=True,
        postgresql_where=text("idempotency_key IS NOT NULL"),
    ),
    Index("claims_returned_seq_uq", "returned_seq", unique=True, postgresql_where=text("returned_seq IS NOT NULL")),
    # Over the member alone: the claims of a member share one key in it, so it stays small, and a rush writes to few pages.
    Index(None, "member_id"),
    comment="Grants; inserted by the ledger alone. Triggers: no held unit_no above the total, no grab's ordinal above limit",
)

make_good_keys = Table(
    "make_good_keys",
    metadata,
    Column("idempotency_key", Text, primary_key=True),
    Column("campaign_id", Text, nullable=False),
    Column("member_id", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    comment="What ops have asked for with a key: the campaign and the member that it stands for, for good",
)

log_cursor = Table(
    "log_cursor",
    metadata,
    Column("cell", Text, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("last_id", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False, comment="time of the last entry drained"),
    Column("head", LargeBinary, nullable=False, server_default=text("decode(repeat('00', 32), 'hex')"), comment="of the chain"),
    comment="What of the log has been drained; moved in the same transaction as the rows",
)

log_entries = Table(
    "log_entries",
    metadata,
    Column("last_seq", BigInteger, primary_key=True, autoincrement=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("campaign_id", Text, comment="null: an entry of the whole cell"),
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 of the entry's bytes"),
    Column("head", LargeBinary, nullable=False, comment="SHA-256 of the head before and the digest"),
    Column("entry", LargeBinary, comment="the bytes of a campaign's own entry"),
    CheckConstraint("digest = sha256(entry)", name="digest"),
    Index(None, "campaign_id", "last_seq", postgresql_where=text("campaign_id IS NOT NULL")),
    Index(None, "at_ms", "last_seq"),
    comment="The chain of the log: each entry's digest and head",
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("head", LargeBinary, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("signature", Text, nullable=False, comment="detached JWS of head, seq and time"),
    comment="Heads of the chain that the ledger has signed",
)

epochs = Table(
    "epochs",
    metadata,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("predecessor", Integer, nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("began_at_ms", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    comment="The lives of the cell",
)

lives_seen = Table(
    "lives_seen",
    metadata,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False, comment="members may have been told of what lies up to here"),
    Column("at_ms", BigInteger, nullable=False),
    comment="How far a life of the cell was seen that is over: by workers that outlived it, or in its log",
)

claims_seen = Table(
    "claims_seen",
    metadata,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("campaign_id", Text, nullable=False),
    Column("member_id", Text, nullable=False),
    comment="Claims of lives of the cell that are over, which were not on record as far as the workers that saw them knew",
)

commands = Table(
    "commands",
    metadata,
    Column("command_id", BigInteger, Identity(always=True), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("campaign_id", Text, nullable=False),
    Column("member_id", Text, nullable=False),
    Column("claim_seq", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("done_seq", BigInteger, comment="where the log says it was done; null: still to be sent, again and again"),
    Column("last_outcome", Text, comment="what Lua answered last"),
    UniqueConstraint("claim_seq"),
    CheckConstraint("kind IN ('return_unit')", name="kind"),
    CheckConstraint("reason IN ('returned', 'lapsed')", name="reason"),
    Index("commands_pending_ix", "command_id", postgresql_where=text("done_seq IS NULL")),
    comment="The outbox: what Postgres decided and the cell must still be told",
)

ops_log = Table(
    "ops_log",
    metadata,
    Column("entry_id", BigInteger, Identity(always=True), primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("object_id", Text),
    Column("reason", Text),
    Column("outcome", Text, nullable=False, comment="requested, then done or the slug of the refusal"),
    Column("detail", JSONB, nullable=False),
    Index(None, "object_id", "entry_id"),
    comment="Who did what, when and why",
)

ops_tokens = Table(
    "ops_tokens",
    metadata,
    Column("token_id", Text, primary_key=True),
    Column("actor", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("ended_at_ms", BigInteger, comment="refused since then; null: nobody has ended it"),
    Index(None, "created_at_ms", "token_id"),
    comment="Tokens of ops: on record from their making or their first use on",
)

alarms = Table(
    "alarms",
    metadata,
    Column("alarm_id", BigInteger, Identity(always=True), primary_key=True),
    Column("raised_at_ms", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("detail", JSONB, nullable=False),
    Column("cleared_at_ms", BigInteger),
    Column("acknowledged_at_ms", BigInteger),
    Column("acknowledged_by", Text, comment="who of ops has taken note"),
    Column("acknowledged_why", Text),
    Index("alarms_open_ix", "kind", unique=True, postgresql_where=text("cleared_at_ms IS NULL AND kind <> 'recovery_lost'")),
    Index("alarms_lost_ix", text("(detail ->> 'epoch')"), unique=True, postgresql_where=text("kind = 'recovery_lost'")),
    comment="What the ledger found wrong; open until cleared. A loss stays, one for each life of the cell",
)

comparisons = Table(
    "comparisons",
    metadata,
    Column("campaign_id", Text, primary_key=True),
    Column("compared_at_ms", BigInteger, comment="when the last round through all its claims began; null: there was none"),
    Column("begun_at_ms", BigInteger, comment="when the round under way began"),
    Column("part", SmallInteger, nullable=False, comment="where the next audit goes on: 0 claims, 1 bindings"),
    Column("cursor", BigInteger, nullable=False),
    Column("arming", Text, nullable=False, comment="the nonce of the cell in that round"),
    comment="How far the audits of the ledger have come",
)

counts = Table(
    "counts",
    metadata,
    Column("campaign_id", Text, primary_key=True, comment="empty: answered before a campaign was looked up"),
    Column(
        "second", BigInteger, primary_key=True, autoincrement=False, comment="Unix second; without a campaign the hour's first"
    ),
    Column("outcome", Text, primary_key=True),
    Column("n", BigInteger, nullable=False),
    CheckConstraint("n > 0", name="n"),
    comment="What the workers answered, by second: lower bounds, for a worker that is killed takes its last second along",
)

counts_cursor = Table(
    "counts_cursor",
    metadata,
    Column("cell", Text, primary_key=True),
    Column("last_id", Text, nullable=False),
    comment="How far the stream of counts has been added up; moved in the same transaction as the sums",
)

used_assertions = Table(
    "used_assertions",
    metadata,
    Column("jti", Text, primary_key=True),
    Column("expires_at_ms", BigInteger, nullable=False),
    Index(None, "expires_at_ms"),
    comment="Assertions exchanged for a pass, each once",
)
