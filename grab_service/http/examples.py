"""Examples of OpenAPI, all from one story: 3,000 boxes of moon cakes at noon of a day in September."""

from typing import Any, Final

CLAIM: Final[dict[str, Any]] = {
    "claim_id": "n4bv82kq7d.1.20417",
    "campaign_id": "n4bv82kq7d",
    "member_id": "m-000001",
    "state": "fulfilled",
    "unit_no": 17,
    "seq": 20417,
    "granted_at": "2026-09-20T04:00:00.012Z",
    "granted_at_ms": 1_789_876_800_012,
    "price": {"points": 0, "cash_fen": 0},
    "pay_by": None,
    "pay_by_ms": None,
    "voucher": {
        "voucher_id": "v.n4bv82kq7d.1.20417",
        "code": "2R68-YXPV-PZ9V-FC8S-GCF1-PC6N",
        "state": "active",
        "valid_from": "2026-09-20T04:00:00.012Z",
        "valid_until": "2026-10-20T04:00:00.012Z",
    },
}
PROOF: Final[dict[str, Any]] = {
    "as_of_seq": 20431,
    "head": "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
}
GRABBED: Final[dict[str, Any]] = CLAIM | PROOF
REVEALED: Final[dict[str, Any]] = CLAIM["voucher"] | {"qr": None, "revealed_at": "2026-09-20T04:05:00.000Z"}
OPS_CLAIM: Final[dict[str, Any]] = CLAIM | {"voucher": CLAIM["voucher"] | {"code": "****PC6N"}, "source": "make_good"}
ELIGIBILITY: Final[dict[str, Any]] = {
    "eligible": {"value": {"eligible": True, "code": None, "failed_rules": []}},
    "not eligible": {"value": {"eligible": False, "code": "not-eligible", "failed_rules": ["orgs"]}},
    "blocked": {
        "value": {"eligible": False, "code": "member-blocked", "failed_rules": [], "until": "2026-10-01T00:00:00.000Z"}
    },
    "at the limit": {"value": {"eligible": False, "code": "per-member-limit", "failed_rules": [], "limit": 1, "used": 1}},
}
EXPLANATION: Final[dict[str, Any]] = {
    "eligible": False,
    "code": "sold-out",
    "failed_rules": [],
    "next_release_at_ms": 1_789_963_200_000,
    "waitlist": False,
    "as_of_seq": 20431,
    "phase": "sold_out",
    "claims": [],
}
REPORT: Final[dict[str, Any]] = {
    "campaign_id": "n4bv82kq7d",
    "seconds": [
        {"second": "2026-09-20T03:59:59.000Z", "won": 0, "opened": 1204, "refused": {"not-open-yet": 218}, "shed": 0},
        {"second": "2026-09-20T04:00:00.000Z", "won": 3000, "opened": 310, "refused": {"sold-out": 24180}, "shed": 0},
    ],
    "by_org": [{"org_id": "org-001", "name": "第一工会", "audience": 187, "granted": 12}],
    "refused": {"not-open-yet": 218, "sold-out": 24180},
    "exact": ["won", "granted", "audience"],
    "lower_bound": ["opened", "refused", "shed"],
}
DEFINITION: Final[dict[str, Any]] = {
    "title": "中秋月饼",
    "summary": "每人一盒，先到先得",
    "category": "food",
    "releases": [
        {"opens_at": "2026-09-20T04:00:00Z", "quantity": 2000},
        {"opens_at": "2026-09-21T04:00:00Z", "quantity": 1000},
    ],
    "closes_at": "2026-09-22T04:00:00Z",
    "limit_per_member": 1,
    "eligibility": {"orgs": None, "tags_any": [], "birthday_months": [], "joined_before": None},
    "benefit": {"kind": "generated_code", "name": "月饼一盒", "valid_days": 30},
}
FINDING: Final[dict[str, Any]] = {
    "level": "error",
    "code": "too-few-codes",
    "field": "releases",
    "message": "3000 codes are needed, 0 have been imported.",
    "needed": 3000,
    "loaded": 0,
}
