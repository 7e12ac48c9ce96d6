"""A claim has the shape of the contract in every call."""

from dataclasses import replace

import pytest

from grab_service.vocabulary.claim_body import claim_body
from grab_service.vocabulary.claims import (
    DAY_MS,
    EPOCH_MAX,
    ID_LENGTH_MAX,
    ClaimRecord,
    ClaimRef,
    ClaimState,
    Validity,
    VoucherState,
)

GRANTED_AT_MS = 1_789_876_800_123  # 2026-09-20T04:00:00.123Z
RECORD = ClaimRecord(seq=17, epoch=3, unit_no=5, ordinal=1, granted_at_ms=GRANTED_AT_MS, code="ABCD", idempotency_key="again")


def test_a_claim_has_the_fields_of_the_contract_in_its_order() -> None:
    body = claim_body("mooncake", "m-1", RECORD, VoucherState.ACTIVE, Validity(valid_days=30), has_voucher=True)
    assert list(body) == [
        "claim_id",
        "campaign_id",
        "member_id",
        "state",
        "unit_no",
        "seq",
        "granted_at",
        "granted_at_ms",
        "price",
        "pay_by",
        "pay_by_ms",
        "voucher",
    ]
    assert body["granted_at"] == "2026-09-20T04:00:00.123Z"
    assert body["voucher"] == {
        "voucher_id": "v.mooncake.3.17",
        "code": "ABCD",
        "state": "active",
        "valid_from": "2026-09-20T04:00:00.123Z",
        "valid_until": "2026-10-20T04:00:00.123Z",
    }


def test_a_claims_id_leads_back_to_its_place_in_the_log() -> None:
    body = claim_body("mooncake", "m-1", RECORD, VoucherState.ACTIVE, Validity(), has_voucher=True)
    assert ClaimRef.parse(body["claim_id"]) == ClaimRef("mooncake", 3, 17)


def test_a_benefit_without_a_code_has_no_voucher() -> None:
    record = replace(RECORD, code="")
    body = claim_body("walk", "m-1", record, VoucherState.ACTIVE, Validity(), has_voucher=False)
    assert body["voucher"] is None


def test_what_is_not_paid_yet_shows_no_voucher() -> None:
    record = replace(RECORD, state=ClaimState.PENDING_PAYMENT)
    body = claim_body("mooncake", "m-1", record, VoucherState.ACTIVE, Validity(), has_voucher=True)
    assert body["voucher"] is None


def test_a_voucher_valid_from_a_day_to_come_counts_its_days_from_there() -> None:
    begin_ms = GRANTED_AT_MS + 10 * DAY_MS
    body = claim_body(
        "mooncake",
        "m-1",
        RECORD,
        VoucherState.ACTIVE,
        Validity(valid_from_ms=begin_ms, valid_until_ms=begin_ms + 90 * DAY_MS, valid_days=1),
        has_voucher=True,
    )
    assert body["voucher"]["valid_from"] == "2026-09-30T04:00:00.123Z"
    assert body["voucher"]["valid_until"] == "2026-10-01T04:00:00.123Z"


def test_an_id_with_a_number_that_no_claim_can_have_is_no_claims_id() -> None:
    assert ClaimRef.parse(f"mooncake.{EPOCH_MAX}.17") == ClaimRef("mooncake", EPOCH_MAX, 17)
    assert ClaimRef.parse(f"mooncake.{EPOCH_MAX + 1}.17") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c",
        "c.1",
        "c.1.2.3",
        "c.x.1",
        "c.1.x",
        "c.-1.1",
        "c.1.-1",
        "c.1. 2",
        "c.1.²",
        "c.²1.1",
        "c..1",
        "c.1.",
        "c.01.1",
        "c.1.01",
        f"c.1.{'9' * 16}",
        f"c.{'9' * 16}.1",
        f"c.{EPOCH_MAX + 1}.1",
        "c" * ID_LENGTH_MAX + ".1.1",
    ],
)
def test_what_is_no_id_of_a_claim_leads_nowhere(text: str) -> None:
    assert ClaimRef.parse(text) is None


@pytest.mark.parametrize("text", ["c.1.1", f"c.{EPOCH_MAX}.{'9' * 15}", "c" * (ID_LENGTH_MAX - 4) + ".1.1"])
def test_the_longest_ids_of_claims_are_ids(text: str) -> None:
    assert str(ClaimRef.parse(text)) == text
