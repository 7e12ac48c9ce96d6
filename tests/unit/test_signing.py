"""Keys of signatures: what a file may hold, and that others can check what is signed."""

import json
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import jwt
import pytest

from grab_service.signing import SigningKeys, SigningKeysError, new_key
from tests.harness.tools import verify_chain

KEY = new_key()


def written(tmp_path: Path, *keys: Any) -> Path:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": keys}))
    return path


def without(name: str) -> dict[str, str]:
    return {field: value for field, value in KEY.items() if field != name}


def test_the_first_private_key_signs_and_all_are_shown_without_their_private_half(tmp_path: Path) -> None:
    other = new_key()
    keys = SigningKeys.read(written(tmp_path, without("d") | {"kid": "old"}, KEY, other))
    assert (keys.kid, [jwk["kid"] for jwk in keys.public]) == (KEY["kid"], ["old", KEY["kid"], other["kid"]])
    assert not any("d" in jwk for jwk in keys.public)
    assert SigningKeys.read(written(tmp_path, without("d"))).private is None
    # A script that has no library for it writes down the secret half alone.
    assert SigningKeys.read(written(tmp_path, without("x"))).public == keys.public[1:2]


def test_a_signature_is_checked_by_a_library_and_by_the_tool(tmp_path: Path) -> None:
    keys = SigningKeys.read(written(tmp_path, KEY))
    said = {"seq": 7, "head": "ab" * 32, "at": "2026-09-20T04:00:01.003Z"}
    signature = keys.sign(said)
    head, nothing, rest = signature.split(".")
    assert nothing == ""
    payload = urlsafe_b64encode(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).rstrip(b"=").decode()
    public = jwt.PyJWK(dict(keys.public[0])).key
    assert jwt.PyJWS().decode(f"{head}.{payload}.{rest}", public, algorithms=["EdDSA"])
    tool, named = verify_chain(), {KEY["kid"]: KEY["x"]}
    assert tool.is_signed(said | {"signature": signature}, named)
    assert not tool.is_signed(said | {"seq": 8, "signature": signature}, named)
    assert not tool.is_signed(said | {"signature": signature}, {KEY["kid"]: new_key()["x"]})


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ([], "no set of 1 to 16 keys"),
        ([KEY] * 17, "no set of 1 to 16 keys"),
        ([KEY, KEY], "two keys have the same kid"),
        (["x"], "key 1 is no Ed25519 key"),
        ([KEY | {"crv": "X25519"}], "key 1 is no Ed25519 key"),
        ([without("kid")], "key 1 has no kid"),
        ([KEY | {"kid": "我"}], "key 1 has no kid"),
        ([without("d") | {"x": None}], "has no x of 32 bytes"),
        ([without("d") | {"x": "AAAA"}], "has no x of 32 bytes"),
        ([KEY | {"x": "AAAA"}], "does not belong to its x"),
        ([KEY | {"d": new_key()["d"]}], "does not belong to its x"),
        ([KEY | {"d": "?"}], "has a d that is no 32 bytes"),
    ],
)
def test_a_file_that_holds_something_else_is_refused_by_name(tmp_path: Path, keys: list[Any], why: str) -> None:
    path = written(tmp_path, *keys)
    with pytest.raises(SigningKeysError, match=f"^{path}.*{why}"):
        SigningKeys.read(path)


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SigningKeysError, match="cannot be read: No such file"):
        SigningKeys.read(tmp_path / "nowhere")
    (tmp_path / "text").write_text("no json")
    with pytest.raises(SigningKeysError, match="is no JSON"):
        SigningKeys.read(tmp_path / "text")
