"""The keys of a JWKS file that are used, and the report about the others."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from grab_service.identity.jwks import KEYS_MAX, Jwks

ED25519 = json.loads(OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate().public_key()))
P256 = json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key()))
P384 = json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key()))
RSA = json.loads(RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048).public_key()))
PRIVATE = json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1())))


def read(tmp_path: Path, content: Any) -> Jwks:
    path = tmp_path / "jwks.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return Jwks.read(path)


def refusal(tmp_path: Path, content: Any) -> str:
    with pytest.raises(ValueError, match=r"jwks\.json") as refused:
        read(tmp_path, content)
    return str(refused.value)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (RSA | {"kid": "web"}, "'web') is of the kind RSA, and only Ed25519 and P-256"),
        (P384, "is of the kind EC on P-384"),
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "shared"}, "is of the kind oct"),
        ({"crv": "P-256"}, "is of the kind None on P-256"),
        (ED25519 | {"kty": "EC"}, "is of the kind EC on Ed25519"),
        (P256 | {"use": "enc"}, "is for 'enc' and not for signatures"),
        (P256 | {"key_ops": ["encrypt"]}, "is not for verifying"),
        (P256 | {"key_ops": "verify"}, "is not for verifying"),
        (P256 | {"alg": "ES512"}, "is for 'ES512', and with this curve only ES256"),
        (P256 | {"kid": 7}, "has a kid that is no string"),
        (P256 | {"x": "AAAA"}, "is no key on P-256"),
        ({name: value for name, value in P256.items() if name != "y"}, "is no key on P-256"),
        (P256 | {"x": 5}, "is no key on P-256"),
        (ED25519 | {"x": base64.urlsafe_b64encode(b"short").decode()}, "is no key on Ed25519"),
        ("a text", "is no JSON object"),
        (None, "is no JSON object"),
    ],
)
def test_a_key_that_cannot_be_used_is_passed_over_and_named(tmp_path: Path, key: Any, why: str) -> None:
    jwks = read(tmp_path, {"keys": [key, P256 | {"kid": "good", "use": "sig", "key_ops": ["verify"], "alg": "ES256"}]})
    assert list(jwks.by_name) == [("ES256", "good")]
    (sentence,) = jwks.passed_over
    assert sentence.startswith("key 1")
    assert why in sentence
    alone = refusal(tmp_path, {"keys": [key]})
    assert "holds no key that can be used" in alone
    assert why in alone


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (P256, "holds a single key and no set of keys"),
        ([P256], "is no set of keys"),
        ({"keys": P256}, "is no set of keys"),
        ({"keys": {}}, "is no set of keys"),
        ({}, "is no set of keys"),
        ("text", "is no JSON"),
        ("", "is no JSON"),
        ("null", "is no set of keys"),
        ({"keys": []}, "the list is empty"),
        ({"keys": [P256] * (KEYS_MAX + 1)}, "holds more than"),
        ({"keys": [PRIVATE]}, "is private and belongs to the host app alone"),
        ({"keys": [RSA | {"d": "AQAB"}, P256]}, "is private and belongs to the host app alone"),
        ({"keys": [P256 | {"kid": "a"}, P256 | {"kid": "a"}]}, "cannot be told from another one for ES256"),
        ({"keys": [P256, P256]}, "cannot be told from another one for ES256"),
    ],
)
def test_a_file_that_is_no_set_of_public_keys_or_is_ambiguous_is_refused(tmp_path: Path, content: Any, why: str) -> None:
    assert why in refusal(tmp_path, content)


def test_keys_of_different_kinds_may_share_a_name(tmp_path: Path) -> None:
    jwks = read(tmp_path, {"keys": [P256 | {"kid": "a"}, ED25519 | {"kid": "a"}]})
    assert (jwks.find("ES256", "a") or jwks).__class__ is not Jwks
    assert jwks.find("ES256", "a") is not jwks.find("EdDSA", "a")


def test_an_assertion_without_a_name_means_the_only_key_of_its_kind(tmp_path: Path) -> None:
    jwks = read(tmp_path, {"keys": [P256 | {"kid": "a"}, ED25519 | {"kid": "b"}, ED25519 | {"kid": "c"}]})
    assert jwks.find("ES256", None) is jwks.find("ES256", "a")
    assert jwks.find("EdDSA", None) is None
    assert jwks.find("HS256", None) is None
    assert jwks.find("none", "a") is None
