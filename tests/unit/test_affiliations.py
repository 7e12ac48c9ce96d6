"""A pass is believed about the union exactly while nothing can have changed since it was made."""

import pytest

from grab_service.grabpath import affiliations
from grab_service.grabpath.affiliations import Affiliations
from grab_service.vocabulary.events import MembersPublished, decode
from grab_service.vocabulary.passes import CLOCKS_APART_S, PassKeys, mint

KEYS = PassKeys.build("demo", [("k1", b"the secret of this cell .........")])
BEGAN_S = 1_800_000_000
LATER_S = 1_800_100_000
FIRST_CERTAIN_S = BEGAN_S + CLOCKS_APART_S + 1
"""The first second in which a pass is made that is believed, if nothing changes."""


def token(member_id: str = "m-1", made_at_s: int = FIRST_CERTAIN_S, org_id: str = "org-1") -> bytes:
    return mint(KEYS, member_id, LATER_S, made_at_s=made_at_s, org_id=org_id).encode()


def changed(at_s: int, *names: str, version: int = 1) -> MembersPublished:
    return MembersPublished(1, 1, 1, at_s * 1000, version, len(names), names)


@pytest.fixture
def known() -> Affiliations:
    """The knowledge of a worker that began to read the log at `BEGAN_S`."""
    began = Affiliations()
    began.begin(7, BEGAN_S * 1000)
    return began


def test_a_pass_is_believed_if_it_was_certainly_made_after_the_worker_began_to_read(known: Affiliations) -> None:
    assert known.org_of(token()) == "org-1"
    assert known.org_of(token(made_at_s=FIRST_CERTAIN_S - 1)) is None
    assert known.org_of(token(made_at_s=0)) is None
    assert Affiliations().org_of(token()) is None, "it has read nothing yet"


def test_a_pass_that_names_no_union_says_nothing(known: Affiliations) -> None:
    assert known.org_of(token(org_id="")) is None
    payload = b"1.k1.%d.m-1" % LATER_S
    assert known.org_of(payload + b"." + KEYS.pass_hmacs[b"k1"].mac(payload)) is None


def test_a_pass_that_may_be_older_than_a_change_is_not_believed_and_a_newer_one_is(known: Affiliations) -> None:
    at_s = BEGAN_S + 500
    known.apply(changed(at_s, "m-0", "m:1"))
    for made_at_s, org_id in ((at_s - 1, None), (at_s + CLOCKS_APART_S, None), (at_s + CLOCKS_APART_S + 1, "org-1")):
        assert known.org_of(token("m:1", made_at_s)) == org_id
    assert known.org_of(token("m-2")) == "org-1", "of another member"
    known.apply(changed(at_s + 500, "m-2"))
    assert known.org_of(token("m:1", at_s + CLOCKS_APART_S + 1)) == "org-1"
    known.apply(changed(at_s + 500, "m:1"))
    assert known.org_of(token("m:1", at_s + CLOCKS_APART_S + 1)) is None


def test_of_more_changes_than_are_remembered_the_oldest_counts_for_everybody(
    known: Affiliations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(affiliations, "CHANGES_MAX", 2)
    for number, name in enumerate(("m-1", "m-2", "m-1", "m-3"), 1):
        known.apply(changed(BEGAN_S + 100 * number, name))
    # m-2 is forgotten: its change of 200 s could be anybody's.
    between_s, after_s = BEGAN_S + 200 + CLOCKS_APART_S, BEGAN_S + 201 + CLOCKS_APART_S
    for name in ("m-2", "m-4"):
        assert known.org_of(token(name, between_s)) is None
        assert known.org_of(token(name, after_s)) == "org-1"
    for name in ("m-1", "m-3"):
        assert known.org_of(token(name, after_s)) is None
    assert len(known._changed_at_ms) == 2


def test_after_an_entry_that_names_nobody_no_older_pass_is_believed(known: Affiliations) -> None:
    known.apply(changed(BEGAN_S + 100, "m-1"))
    fields = {"type": "members_published", "seq": 9, "last_seq": 9, "epoch": 1, "at_ms": (BEGAN_S + 200) * 1000}
    written = [str(text).encode() for pair in ({**fields, "members_version": 9, "changed": 1}).items() for text in pair]
    event = decode(b"9-0", written)
    assert isinstance(event, MembersPublished)
    known.apply(event)
    for name in ("m-1", "m-2"):
        assert known.org_of(token(name, BEGAN_S + 200 + CLOCKS_APART_S)) is None
        assert known.org_of(token(name, BEGAN_S + 201 + CLOCKS_APART_S)) == "org-1"


def test_a_worker_that_begins_anew_believes_no_older_pass(known: Affiliations) -> None:
    known.apply(changed(BEGAN_S + 100, "m-1"))
    known.begin(8, (BEGAN_S + 1000) * 1000)
    for name in ("m-1", "m-2"):
        assert known.org_of(token(name, BEGAN_S + 1000 + CLOCKS_APART_S)) is None
        assert known.org_of(token(name, BEGAN_S + 1001 + CLOCKS_APART_S)) == "org-1"
    assert known.members_version == 8


def test_the_version_of_the_members_follows_the_log_and_never_falls(known: Affiliations) -> None:
    assert known.members_version == 7
    for version, expected in ((6, 7), (9, 9), (8, 9)):
        known.apply(changed(BEGAN_S, version=version))
        assert known.members_version == expected
