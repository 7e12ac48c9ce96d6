"""Verify a campaign's chain, its signed checkpoints, its log, and answers that members kept, against each other."""

import argparse
import base64
import hashlib
import json
import os
import pathlib
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
Point = tuple[int, int]  # of Ed25519
P, D = 2**255 - 19, -121665 * pow(121666, -1, 2**255 - 19)


def add(p: Point, q: Point) -> Point:
    t = D * p[0] * q[0] * p[1] * q[1] % P
    x, y = (p[0] * q[1] + q[0] * p[1]) * pow(1 + t, -1, P), (p[1] * q[1] + p[0] * q[0]) * pow(1 - t, -1, P)
    return x % P, y % P


def times(n: int, p: Point) -> Point:
    return add(times(n // 2, add(p, p)), p if n % 2 else (0, 1)) if n else (0, 1)


def point(data: bytes) -> Point:
    y = int.from_bytes(data, "little") % 2**255
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if x * x % P == square else x * pow(2, (P - 1) // 4, P) % P
    return (x if x % 2 == data[31] >> 7 else P - x), y


def plain(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def is_signed(checkpoint: Json, keys: Json) -> bool:
    """Whether the signature is that of one of the keys (RFC 8032)."""
    head, _, signature = checkpoint["signature"].split(".")
    said = json.dumps({name: checkpoint[name] for name in ("at", "head", "seq")}, separators=(",", ":")).encode()
    public, raw = plain(keys[json.loads(plain(head))["kid"]]), plain(signature)
    text = raw[:32] + public + head.encode() + b"." + base64.urlsafe_b64encode(said).rstrip(b"=")
    k = int.from_bytes(hashlib.sha512(text).digest(), "little")
    return times(int.from_bytes(raw[32:], "little"), point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))) == add(
        point(raw[:32]), times(k, point(public))
    )


def fetch(url: str, cursor: str | None = "") -> Iterator[Json]:
    """All pages of a list."""
    while cursor is not None:
        with urllib.request.urlopen(f"{url}?limit=1000{cursor and '&cursor='}{cursor}") as answer:
            page = json.load(answer)
        yield from page["items"]
        cursor = page["next_cursor"]


def faults(links: list[Json], checkpoints: list[Json], keys: Json, lines: list[Json], answers: list[Json]) -> Iterator[str]:
    """A sentence for each thing that does not agree."""
    heads = {(at := checkpoints[0]["seq"]): (head := checkpoints[0]["head"])}
    for link in links:
        if link["first_seq"] != at + 1:
            yield f"entries are missing or swapped between {at} and {link['first_seq']}"
        at, head = link["last_seq"], hashlib.sha256(bytes.fromhex(head + link["digest"])).hexdigest()
        heads[at] = head
    for checkpoint in checkpoints:
        if heads.get(checkpoint["seq"]) != checkpoint["head"] or not is_signed(checkpoint, keys):
            yield f"the checkpoint at {checkpoint['seq']} is not on the chain, or not signed with a key of the service"
    if lines and [(line["last_seq"], line["digest"]) for line in lines] != [(one["last_seq"], one["digest"]) for one in links]:
        yield "the log has other entries than the chain"
    winners: dict[int, list[Any]] = {}
    for line in (line for line in lines if "entry" in line):
        data = b"".join(b"%d:%b" % (len(text), text) for text in map(str.encode, line["entry"]))
        if not line["masked"] and hashlib.sha256(data).hexdigest() != line["digest"]:
            yield f"the entry at {line['last_seq']} is not the one in the chain"
        claims = json.loads(dict(zip(line["entry"][1::2], line["entry"][2::2], strict=True)).get("claims", "[]"))
        winners |= {line["first_seq"] + number: claim[:2] for number, claim in enumerate(claims)}
    for answer in answers:
        if heads.get(answer["as_of_seq"]) != answer["head"]:
            yield f"the answer of {answer['as_of_seq']} belongs to another history: its head is not in the chain"
        if lines and "seq" in answer and winners.get(answer["seq"]) != [answer["member_id"], answer["unit_no"]]:
            yield f"the log does not have the claim {answer['claim_id']}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("campaign", help="its address, https://…/v1/campaigns/ID")
    parser.add_argument("--log", type=pathlib.Path, default=os.devnull, help="the file log.jsonl, from ops")
    parser.add_argument("--answers", nargs="*", type=pathlib.Path, default=[], help="answers to grabs, one JSON a file")
    given = parser.parse_args()
    with urllib.request.urlopen(given.campaign.partition("/v1/")[0] + "/v1/keys") as answered:
        public_keys = {key["kid"]: key["x"] for key in json.load(answered)["keys"]}
    log, told = [*map(json.loads, given.log.open())], [json.loads(path.read_bytes()) for path in given.answers]
    chain, signed = [*fetch(f"{given.campaign}/chain")], [*fetch(f"{given.campaign}/checkpoints")]
    print(f"{len(chain)} entries, {len(signed)} checkpoints and {len(told)} answers looked at.")
    sys.exit("\n".join(faults(chain, signed, public_keys, log, told)) or 0)
