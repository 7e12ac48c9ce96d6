"""A claim as its holder sees it.

One function for all who show one: the grab, the claim's own page, the list of a member's claims. So a claim reads the same
wherever it is asked for, to the byte.
"""

from typing import Any, Final

from grab_service.vocabulary.claims import ClaimRecord, ClaimState, Validity, VoucherState
from grab_service.vocabulary.times import rfc3339

VOUCHER_PREFIX: Final = "v."


def claim_body(
    campaign_id: str,
    member_id: str,
    record: ClaimRecord,
    voucher_state: VoucherState,
    validity: Validity,
    has_voucher: bool,
    on_request: bool = False,
    revealed_at_ms: int | None = None,
) -> dict[str, Any]:
    """The claim as JSON shows it: in this order, with times in UTC to the millisecond.

    Args:
        campaign_id: whose unit it is.
        member_id: whose claim it is.
        record: the claim as it is now; one that waits for its payment shows no voucher yet.
        voucher_state: the voucher's state now; not looked at without a voucher.
        validity: when the campaign's vouchers are valid.
        has_voucher: False where the benefit is of kind none: the claim is all there is.
        on_request: whether the code is shown only once its holder has asked for it.
        revealed_at_ms: when that was; None: not yet, or nobody here knows.
    """
    claim_id = f"{campaign_id}.{record.epoch}.{record.seq}"
    granted_at_ms = record.granted_at_ms
    voucher = None
    if has_voucher and record.state is not ClaimState.PENDING_PAYMENT:
        valid_from_ms, valid_until_ms = validity.of_grant(granted_at_ms)
        voucher = {
            "voucher_id": VOUCHER_PREFIX + claim_id,
            "code": record.code,
            "state": voucher_state.value,
            "valid_from": rfc3339(valid_from_ms),
            "valid_until": None if valid_until_ms is None else rfc3339(valid_until_ms),
        }
        if on_request and revealed_at_ms is None:
            voucher |= {"code": None, "qr": None, "revealed_at": None}
        elif on_request and revealed_at_ms is not None:
            voucher |= {"qr": None, "revealed_at": rfc3339(revealed_at_ms)}
    return {
        "claim_id": claim_id,
        "campaign_id": campaign_id,
        "member_id": member_id,
        "state": record.state.value,
        "unit_no": record.unit_no,
        "seq": record.seq,
        "granted_at": rfc3339(granted_at_ms),
        "granted_at_ms": granted_at_ms,
        "price": {"points": 0, "cash_fen": 0},
        "pay_by": None,
        "pay_by_ms": None,
        "voucher": voucher,
    }
