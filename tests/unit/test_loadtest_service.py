import pytest

from loadtest.service import Address, Release, ServiceError, parse_facts, parse_url
from loadtest.verifier.truth import TruthError, parse_claims

PAGE = {
    "campaign_id": "c1",
    "opens_at_ms": 1_000,
    "closes_at_ms": 9_000,
    "stock": {"total": 30, "available": "few"},
    "releases": [{"opens_at": "1970-01-01T00:00:05Z", "quantity": 10}, {"opens_at_ms": 1_000, "quantity": 20}],
    "limit_per_member": 2,
}
HEADER = "member_id,claim_id,campaign_id,state,unit_no,seq,granted_at_ms,code,idempotency_key,extra"


def test_facts_are_read_with_releases_in_order() -> None:
    facts = parse_facts(PAGE, "c1")
    assert facts.releases == (Release(1_000, 20), Release(5_000, 10))
    assert (facts.total, facts.planned, facts.limit_per_member) == (30, 30, 2)


@pytest.mark.parametrize("missing", ["opens_at_ms", "closes_at_ms", "stock", "releases"])
def test_a_missing_fact_is_named(missing: str) -> None:
    page = {name: value for name, value in PAGE.items() if name != missing}
    with pytest.raises(ServiceError, match=missing):
        parse_facts(page, "c1")


def test_urls_are_taken_apart() -> None:
    assert parse_url("http://127.0.0.1:8000/grab/") == Address("127.0.0.1", 8000, "/grab")
    assert parse_url("http://[::1]") == Address("::1", 80, "")


@pytest.mark.parametrize("url", ["https://x", "localhost:8000", "http://", "http://x:99999"])
def test_a_url_of_no_use_is_refused(url: str) -> None:
    with pytest.raises(ServiceError):
        parse_url(url)


def test_claims_are_read_by_column_name() -> None:
    [claim] = parse_claims(f"{HEADER}\nm1,k1,c1,fulfilled,3,7,1234,ABC,key,whatever\n")
    assert (claim.member_id, claim.claim_id, claim.unit_no, claim.seq, claim.granted_at_ms) == ("m1", "k1", 3, 7, 1234)
    assert claim.held


def test_the_apostrophe_that_protects_spreadsheets_is_taken_off() -> None:
    [claim] = parse_claims(f"{HEADER}\nm1,k1,c1,returned,3,7,1234,'=A1,,\n")
    assert claim.code == "=A1"
    assert not claim.held


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("claim_id\nx\n", "campaign_id, member_id"),
        (f"{HEADER}\nm1,k1,c1,sleeping,3,7,1,,,\n", "row 2"),
        (f"{HEADER}\nm1,k1,c1,fulfilled,3,7,1,,,\nm1,k1,c1,fulfilled,three,7,1,,,\n", "row 3"),
        (f"{HEADER}\nm1,k1,c1,fulfilled\n", "row 2"),
    ],
)
def test_claims_that_cannot_be_read_are_named(text: str, complaint: str) -> None:
    with pytest.raises(TruthError, match=complaint):
        parse_claims(text)
