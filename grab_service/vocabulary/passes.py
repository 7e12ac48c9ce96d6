"""Member passes and ops tokens: minting and verification.

A pass is `2.<kid>.<exp>.<member>.<org>.<person>.<made>.<mac>`, an ops token
`o2.<kid>.<created>.<exp>.<role>.<token_id>.<actor>.<mac>`: ASCII, with times in Unix seconds. The mac is HMAC-SHA256 over a
domain, the cell's name and everything before the last dot, cut to 144 bits and written in base64url. Passes and ops tokens have
keys of their own; the domain keeps them apart even under one secret, and the cell keeps districts apart. Two keys of a kind may
live at once: the first signs, both verify, so that a key is changed without signing anybody out.

In a pass, `org` is the union that the cell held for the member at the time `made`; it is empty where that was not known.
`person` is the place for a keyed hash of the person; it is empty in this release, because no rule reads it. `made` is 0 if
nobody said. Passes of version 1, `1.<kid>.<exp>.<member>.<mac>`, are still taken.

Verifying is on the path of every grab, so it works on bytes, without a pattern or a JSON parser, reads no field that it does
not need, and starts from hash states that have already taken in key and domain: 1.35 µs with a union in the pass, where
`hmac.digest` alone takes 1.3 µs (OpenSSL 3 prepares every call anew). The mac is compared in its written form: decoding base64
would accept several spellings of one mac.
"""

from base64 import urlsafe_b64decode
from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from hmac import compare_digest
from secrets import token_hex
from types import MappingProxyType

from grab_service.vocabulary.identifiers import is_actor, is_cell_name, is_member_id, is_org_id

KEYS_MAX = 2
KID_MAX = 16
SECRET_MIN_BYTES = 16
SECRET_MAX_BYTES = 1024
# 7 dots, version 1, kid 16, two times of 11, member 64, union 32, person 24, mac 24: nothing longer is ever minted.
TOKEN_MAX_BYTES = 190
OPS_TOKEN_MAX_BYTES = 448
"""The holder's name may have 64 Chinese characters."""
EXPIRES_AT_MAX_S = 99_999_999_999
OPS_TTL_MAX_S = 24 * 3600
CLOCKS_APART_S = 60
"""Allowed lead of the token maker's clock over Redis' clock."""


_MAC_BYTES = 18  # 144 bits: 24 base64 characters with no bit left over
_PASS_VERSION = b"2"
_PASS_FIELDS: Mapping[bytes, int] = MappingProxyType({b"1": 4, _PASS_VERSION: 7})
"""Fields before the mac, by version. The first four are the same in both."""

_OPS_VERSION = b"o2"
_TOKEN_ID_BYTES = 8  # written as 16 hexadecimal digits
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
# Names may hold `:` and `@`, a bearer token may not (RFC 6750); `~` and `/` may stand in it, and in no name.
_TO_TOKEN = bytes.maketrans(b":@", b"~/")
_FROM_TOKEN = bytes.maketrans(b"~/", b":@")
_BLOCK_BYTES = 64  # of SHA-256
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


class PassRefusal(StrEnum):
    """Reasons to refuse a pass or an ops token; the words are slugs of the problem catalogue.

    Ask with `isinstance(answer, PassRefusal)`: a member may well be called `pass-invalid`, and would compare equal.
    """

    INVALID = "pass-invalid"
    EXPIRED = "pass-expired"


class Role(StrEnum):
    """The rights of an ops user; an officer sees only their own union."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    OFFICER = "officer"
    ADMIN = "admin"


_ROLES: Mapping[bytes, Role] = MappingProxyType({role.value.encode(): role for role in Role})


@dataclass(frozen=True, slots=True)
class OpsIdentity:
    """Someone of ops who signed in: their name in the log of what was done, and their role."""

    actor: str
    role: Role


@dataclass(frozen=True, slots=True)
class OpsToken:
    """An ops token whose signature is good: whose it is, the id by which it can be ended, and from when to when it is good."""

    identity: OpsIdentity
    token_id: str
    created_at_s: int
    expires_at_s: int


class _HmacState:
    """HMAC-SHA256 (RFC 2104) under one key, for messages that all begin with one domain."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, secret: bytes, domain: bytes) -> None:
        key = (secret if len(secret) <= _BLOCK_BYTES else sha256(secret).digest()).ljust(_BLOCK_BYTES, b"\0")
        self._inner = sha256(key.translate(_INNER) + domain)
        self._outer = sha256(key.translate(_OUTER))

    def mac(self, payload: bytes) -> bytes:
        inner = self._inner.copy()
        inner.update(payload)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return b2a_base64(outer.digest()[:_MAC_BYTES], newline=False).translate(_URL_SAFE)


_HmacStates = Mapping[bytes, _HmacState]


@dataclass(frozen=True, slots=True)
class PassKeys:
    """The keys of one cell: `PassKeys.build(cell, [(kid, secret), …], ops_keys)`; the first of a kind signs, all verify.

    Keeps no secret, only hash states made from them, and shows neither.
    """

    cell: str
    pass_hmacs: _HmacStates = field(repr=False)
    ops_hmacs: _HmacStates = field(repr=False)

    @classmethod
    def build(cls, cell: str, keys: Sequence[tuple[str, bytes]], ops_keys: Sequence[tuple[str, bytes]] = ()) -> "PassKeys":
        """Checks and prepares the keys.

        Args:
            cell: the cell's name; a pass of another cell is invalid here.
            keys: one or two of (key id of 1..16 letters and digits, secret of 16..1024 bytes), for passes.
            ops_keys: two at most, for ops tokens; without one no ops token is made or taken here.

        Raises:
            ValueError: a name, a key id or a secret is out of bounds, or a key id stands twice. The message holds no
                secret.
        """
        if not is_cell_name(cell):
            raise ValueError(f"not a cell name: {cell[:64]!r}")
        if not 1 <= len(keys) <= KEYS_MAX:
            raise ValueError(f"between 1 and {KEYS_MAX} pass keys are needed, got {len(keys)}")
        if len(ops_keys) > KEYS_MAX:
            raise ValueError(f"{KEYS_MAX} ops keys at most, got {len(ops_keys)}")
        return cls(cell, _hmac_states("pass", cell, keys), _hmac_states("ops", cell, ops_keys))


def _hmac_states(kind: str, cell: str, keys: Sequence[tuple[str, bytes]]) -> _HmacStates:
    """The states by key id, the one that signs first."""
    domain, states = f"grab-{kind}\0{cell}\0".encode(), dict[bytes, _HmacState]()
    for kid, secret in keys:
        if not (1 <= len(kid) <= KID_MAX and kid.isascii() and kid.isalnum()):
            raise ValueError(f"a key id of {kind} keys is 1 to {KID_MAX} letters and digits, got {kid[:64]!r}")
        if kid.encode() in states:
            raise ValueError(f"{kind} key id {kid!r} stands twice")
        if not SECRET_MIN_BYTES <= len(secret) <= SECRET_MAX_BYTES:
            raise ValueError(f"the secret of {kind} key {kid!r} must have {SECRET_MIN_BYTES} to {SECRET_MAX_BYTES} bytes")
        states[kid.encode()] = _HmacState(secret, domain)
    return states


@dataclass(frozen=True, slots=True)
class Affiliation:
    """The union that a pass names for its member, as of the second at which the pass was made."""

    member_id: str
    org_id: str
    made_at_s: int


def mint(keys: PassKeys, member_id: str, expires_at_s: int, *, made_at_s: int = 0, org_id: str = "") -> str:
    """A member's pass, valid until (not at) `expires_at_s`.

    Args:
        keys: the keys of this cell; the first signs.
        member_id: whose pass it is.
        expires_at_s: Unix seconds.
        made_at_s: Unix seconds, no later than the moment at which `org_id` was read; 0 if it does not matter.
        org_id: the member's union, if the cell held it at that moment; else empty.

    Raises:
        ValueError: not a member id or a union's id, an expiry outside 1..EXPIRES_AT_MAX_S, or a pass that expires before it
            is made.
    """
    if not is_member_id(member_id):
        raise ValueError(f"not a member id: {member_id[:80]!r}")
    if org_id and not is_org_id(org_id):
        raise ValueError(f"not a union's id: {org_id[:80]!r}")
    if not 0 <= made_at_s < _checked_expiry(expires_at_s):
        raise ValueError(f"a pass is made before it expires at {expires_at_s}, got {made_at_s}")
    name = member_id.encode("ascii").translate(_TO_TOKEN)
    kid, state = next(iter(keys.pass_hmacs.items()))
    payload = b"%b.%b.%d.%b.%b.%b.%d" % (_PASS_VERSION, kid, expires_at_s, name, org_id.encode("ascii"), b"", made_at_s)
    return (payload + b"." + state.mac(payload)).decode("ascii")


def verify(keys: PassKeys, token: bytes, now_s: float) -> str | PassRefusal:
    """The member id of a pass, or why it is refused. Never raises, whatever the bytes.

    Args:
        keys: the keys of this cell.
        token: what followed `Bearer `, untouched.
        now_s: Unix seconds; a float is fine.
    """
    if len(token) > TOKEN_MAX_BYTES:
        return PassRefusal.INVALID
    payload, _, mac = token.rpartition(b".")
    fields = payload.split(b".", 7)
    if len(fields) != _PASS_FIELDS.get(fields[0]):
        return PassRefusal.INVALID
    state = keys.pass_hmacs.get(fields[1])
    if state is None or not compare_digest(state.mac(payload), mac):
        return PassRefusal.INVALID
    # Authentic from here on: what `mint` wrote, so the number is a number and the name is ASCII.
    if int(fields[2]) <= now_s:
        return PassRefusal.EXPIRED
    return fields[3].translate(_FROM_TOKEN).decode("ascii")


def affiliation_in(token: bytes) -> Affiliation | None:
    """The union that a pass names; None if it names none. Only for a pass that `verify` has taken."""
    fields = token.split(b".")
    if fields[0] != _PASS_VERSION or not fields[4]:
        return None
    return Affiliation(fields[3].translate(_FROM_TOKEN).decode("ascii"), fields[4].decode("ascii"), int(fields[6]))


def mint_ops(keys: PassKeys, actor: str, role: Role, created_at_s: int, expires_at_s: int) -> str:
    """An ops token for `actor` in `role` with an id of its own, valid until (not at) `expires_at_s`; both in Unix seconds.

    Raises:
        ValueError: not an actor's name, an expiry outside 1..EXPIRES_AT_MAX_S, a life longer than OPS_TTL_MAX_S, or there is
            no ops key.
    """
    if not is_actor(actor):
        raise ValueError(f"not an actor's name: {actor[:80]!r}")
    if not keys.ops_hmacs:
        raise ValueError("there is no ops key")
    if not 0 < expires_at_s - created_at_s <= OPS_TTL_MAX_S:
        raise ValueError(f"an ops token lives for 1 to {OPS_TTL_MAX_S} s, got {expires_at_s - created_at_s}")
    kid, state = next(iter(keys.ops_hmacs.items()))
    name, token_id = _written_actor(actor), token_hex(_TOKEN_ID_BYTES).encode()
    times = b"%d.%d" % (created_at_s, _checked_expiry(expires_at_s))
    payload = b"%b.%b.%b.%b.%b.%b" % (_OPS_VERSION, kid, times, role.value.encode(), token_id, name)
    return (payload + b"." + state.mac(payload)).decode("ascii")


def verify_ops(keys: PassKeys, token: bytes, now_s: float) -> OpsToken | PassRefusal:
    """The ops user of this token, or the reason of its refusal. Never raises, for any bytes.

    Whether it has been ended is on record in Postgres, and not known here. A role that this release does not know is refused,
    so that a token of a later release grants nothing by accident.
    """
    if len(token) > OPS_TOKEN_MAX_BYTES:
        return PassRefusal.INVALID
    payload, _, mac = token.rpartition(b".")
    fields = payload.split(b".", 6)  # the actor comes last, because it may hold dots itself
    if len(fields) != 7 or fields[0] != _OPS_VERSION:
        return PassRefusal.INVALID
    state = keys.ops_hmacs.get(fields[1])
    if state is None or not compare_digest(state.mac(payload), mac):
        return PassRefusal.INVALID
    role = _ROLES.get(fields[4])
    created_at_s, expires_at_s = int(fields[2]), int(fields[3])
    if role is None or expires_at_s - created_at_s > OPS_TTL_MAX_S or created_at_s > now_s + CLOCKS_APART_S:
        return PassRefusal.INVALID  # no token was made for so long, or is made only later
    if expires_at_s <= now_s:
        return PassRefusal.EXPIRED
    identity = OpsIdentity(actor=_read_actor(fields[6]), role=role)
    return OpsToken(identity, fields[5].decode("ascii"), created_at_s, expires_at_s)


def _written_actor(actor: str) -> bytes:
    """A name as a token holds it: as it is if it is ASCII, else `=` and its UTF-8 in base64url, for a header holds no more."""
    if actor.isascii():
        return actor.encode().translate(_TO_TOKEN)
    return b"=" + b2a_base64(actor.encode(), newline=False).rstrip(b"=").translate(_URL_SAFE)


def _read_actor(written: bytes) -> str:
    """The reverse of `_written_actor`; only for what is authentic."""
    if not written.startswith(b"="):
        return written.translate(_FROM_TOKEN).decode("ascii")
    return urlsafe_b64decode(written[1:] + b"=" * (-(len(written) - 1) % 4)).decode()


def _checked_expiry(expires_at_s: int) -> int:
    if not 1 <= expires_at_s <= EXPIRES_AT_MAX_S:
        raise ValueError(f"a pass expires between 1 and {EXPIRES_AT_MAX_S} Unix seconds, got {expires_at_s}")
    return expires_at_s
