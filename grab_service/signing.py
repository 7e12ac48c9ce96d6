"""The service's own keys for signatures that everybody can check: Ed25519, in a JWK set (RFC 7517, RFC 8037).

The first private key signs; the public halves of all are shown at `/v1/keys`, so that what earlier keys signed can be checked.
"""

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from grab_service.vocabulary.json_text import read_json

KEYS_MAX: Final = 16
KID_MAX: Final = 64
BYTES: Final = 32


class SigningKeysError(ValueError):
    """The file cannot be used; the message names it and the key."""


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """The keys of a file, or of development mode; without a private one nothing can be signed.

    Attributes:
        public: the public half of each as a JWK, in the order of the file.
        kid: the name of the key that signs; "" if none does.
    """

    public: tuple[Mapping[str, str], ...] = ()
    kid: str = ""
    private: Ed25519PrivateKey | None = None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file.

        Raises:
            SigningKeysError: it cannot be read, or holds something else.
        """
        try:
            content = read_json(path.read_bytes())
        except OSError as error:
            raise SigningKeysError(f"{path} cannot be read: {error.strerror}") from error
        except orjson.JSONDecodeError as error:
            raise SigningKeysError(f"{path} is no JSON: {error}") from error
        entries = content.get("keys") if isinstance(content, dict) else None
        if not isinstance(entries, list) or not 1 <= len(entries) <= KEYS_MAX:
            raise SigningKeysError(f'{path} is no set of 1 to {KEYS_MAX} keys, which is written {{"keys": [...]}}')
        read = [_read_key(entry, f"{path}: key {number}") for number, entry in enumerate(entries, start=1)]
        if len({jwk["kid"] for jwk, _ in read}) < len(read):
            raise SigningKeysError(f"{path}: two keys have the same kid; give each one of its own")
        signing = next(((jwk["kid"], private) for jwk, private in read if private is not None), ("", None))
        return cls(tuple(jwk for jwk, _ in read), *signing)

    @classmethod
    def of_seed(cls, seed: bytes, kid: str) -> Self:
        """One key, made from 32 secret bytes."""
        private = Ed25519PrivateKey.from_private_bytes(seed)
        return cls((_jwk(private.public_key(), kid),), kid, private)

    def sign(self, said: Mapping[str, Any]) -> str:
        """The detached JWS over the compact JSON of these members with sorted keys. A private key must be there."""
        assert self.private is not None, "somebody signs without a key"
        head = _base64(orjson.dumps({"alg": "EdDSA", "kid": self.kid}))
        payload = _base64(orjson.dumps(said, option=orjson.OPT_SORT_KEYS))
        return f"{head}..{_base64(self.private.sign(f'{head}.{payload}'.encode()))}"


def new_key() -> dict[str, str]:
    """A new private key as a JWK, with a name of its own."""
    seed = secrets.token_bytes(BYTES)
    public = _jwk(Ed25519PrivateKey.from_private_bytes(seed).public_key(), f"s{secrets.token_hex(3)}")
    return {**public, "d": _base64(seed)}


def _read_key(entry: Any, named: str) -> tuple[dict[str, str], Ed25519PrivateKey | None]:
    if not isinstance(entry, dict) or (entry.get("kty"), entry.get("crv")) != ("OKP", "Ed25519"):
        raise SigningKeysError(f"{named} is no Ed25519 key; `grab secrets key` makes one")
    kid = entry.get("kid")
    if not isinstance(kid, str) or not 1 <= len(kid) <= KID_MAX or not kid.isascii() or not kid.isprintable():
        raise SigningKeysError(f"{named} has no kid of 1 to {KID_MAX} plain characters")
    seed = _bytes_of(entry.get("d"))
    if seed is None and "d" in entry:
        raise SigningKeysError(f"{named} ({kid}) has a d that is no {BYTES} bytes in base64url")
    private = None if seed is None else Ed25519PrivateKey.from_private_bytes(seed)
    jwk = None if private is None else _jwk(private.public_key(), kid)
    if jwk is not None and entry.get("x", jwk["x"]) != jwk["x"]:
        raise SigningKeysError(f"{named} ({kid}) has a d that does not belong to its x")
    public = _bytes_of(entry.get("x"))
    if jwk is None and public is None:
        raise SigningKeysError(f"{named} ({kid}) has no x of {BYTES} bytes in base64url")
    return jwk or _jwk(Ed25519PublicKey.from_public_bytes(public or b""), kid), private


def _jwk(public: Ed25519PublicKey, kid: str) -> dict[str, str]:
    x = _base64(public.public_bytes(Encoding.Raw, PublicFormat.Raw))
    return {"kty": "OKP", "crv": "Ed25519", "kid": kid, "alg": "EdDSA", "use": "sig", "x": x}


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes_of(text: Any) -> bytes | None:
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4)) if isinstance(text, str) else b""
    except ValueError:
        return None
    return data if len(data) == BYTES else None
