"""Granted claims as rows in PostgreSQL's binary COPY format.

In the binary format of COPY, which both sides handle faster than anything else: the common fields of all claims of an entry are
written down once, and a claim costs half a microsecond. The columns stand in that order.
"""

from struct import Struct, error
from typing import Final

from grab_service.vocabulary.claims import Validity
from grab_service.vocabulary.events import Granted

COLUMNS: Final = (
    # The same for all claims of an entry,
    "epoch",
    "campaign_id",
    "state",
    "granted_at_ms",
    "voucher_state",
    "valid_from_ms",
    "valid_until_ms",
    "source",
    # and its own for each.
    "seq",
    "unit_no",
    "ordinal",
    "member_id",
    "code",
    "idempotency_key",
)
HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END: Final = b"\xff\xff"

_FIELDS: Final = Struct("!h").pack(len(COLUMNS))
_LENGTH: Final = Struct("!i").pack
_NULL: Final = _LENGTH(-1)
_INTEGER: Final = Struct("!ii").pack
_BIGINT: Final = Struct("!iq").pack
_NUMBERS: Final = Struct("!iqiiihi").pack
"""seq, unit_no and ordinal, each after its length, and the length of member_id."""


class BadClaimError(Exception):
    """A claim says what its columns cannot hold."""


def rows_of(batch: Granted, validity: Validity | None) -> list[bytes]:
    """The rows of one entry, in pieces to be joined; `validity` is that of its campaign's vouchers, None if it has none.

    Raises:
        BadClaimError: one of its claims does not fit, or lacks the code that a voucher has.
    """
    pieces: list[bytes] = []
    add = pieces.append
    try:
        same = _same(batch, validity)
        for seq, (member_id, unit_no, ordinal, code, key) in enumerate(batch.claims, batch.seq):
            member = member_id.encode()
            add(same)
            add(_NUMBERS(8, seq, 4, unit_no, 2, ordinal, len(member)))
            add(member)
            if code:
                written = code.encode()
                add(_LENGTH(len(written)))
                add(written)
            elif validity is None:
                add(_NULL)
            else:
                raise BadClaimError("a claim lacks its code")
            if key:
                written = key.encode()
                add(_LENGTH(len(written)))
                add(written)
            else:
                add(_NULL)
    except (error, ValueError) as problem:
        raise BadClaimError(f"a number or a text is out of what its column holds: {problem}") from problem
    except AttributeError as problem:
        raise BadClaimError(f"what should be a text (str) is none: {problem}") from problem
    return pieces


def _same(batch: Granted, validity: Validity | None) -> bytes:
    valid_from_ms, valid_until_ms = validity.of_grant(batch.at_ms) if validity is not None else (None, None)
    return b"".join(
        (
            _FIELDS,
            _INTEGER(4, batch.epoch),
            _text(batch.campaign_id),
            _text(batch.state.value),
            _BIGINT(8, batch.at_ms),
            _NULL if validity is None else _text("active"),
            _NULL if valid_from_ms is None else _BIGINT(8, valid_from_ms),
            _NULL if valid_until_ms is None else _BIGINT(8, valid_until_ms),
            _text(batch.SOURCE.value),
        )
    )


def _text(value: str) -> bytes:
    written = value.encode()
    return _LENGTH(len(written)) + written
