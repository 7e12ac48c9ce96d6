"""A pass admits exactly the member it was made for, in its cell, until it expires."""

import hmac
import string
from base64 import urlsafe_b64encode
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grab_service.vocabulary.identifiers import is_token_id
from grab_service.vocabulary.passes import (
    EXPIRES_AT_MAX_S,
    OPS_TOKEN_MAX_BYTES,
    OPS_TTL_MAX_S,
    TOKEN_MAX_BYTES,
    Affiliation,
    OpsIdentity,
    OpsToken,
    PassKeys,
    PassRefusal,
    Role,
    affiliation_in,
    mint,
    mint_ops,
    verify,
    verify_ops,
)

OLD = ("k1", b"the first secret of this cell ..")
NEW = ("k2", b"the second secret of this cell .")
OPS = ("o1", b"the secret of ops of this cell ...")
KEYS = PassKeys.build("demo", [OLD], [OPS])
NOW_S = 1_800_000_000.25
MADE_S = 1_800_000_000
LATER_S = 1_800_003_600

Verify = Callable[[PassKeys, bytes, float], str | OpsToken | PassRefusal]


def signed(keys: PassKeys, payload: bytes) -> bytes:
    """A pass as a holder of the key would write it."""
    return payload + b"." + next(iter(keys.pass_hmacs.values())).mac(payload)


def of_version_1(member_id: str, expires_at_s: int) -> bytes:
    """A pass as earlier releases minted it."""
    return signed(KEYS, b"1.k1.%d.%b" % (expires_at_s, member_id.replace(":", "~").encode()))


def identity_in(token: bytes, now_s: float) -> OpsIdentity:
    opened = verify_ops(KEYS, token, now_s)
    assert isinstance(opened, OpsToken)
    return opened.identity


member_ids = st.text(string.ascii_letters + string.digits + "_:-", min_size=1, max_size=64)
org_ids = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=32)
actors = st.text(string.ascii_letters + string.digits + "_:@.+-", min_size=1, max_size=64)


@given(member_ids, st.integers(min_value=int(NOW_S) + 1, max_value=EXPIRES_AT_MAX_S))
def test_a_pass_names_the_member_it_was_minted_for(member_id: str, expires_at_s: int) -> None:
    token = mint(KEYS, member_id, expires_at_s).encode()
    assert verify(KEYS, token, NOW_S) == member_id
    assert affiliation_in(token) is None
    assert len(token) <= TOKEN_MAX_BYTES


@given(member_ids, org_ids, st.integers(min_value=0, max_value=int(NOW_S)))
def test_a_pass_names_the_union_and_when_it_was_made(member_id: str, org_id: str, made_at_s: int) -> None:
    token = mint(KEYS, member_id, LATER_S, made_at_s=made_at_s, org_id=org_id).encode()
    assert verify(KEYS, token, NOW_S) == member_id
    assert affiliation_in(token) == Affiliation(member_id, org_id, made_at_s)


def test_the_longest_pass_is_taken_also_with_the_hash_of_a_person_in_its_place() -> None:
    keys = PassKeys.build("d" * 32, [("k" * 16, OLD[1])])
    longest = mint(keys, "m" * 64, EXPIRES_AT_MAX_S, made_at_s=EXPIRES_AT_MAX_S - 1, org_id="o" * 32).encode()
    token = signed(keys, longest.rpartition(b".")[0].replace(b"..", b"." + b"p" * 24 + b"."))
    assert len(token) == TOKEN_MAX_BYTES
    assert verify(keys, token, NOW_S) == "m" * 64
    assert affiliation_in(token) == Affiliation("m" * 64, "o" * 32, EXPIRES_AT_MAX_S - 1)
    assert verify(keys, signed(keys, token.rpartition(b".")[0] + b"0"), NOW_S) is PassRefusal.INVALID


def test_a_pass_of_version_1_is_good_as_before_and_names_no_union() -> None:
    token = of_version_1("wx:m-1", LATER_S)
    assert verify(KEYS, token, NOW_S) == "wx:m-1"
    assert verify(KEYS, token, LATER_S) is PassRefusal.EXPIRED
    assert affiliation_in(token) is None


def test_a_pass_has_the_fields_of_its_version() -> None:
    good = {b"1": b"1.k1.1800003600.m-1", b"2": b"2.k1.1800003600.m-1.org-1..1800000000"}
    for version, payload in good.items():
        assert verify(KEYS, signed(KEYS, payload), NOW_S) == "m-1"
        others = [payload + b".", payload + b".more", payload.rpartition(b".")[0]]
        others += [other + payload[1:] for other in (b"1", b"2", b"3", b"") if other != version]
        for other in others:
            assert verify(KEYS, signed(KEYS, other), NOW_S) is PassRefusal.INVALID, other


@given(actors, st.sampled_from(Role), st.integers(min_value=MADE_S + 1, max_value=MADE_S + OPS_TTL_MAX_S))
def test_an_ops_token_names_the_actor_and_the_role(actor: str, role: Role, expires_at_s: int) -> None:
    token = mint_ops(KEYS, actor, role, MADE_S, expires_at_s).encode()
    opened = verify_ops(KEYS, token, NOW_S)
    assert isinstance(opened, OpsToken)
    assert (opened.identity, opened.created_at_s, opened.expires_at_s) == (OpsIdentity(actor, role), MADE_S, expires_at_s)
    assert is_token_id(opened.token_id)
    assert len(token) <= TOKEN_MAX_BYTES


@given(st.binary(min_size=16, max_size=200), member_ids, st.sampled_from(Role))
def test_the_signature_is_hmac_sha256_over_domain_cell_and_everything_said(secret: bytes, member_id: str, role: Role) -> None:
    keys = PassKeys.build("demo", [("k1", secret)], [("k1", secret)])
    member = mint(keys, member_id, LATER_S, made_at_s=MADE_S, org_id="org-1")
    for token, domain in ((member, b"pass"), (mint_ops(keys, "li", role, MADE_S, LATER_S), b"ops")):
        payload, _, mac = token.encode().rpartition(b".")
        expected = hmac.digest(secret, b"grab-" + domain + b"\0demo\0" + payload, "sha256")
        assert mac == urlsafe_b64encode(expected[:18])


@given(member_ids, actors)
def test_tokens_hold_only_what_a_bearer_token_may_hold(member_id: str, actor: str) -> None:
    allowed = set(string.ascii_letters + string.digits + "-._~+/")
    assert set(mint(KEYS, member_id, LATER_S, org_id="org_1-A")) <= allowed
    assert set(mint_ops(KEYS, actor, Role.ADMIN, MADE_S, LATER_S)) <= allowed


@pytest.mark.parametrize(
    ("check", "token"),
    [
        (verify, mint(KEYS, "wx:m-1", LATER_S, made_at_s=MADE_S, org_id="org-1").encode()),
        (verify, of_version_1("wx:m-1", LATER_S)),
        (verify_ops, mint_ops(KEYS, "li.wei@u.example", Role.OPERATOR, MADE_S, LATER_S).encode()),
    ],
    ids=["pass", "pass of version 1", "ops"],
)
def test_every_change_of_one_byte_is_refused(check: Verify, token: bytes) -> None:
    for position in range(len(token)):
        for value in range(256):
            changed = token[:position] + bytes([value]) + token[position + 1 :]
            if changed != token:
                assert check(KEYS, changed, NOW_S) is PassRefusal.INVALID, changed
        assert check(KEYS, token[:position] + token[position + 1 :], NOW_S) is PassRefusal.INVALID
        assert check(KEYS, token[:position] + b"A" + token[position:], NOW_S) is PassRefusal.INVALID
    for tail in (b"=", b"==", b" ", b"\n", b".", b"A"):
        assert check(KEYS, token + tail, NOW_S) is PassRefusal.INVALID


@given(st.binary(max_size=400))
@settings(max_examples=500)
def test_arbitrary_bytes_are_refused_and_never_raise(token: bytes) -> None:
    assert verify(KEYS, token, NOW_S) is PassRefusal.INVALID
    assert verify_ops(KEYS, token, NOW_S) is PassRefusal.INVALID


@given(st.lists(st.sampled_from([b"1", b"2", b"o2", b"k1", b"o1", b"1800003600", b"m-1", b"admin", b"", b"\xff", b"A" * 24])))
@settings(max_examples=500)
def test_bytes_that_look_like_a_token_are_refused_and_never_raise(fields: list[bytes]) -> None:
    token = b".".join(fields)
    assert verify(KEYS, token, NOW_S) is PassRefusal.INVALID
    assert verify_ops(KEYS, token, NOW_S) is PassRefusal.INVALID


def test_a_pass_ends_at_its_second_and_not_before() -> None:
    token = mint(KEYS, "m-1", LATER_S).encode()
    assert verify(KEYS, token, LATER_S - 0.001) == "m-1"
    assert verify(KEYS, token, LATER_S) is PassRefusal.EXPIRED
    ops = mint_ops(KEYS, "li", Role.VIEWER, MADE_S, LATER_S).encode()
    assert identity_in(ops, LATER_S - 0.001) == OpsIdentity("li", Role.VIEWER)
    assert verify_ops(KEYS, ops, LATER_S) is PassRefusal.EXPIRED


def test_a_forged_pass_is_invalid_even_when_it_is_also_old() -> None:
    token = mint(KEYS, "m-1", 1_000).encode()
    assert verify(KEYS, token[:-1] + bytes([token[-1] ^ 1]), NOW_S) is PassRefusal.INVALID


def test_a_pass_of_another_cell_is_invalid_under_the_same_secret() -> None:
    other = PassKeys.build("demo2", [OLD], [OPS])
    assert verify(other, mint(KEYS, "m-1", LATER_S).encode(), NOW_S) is PassRefusal.INVALID
    assert verify_ops(other, mint_ops(KEYS, "li", Role.ADMIN, MADE_S, LATER_S).encode(), NOW_S) is PassRefusal.INVALID


def test_an_ops_token_is_never_a_pass_and_a_pass_never_an_ops_token() -> None:
    assert verify(KEYS, mint_ops(KEYS, "li", Role.ADMIN, MADE_S, LATER_S).encode(), NOW_S) is PassRefusal.INVALID
    assert verify_ops(KEYS, mint(KEYS, "m-1", LATER_S).encode(), NOW_S) is PassRefusal.INVALID


def test_swapping_the_version_does_not_turn_one_kind_into_the_other() -> None:
    ops = mint_ops(KEYS, "li", Role.ADMIN, MADE_S, LATER_S).encode()
    assert verify(KEYS, ops[1:], NOW_S) is PassRefusal.INVALID
    for version in (b"1", b"2"):
        assert verify(KEYS, version + ops[2:], NOW_S) is PassRefusal.INVALID
    assert verify(KEYS, ops[1:].replace(b".admin", b""), NOW_S) is PassRefusal.INVALID
    member = mint(KEYS, "admin", LATER_S).encode()
    assert verify_ops(KEYS, b"o" + member, NOW_S) is PassRefusal.INVALID
    assert verify_ops(KEYS, b"o" + member.replace(b".admin", b".admin.admin"), NOW_S) is PassRefusal.INVALID


def test_a_name_cannot_be_moved_into_the_neighbouring_field() -> None:
    # "o2.o1.<created>.<exp>.admin.<id>.li" and an actor called "admin.li" in another role share no signature.
    token = mint_ops(KEYS, "admin.li", Role.VIEWER, MADE_S, LATER_S).encode()
    assert verify_ops(KEYS, token.replace(b"viewer.", b""), NOW_S) is PassRefusal.INVALID
    assert identity_in(token, NOW_S) == OpsIdentity("admin.li", Role.VIEWER)


def test_while_a_key_is_rotated_both_verify_and_the_first_signs() -> None:
    before, during, after = KEYS, PassKeys.build("demo", [NEW, OLD]), PassKeys.build("demo", [NEW])
    old, new = mint(before, "m-1", LATER_S).encode(), mint(during, "m-1", LATER_S).encode()
    assert verify(during, old, NOW_S) == "m-1"
    assert verify(during, new, NOW_S) == "m-1"
    assert verify(after, new, NOW_S) == "m-1"
    assert verify(after, old, NOW_S) is PassRefusal.INVALID
    assert verify(before, new, NOW_S) is PassRefusal.INVALID


def test_a_key_id_cannot_be_exchanged_for_another_with_the_same_secret() -> None:
    both = PassKeys.build("demo", [("k1", OLD[1]), ("k2", OLD[1])])
    token = mint(both, "m-1", LATER_S).encode()
    assert verify(both, token.replace(b".k1.", b".k2."), NOW_S) is PassRefusal.INVALID


def test_a_token_of_ops_has_a_key_of_its_own() -> None:
    token = mint_ops(KEYS, "li", Role.ADMIN, MADE_S, LATER_S).encode()
    # A well-formed token signed with the secret of the passes is refused all the same.
    forged = mint_ops(PassKeys.build("demo", [OLD], [(OPS[0], OLD[1])]), "li", Role.ADMIN, MADE_S, LATER_S).encode()
    assert verify_ops(KEYS, forged, NOW_S) is PassRefusal.INVALID
    for without in (PassKeys.build("demo", [OLD, OPS]), PassKeys.build("demo", [OLD])):
        assert verify_ops(without, token, NOW_S) is PassRefusal.INVALID
        with pytest.raises(ValueError, match="no ops key"):
            mint_ops(without, "li", Role.ADMIN, MADE_S, LATER_S)
    rotated = PassKeys.build("demo", [OLD], [("o2", b"the next secret of ops of this cell"), OPS])
    assert isinstance(verify_ops(rotated, token, NOW_S), OpsToken)
    assert verify_ops(KEYS, mint_ops(rotated, "li", Role.ADMIN, MADE_S, LATER_S).encode(), NOW_S) is PassRefusal.INVALID


def test_no_two_tokens_of_ops_share_an_id() -> None:
    made = {mint_ops(KEYS, "li", Role.ADMIN, MADE_S, LATER_S) for _ in range(1000)}
    assert len(made) == 1000


def test_a_member_called_like_a_refusal_is_a_member() -> None:
    for name in ("pass-invalid", "pass-expired", "invalid"):
        answer = verify(KEYS, mint(KEYS, name, LATER_S).encode(), NOW_S)
        assert answer == name
        assert not isinstance(answer, PassRefusal)


@pytest.mark.parametrize("member_id", ["", "a" * 65, "a.b", "a b", "a\n", "李", "a~b", "\x00"])
def test_nobody_gets_a_pass_under_a_name_that_is_none(member_id: str) -> None:
    with pytest.raises(ValueError, match="not a member id"):
        mint(KEYS, member_id, LATER_S)


@pytest.mark.parametrize("org_id", ["a" * 33, "a.b", "a b", "a\n", "工会", "a:b", "a@b", "~", "\x00"])
def test_no_pass_names_a_union_under_a_name_that_is_none(org_id: str) -> None:
    with pytest.raises(ValueError, match="not a union's id"):
        mint(KEYS, "m-1", LATER_S, org_id=org_id)


@pytest.mark.parametrize("made_at_s", [-1, LATER_S, LATER_S + 1])
def test_a_pass_is_made_before_it_expires(made_at_s: int) -> None:
    with pytest.raises(ValueError, match="made before it expires"):
        mint(KEYS, "m-1", LATER_S, made_at_s=made_at_s)


@pytest.mark.parametrize("actor", ["王小明", "工会:李四@区总", "Жанна", "a.b.c", "王" * 64, "\U00020000" * 64])
def test_an_ops_user_keeps_the_name_they_have(actor: str) -> None:
    token = mint_ops(KEYS, actor, Role.ADMIN, MADE_S, LATER_S)
    assert token.isascii()
    assert len(token) <= OPS_TOKEN_MAX_BYTES
    opened = verify_ops(KEYS, token.encode(), NOW_S)
    assert isinstance(opened, OpsToken)
    assert opened.identity.actor == actor


@pytest.mark.parametrize("actor", ["", "a" * 65, "a b", "a\n", "李\u200b四", "a~b", "a/b", "李 四", "\u202e李"])
def test_nobody_gets_an_ops_token_under_a_name_that_is_none(actor: str) -> None:
    with pytest.raises(ValueError, match="not an actor"):
        mint_ops(KEYS, actor, Role.ADMIN, MADE_S, LATER_S)


@pytest.mark.parametrize("expires_at_s", [0, -1, EXPIRES_AT_MAX_S + 1])
def test_an_expiry_is_bounded(expires_at_s: int) -> None:
    with pytest.raises(ValueError, match="expires between"):
        mint(KEYS, "m-1", expires_at_s)
    with pytest.raises(ValueError, match="expires between"):
        mint_ops(KEYS, "li", Role.ADMIN, expires_at_s - 1, expires_at_s)


@pytest.mark.parametrize(
    ("cell", "keys", "message"),
    [
        ("", [OLD], "cell name"),
        ("a b", [OLD], "cell name"),
        ("demo", [], "pass keys are needed"),
        ("demo", [OLD, NEW, ("k3", b"x" * 32)], "pass keys are needed"),
        ("demo", [("", b"x" * 32)], "key id"),
        ("demo", [("k.1", b"x" * 32)], "key id"),
        ("demo", [("键", b"x" * 32)], "key id"),
        ("demo", [("k" * 17, b"x" * 32)], "key id"),
        ("demo", [OLD, OLD], "twice"),
        ("demo", [("k1", b"short")], "secret"),
        ("demo", [("k1", b"x" * 1025)], "secret"),
    ],
)
def test_keys_that_cannot_be_meant_are_refused_at_start(cell: str, keys: list[tuple[str, bytes]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PassKeys.build(cell, keys)


def test_ops_keys_that_cannot_be_meant_are_refused_at_start() -> None:
    for ops_keys, message in (([OPS, OPS], "twice"), ([OPS, NEW, OLD], "2 ops keys at most"), ([("o1", b"short")], "secret")):
        with pytest.raises(ValueError, match=message):
            PassKeys.build("demo", [OLD], ops_keys)


def test_no_secret_is_shown() -> None:
    assert "secret" not in repr(KEYS)
    with pytest.raises(ValueError, match="secret") as caught:
        PassKeys.build("demo", [("k1", b"hunter2")])
    assert "hunter2" not in str(caught.value)
