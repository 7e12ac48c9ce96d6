"""Public keys of a JWKS file (RFC 7517) for assertions: other keys are skipped by name, ambiguous ones refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt
import orjson

from grab_service.vocabulary.json_text import read_json

KEYS_MAX: Final = 64
_KINDS: Final = {("OKP", "Ed25519"): "EdDSA", ("EC", "P-256"): "ES256"}
"""Type and curve of a key to the one algorithm that it is used with."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A key for signatures, with its algorithm: a public key, or for HS256 the secret of the host app."""

    algorithm: str
    key: Any


@dataclass(frozen=True, slots=True)
class Jwks:
    """The keys of a file.

    Attributes:
        by_name: (algorithm, `kid`) to key; the `kid` is empty where the key has none.
        passed_over: a sentence for each key that is not used, with its name and the reason.
    """

    by_name: Mapping[tuple[str, str], VerifyingKey]
    passed_over: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "Jwks":
        """Read the file.

        Raises:
            OSError: it cannot be read.
            ValueError: it is no JWK set, holds no key that can be used or a private one, or two that cannot be told apart.
        """
        by_name: dict[tuple[str, str], VerifyingKey] = {}
        passed_over = []
        for number, entry in enumerate(_entries(path), start=1):
            if not isinstance(entry, dict):
                passed_over.append(f"key {number} is no JSON object")
                continue
            kid = entry.get("kid", "")
            named = f"key {number} ({kid[:64]!r})" if isinstance(kid, str) and kid else f"key {number}"
            if entry.get("kty") != "oct" and "d" in entry:
                raise ValueError(f"{path}: {named} is private and belongs to the host app alone; take it out, and replace it")
            why = _unusable(entry)
            if why is not None:
                passed_over.append(f"{named} {why}")
                continue
            algorithm = _KINDS[entry["kty"], entry["crv"]]
            try:
                key = VerifyingKey(algorithm, jwt.PyJWK(entry, algorithm=algorithm).key)
            except (jwt.InvalidKeyError, jwt.PyJWKError, ValueError, TypeError, KeyError) as error:
                passed_over.append(f"{named} is no key on {entry['crv']}: {str(error)[:100] or type(error).__name__}")
                continue
            if (algorithm, kid) in by_name:
                raise ValueError(f"{path}: {named} cannot be told from another one for {algorithm}; give each a kid of its own")
            by_name[algorithm, kid] = key
        if not by_name:
            reasons = "; ".join(passed_over) or "the list is empty"
            raise ValueError(f"{path} holds no key that can be used (Ed25519, or P-256 for ES256): {reasons}")
        return cls(by_name, tuple(passed_over))

    def find(self, algorithm: str, kid: str | None) -> VerifyingKey | None:
        """The key that an assertion names; without a name, the only one for that algorithm."""
        if kid is not None:
            return self.by_name.get((algorithm, kid))
        fitting = [key for (known, _), key in self.by_name.items() if known == algorithm]
        return fitting[0] if len(fitting) == 1 else None


NO_KEYS: Final = Jwks({})


def _entries(path: Path) -> list[Any]:
    try:
        content = read_json(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if isinstance(content, dict) and "keys" not in content and "kty" in content:
        raise ValueError(f'{path} holds a single key and no set of keys; write it as {{"keys": [<the key>]}}')
    entries = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise ValueError(  # noqa: TRY004 -- one kind of error for all that a file may hold
            f'{path} is no set of keys, which is written {{"keys": [...]}}'
        )
    if len(entries) > KEYS_MAX:
        raise ValueError(f"{path} holds more than {KEYS_MAX} keys")
    return entries


def _unusable(entry: Mapping[str, Any]) -> str | None:
    """The reason why a key cannot check signatures of the kinds that we take; None if it can."""
    kty, crv, alg, operations = entry.get("kty"), entry.get("crv"), entry.get("alg"), entry.get("key_ops")
    kind = (kty, crv) if isinstance(kty, str) and isinstance(crv, str) else None
    if kind not in _KINDS:
        curve = f" on {str(crv)[:20]}" if crv is not None else ""
        return f"is of the kind {str(kty)[:20]}{curve}, and only Ed25519 and P-256 are taken"
    if not isinstance(entry.get("kid", ""), str):
        return "has a kid that is no string"
    if entry.get("use", "sig") != "sig":
        return f"is for {str(entry['use'])[:20]!r} and not for signatures"
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        return "is not for verifying (key_ops)"
    if alg is not None and alg != _KINDS[kind]:
        return f"is for {str(alg)[:20]!r}, and with this curve only {_KINDS[kind]} is taken"
    return None
