"""The outcomes of every command of the cell.

The words are those of the headers under `lua/commands/`, those of a grab in its order of precedence; a test compares them. The
HTTP status of a refusal stands with its problem. Outcomes of the service itself, where nothing was decided, stand apart.
"""

from enum import StrEnum
from typing import Final


class Outcome(StrEnum):
    """One answer to one grab, as Lua decides it; the order is the order of precedence."""

    CAMPAIGN_NOT_FOUND = "campaign_not_found"
    IDEMPOTENCY_KEY_MISSING = "idempotency_key_missing"
    HELD = "held"
    CANCELLED = "cancelled"
    ENDED = "ended"
    NOT_OPEN_YET = "not_open_yet"
    PAUSED = "paused"
    MEMBER_UNKNOWN = "member_unknown"
    MEMBER_BLOCKED = "member_blocked"
    NOT_ELIGIBLE = "not_eligible"
    PER_MEMBER_LIMIT = "per_member_limit"
    SOLD_OUT = "sold_out"
    WON = "won"


class PublishOutcome(StrEnum):
    """What `lua/commands/publish_campaign.lua` answers."""

    CAMPAIGN_PUBLISHED = "published"
    ALREADY = "already"
    PUBLISHED_BEFORE = "published_before"
    TOO_FEW_CODES = "too_few_codes"


class StateOutcome(StrEnum):
    """What `lua/commands/set_state.lua` answers."""

    STATE_SET = "state_set"
    ALREADY = "already"
    WRONG_STATE = "wrong_state"
    CAMPAIGN_NOT_FOUND = "campaign_not_found"


class StockOutcome(StrEnum):
    """What `lua/commands/set_stock.lua` answers."""

    STOCK_SET = "stock_set"
    ALREADY = "already"
    WRONG_STATE = "wrong_state"
    STOCK_CHANGED = "stock_changed"
    BELOW_ISSUED = "below_issued"
    TOO_FEW_CODES = "too_few_codes"
    CAMPAIGN_NOT_FOUND = "campaign_not_found"


class MakeGoodOutcome(StrEnum):
    """What `lua/commands/make_good.lua` answers."""

    MADE_GOOD = "made_good"
    ALREADY = "already"
    WRONG_STATE = "wrong_state"
    MEMBER_UNKNOWN = "member_unknown"
    SOLD_OUT = "sold_out"
    TOO_FEW_CODES = "too_few_codes"
    CAMPAIGN_NOT_FOUND = "campaign_not_found"


class ReturnOutcome(StrEnum):
    """What `lua/commands/return_unit.lua` answers."""

    RETURNED = "returned"
    ALREADY = "already"
    UNKNOWN_CLAIM = "unknown_claim"
    CAMPAIGN_NOT_FOUND = "campaign_not_found"


class CodesOutcome(StrEnum):
    """What `lua/commands/load_codes.lua` answers."""

    CODES_LOADED = "codes_loaded"
    ALREADY = "already"
    GAP = "gap"


class MembersOutcome(StrEnum):
    """What `lua/commands/publish_members.lua` answers."""

    MEMBERS_PUBLISHED = "members_published"
    ALREADY = "already"


class Undecided(StrEnum):
    """Causes of a grab without a decision. Only with OUTCOME_UNKNOWN may a unit have been taken; a repeat tells."""

    OVERLOADED = "overloaded"
    PAUSED_FOR_RECOVERY = "paused_for_recovery"
    OUTCOME_UNKNOWN = "outcome_unknown"


REFUSALS: Final = tuple(o for o in Outcome if o not in {Outcome.IDEMPOTENCY_KEY_MISSING, Outcome.HELD, Outcome.WON})
"""The refusals of a grab in their order of precedence, but for a missing key, which is asked before anything is decided."""


def slug(outcome: Outcome | Undecided | MakeGoodOutcome) -> str:
    """The problem slug of a refusal: the same words, with hyphens."""
    return outcome.value.replace("_", "-")
