"""The counts of a worker on their way to the ledger: by second, campaign and outcome.

Outcomes are the words of `vocabulary.outcomes`, slugs of the service's own refusals with `_` for `-`, and `opened`.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

import orjson

from grab_service.vocabulary.identifiers import is_campaign_id

OPENED: Final = "opened"
"""A member opened the page of a campaign."""

NO_CAMPAIGN: Final = ""
"""The campaign of what was answered before a campaign was looked up, or for an id that nobody has published."""

_OUTCOME: Final = re.compile(r"[a-z_]{1,64}")

BySecond = Mapping[int, Mapping[str, Mapping[str, int]]]
"""Unix second → campaign → outcome → how often."""


class Place(NamedTuple):
    """What is counted: an outcome, of a campaign, in one second (Unix)."""

    second: int
    campaign_id: str
    outcome: str


class BadCountsError(ValueError):
    """Text that no worker of ours writes."""


def encode_counts(counts: BySecond) -> bytes:
    """As the cell keeps them; empty for none."""
    return orjson.dumps(counts, option=orjson.OPT_NON_STR_KEYS) if counts else b""


def decode_counts(text: bytes) -> dict[Place, int]:
    """What was encoded.

    Raises:
        BadCountsError: it is anything else.
    """
    try:
        found = {
            Place(int(second), campaign_id, outcome): n
            for second, by_campaign in orjson.loads(text).items()
            for campaign_id, by_outcome in by_campaign.items()
            for outcome, n in by_outcome.items()
        }
    except (ValueError, AttributeError) as error:
        raise BadCountsError(f"no counts: {error}") from error
    for place, n in found.items():
        named = place.campaign_id == NO_CAMPAIGN or is_campaign_id(place.campaign_id)
        if not (named and _OUTCOME.fullmatch(place.outcome) and 0 <= place.second < 2**33 and type(n) is int and 0 < n < 2**31):
            raise BadCountsError(f"no counts: {place} {n!r:.20}")
    return found
