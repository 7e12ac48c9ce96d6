"""Calls that take JSON refuse a nesting deeper than Python can follow."""

import time
from typing import Any

import jwt
import orjson
import pytest

from grab_service.identity.assertions import AssertionKeys, AssertionRefusedError
from grab_service.vocabulary.json_text import NESTING_MAX, read_json
from grab_service.vocabulary.passes import Role
from tests.harness.service import Service

SECRET = "a secret of tests that is long enough for HS256"
DEPTHS = (NESTING_MAX - 2, NESTING_MAX + 1, 500, 950, 1020, 1100, 30_000, 100_000)


def lists(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def objects(depth: int) -> bytes:
    return b'{"":' * depth + b"1" + b"}" * depth


def fields_of(schema: dict[str, Any], described: dict[str, Any]) -> list[str]:
    named = schema.get("$ref", "").rpartition("/")[2]
    return list(described["components"]["schemas"].get(named, {}).get("properties", {}))


async def test_no_depth_of_a_body_is_a_fault_of_ours_wherever_json_is_taken(service: Service) -> None:
    described = (await service.http.get("/openapi.json")).json()
    campaign_id = await service.create()
    asked = 0
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            kind = next((kind for kind in content if kind.endswith("json")), None)
            if kind is None and (method, path) != ("post", "/v1/campaigns/{campaign_id}/claims"):
                continue
            fields = fields_of(content.get(kind, {}).get("schema", {}), described) or ["title", "stores"]
            url = path.replace("{campaign_id}", campaign_id).replace("{member_id}", "m-1").replace("{org_id}", "org-1")
            headers = {**service.ops(Role.ADMIN), "Content-Type": kind or "application/json", "If-Match": '"1"'}
            for depth in DEPTHS:
                bodies = [lists(depth), objects(depth)]
                bodies += [b'{"%b":%b}' % (field.encode(), deep(depth)) for field in fields for deep in (lists, objects)]
                bodies += [b'{"benefit":{"stores":%b}}' % lists(depth)]
                for body in bodies if depth < 2000 else bodies[:2]:
                    for _ in range(3):  # other work of this process may fall into one
                        began_s = time.process_time()
                        response = await service.http.request(method, url, content=body, headers=headers)
                        if (took_s := time.process_time() - began_s) < 0.1:
                            break
                    assert took_s < 0.1, (method, path, depth)
                    if depth > NESTING_MAX:
                        assert response.status_code in {400, 413}, (method, path, depth, response.text[:200])
                    else:
                        assert response.status_code < 500, (method, path, depth, response.text[:200])
                    asked += 1
    assert asked > 500


@pytest.mark.parametrize("depth", DEPTHS)
def test_no_depth_of_an_assertion_is_a_fault_of_ours(depth: int) -> None:
    keys = AssertionKeys("host", "grab-service", SECRET)
    now_s = time.time()
    claims = {"iss": "host", "aud": "grab-service", "sub": "m", "jti": "j", "iat": now_s, "exp": now_s + 60}
    for place in ("header", *claims, "x"):
        deep = "DEEP"
        header = {"alg": "HS256", "typ": "JWT", **({"kid": deep, "x": deep} if place == "header" else {})}
        said = {**claims, **({} if place == "header" else {place: deep})}
        parts = [orjson.dumps(part).replace(b'"DEEP"', lists(depth)) for part in (header, said)]
        signed = b".".join(jwt.utils.base64url_encode(part) for part in parts)
        mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(signed, SECRET.encode())
        assertion = (signed + b"." + jwt.utils.base64url_encode(mac)).decode()
        began_s = time.process_time()
        try:
            keys.verify(assertion, now_s)
        except AssertionRefusedError:
            pass
        else:
            assert place in {"x", "sub"}  # nobody asks what these are before the signature is found to be genuine
        assert time.process_time() - began_s < 0.1


@pytest.mark.parametrize("depth", DEPTHS)
def test_json_is_read_down_to_its_bound_and_no_deeper(depth: int) -> None:
    for text in (lists(depth), objects(depth), b'{"keys":%b}' % lists(depth - 1), (b"[%b]" % lists(depth - 1)).decode()):
        if depth <= NESTING_MAX:
            assert read_json(text) == orjson.loads(text)
        else:
            with pytest.raises(orjson.JSONDecodeError):
                read_json(text)
    wide = b"[" + b",".join([b'[{"a":[]}]'] * 5000) + b"]"
    assert read_json(wide) == orjson.loads(wide)
