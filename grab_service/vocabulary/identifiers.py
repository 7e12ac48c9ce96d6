"""Alphabets and lengths of names: of cells, members, unions, tags, campaigns, actors and repeated calls.

Every name is checked once, where it comes in; behind that door it is trusted. All patterns are bounded and match the
whole string (never `$`, which would let a trailing newline through).
"""

import os
import re
import unicodedata

from grab_service.vocabulary.invisible import unseen_in

CELL_NAME_MAX = 32
MEMBER_ID_MAX = 64
ORG_ID_MAX = 32
TAG_MAX = 32
CAMPAIGN_ID_MAX = 40
ACTOR_MAX = 64
IDEMPOTENCY_KEY_MAX = 64

_CELL_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
_MEMBER_ID = re.compile(r"[A-Za-z0-9_:-]{1,64}")
_ORG_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_TAG = re.compile(r"[A-Za-z0-9_\-\u4e00-\u9fff]{1,32}")
_CAMPAIGN_ID = re.compile(r"[a-z0-9-]{1,40}")
_TOKEN_ID = re.compile(r"[0-9a-f]{16}")
# Letters and digits of any script: \w has no blank, no control and no mark that joins what stands around it.
_ACTOR = re.compile(r"[\w:@.+-]{1,64}")
# Printable ASCII without the space: headers carry it, and Redis fields hold it, without escaping.
_IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,64}")

# No i, l, o, u: nothing to confuse when an id is read over the telephone, and no words by accident.
_CAMPAIGN_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_NEW_CAMPAIGN_ID_LENGTH = 10


def is_cell_name(text: str) -> bool:
    """Whether text can name a cell; it ends up in every Redis key and in what a pass signs."""
    return _CELL_NAME.fullmatch(text) is not None


def is_member_id(text: str) -> bool:
    """Whether text can name a member, or the person behind several memberships (1..64 of A-Z a-z 0-9 _ : -)."""
    return _MEMBER_ID.fullmatch(text) is not None


def is_org_id(text: str) -> bool:
    """Whether text can name a grassroots union (1..32 of A-Z a-z 0-9 _ -)."""
    return _ORG_ID.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Whether text can be an audience tag (1..32 letters, digits, Chinese characters, _ -); never a comma or a bar."""
    return _TAG.fullmatch(text) is not None


def is_campaign_id(text: str) -> bool:
    """Whether text can name a campaign (1..40 of a-z 0-9 -)."""
    return _CAMPAIGN_ID.fullmatch(text) is not None


def is_token_id(text: str) -> bool:
    """Whether text can name a token of ops (16 hexadecimal digits)."""
    return _TOKEN_ID.fullmatch(text) is not None


def is_actor(text: str) -> bool:
    """Whether text can name someone of ops, in tokens and in the log (1..64 letters or digits of any script, _ : @ . + -).

    Mail addresses are fine, and so are Chinese names. A form that only looks like another letter (full width) is none.
    """
    return _ACTOR.fullmatch(text) is not None and unicodedata.is_normalized("NFKC", text) and unseen_in(text) is None


def is_idempotency_key(text: str) -> bool:
    """Whether text can be an `Idempotency-Key` (1..64 printable ASCII characters without spaces)."""
    return _IDEMPOTENCY_KEY.fullmatch(text) is not None


def new_campaign_id() -> str:
    """A fresh campaign id: ten characters, 50 random bits.

    A primary key refuses the collision that a million campaigns meet with a chance of one in two thousand.
    """
    return "".join([_CAMPAIGN_ALPHABET[byte & 31] for byte in os.urandom(_NEW_CAMPAIGN_ID_LENGTH)])
