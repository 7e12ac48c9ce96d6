"""No body, of any type, size or shape, keeps the loop of a worker from turning."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from grab_service.http.bodies import PARTS_MAX, only_file
from grab_service.refusal import RefusalError
from grab_service.server.bodies import FRAMING_MAX_BYTES, FRAMING_PER_BYTE, Bounds
from grab_service.server.framing import Frame
from grab_service.server.protocol import _Incoming
from tests.harness.service import Service, running_service

BLOCKED_MAX_S = 0.1
JSON_MAX = 65_000
FILE_BYTES = 4 * 1024 * 1024
MEMBERS_HEAD = b"member_id,org_id,person_id,name,tags,birthday_month,joined_on,status\r\n"
FORM = "multipart/form-data; boundary=x"
PART = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'


@pytest.fixture
async def service(valkey_url: str, database_url: str, cell_name: str) -> AsyncIterator[Service]:
    async with running_service(valkey_url, database_url, cell_name, import_max_bytes=2 * FILE_BYTES) as running:
        yield running


class Watch:
    """Longest standstill of the loop, beside the longest that such a machine causes anyway."""

    def __init__(self) -> None:
        self.blocked_s = 0.0

    async def watch(self) -> None:
        while True:
            began_s, began_cpu_s = time.monotonic(), time.thread_time()
            await asyncio.sleep(0.001)
            # The processor time of this thread: another process that had the core does not count.
            self.blocked_s = max(self.blocked_s, min(time.monotonic() - began_s, time.thread_time() - began_cpu_s))


@asynccontextmanager
async def watched() -> AsyncIterator[Watch]:
    watch = Watch()
    task = asyncio.create_task(watch.watch())
    await asyncio.sleep(0.01)
    watch.blocked_s = 0.0
    yield watch
    task.cancel()


def filled(unit: bytes, start: bytes, end: bytes, total: int) -> bytes:
    return start + unit * ((total - len(start) - len(end)) // len(unit)) + end


JSONS = {
    "unknown fields": orjson.dumps({f"f{number}": 1 for number in range(5_500)}),
    "unknown fields of a field": orjson.dumps({"benefit": {f"f{number}": 1 for number in range(5_400)}}),
    "as many fields as are taken": orjson.dumps({f"f{number}": 1 for number in range(999)}),
    "objects of one field each": filled(b'{"a":1},', b'{"releases":[', b"{}]}", JSON_MAX),
    "releases": filled(b"{},", b'{"releases":[', b"{}]}", JSON_MAX),
    "wrong releases": filled(b'{"opens_at":1,"quantity":"x","y":1},', b'{"releases":[', b"{}]}", JSON_MAX),
    "orgs": filled(b'"",', b'{"eligibility":{"orgs":[', b'""]}}', JSON_MAX),
    "tags": filled(b'"\xe5\x8a\xb3\xe6\xa8\xa1",', b'{"eligibility":{"tags_any":[', b'""]}}', JSON_MAX),
    "nested": b"[" * (JSON_MAX // 2) + b"]" * (JSON_MAX // 2),
    "nested objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "a long string": filled(b"a", b'{"title":"', b'"}', JSON_MAX),
    "a long number": filled(b"9", b'{"limit_per_member":', b"}", JSON_MAX),
    "escapes": filled(b"\\u4e2d", b'{"title":"', b'"}', JSON_MAX),
}


async def json_calls(service: Service) -> list[tuple[str, str]]:
    """Every call that takes JSON, from the description."""
    paths = (await service.http.get("/openapi.json")).json()["paths"]
    calls = [
        (method, path.replace("{campaign_id}", "zzzzzzzzzz").replace("{member_id}", "m-1"))
        for path, operations in paths.items()
        for method, operation in operations.items()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    ]
    return [(method, path.replace("{", "").replace("}", "")) for method, path in calls]


@pytest.mark.parametrize("name", JSONS)
async def test_no_json_that_is_taken_keeps_the_loop_from_turning(service: Service, name: str) -> None:
    calls = await json_calls(service)
    assert len(calls) > 5
    # Objects made once in a process, and garbage of the description, are not the body's doing.
    await service.http.post("/v1/sessions", json={})
    gc.collect()
    for method, path in calls:
        headers = {**service.ops(), "Content-Type": "application/json", "If-Match": '"1"', "Idempotency-Key": "k"}
        async with watched() as watch:
            answer = await service.http.request(method, path, content=JSONS[name], headers=headers)
            await asyncio.sleep(0.005)
        assert answer.status_code < 500, (method, path, answer.text[:300])
        assert watch.blocked_s < BLOCKED_MAX_S, (method, path, answer.status_code, watch.blocked_s)


FILES: dict[str, tuple[str, bytes]] = {
    "a form of many parts": (FORM, PART * (FILE_BYTES // len(PART)) + b"--x--\r\n"),
    "a form without an end": (FORM, PART * 3 + b"y" * FILE_BYTES),
    "a form of line ends": (FORM, b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + b"\r\n-" * (FILE_BYTES // 3)),
    "a form with a long head": (FORM, b"--x\r\nA: " + b"a" * FILE_BYTES + b"\r\n\r\n1\r\n--x--\r\n"),
    "a file in a form": (
        FORM,
        PART.replace(b'"a"', b'"file"').replace(b"1\r\n", MEMBERS_HEAD) + b"x,\r\n" * 20_000 + b"\r\n--x--",
    ),
    "rows that are all wrong": ("text/csv", MEMBERS_HEAD + b",,,,,,,\r\n" * (FILE_BYTES // 12)),
    "one long row": ("text/csv", MEMBERS_HEAD + b"," * FILE_BYTES),
    "one quoted cell without an end": ("text/csv", MEMBERS_HEAD + b'"' + b"a\n" * (FILE_BYTES // 2)),
    "quotes": ("text/csv", MEMBERS_HEAD + b'"",' * (FILE_BYTES // 3)),
}


@pytest.mark.parametrize("name", FILES)
async def test_no_file_that_is_taken_keeps_the_loop_from_turning(service: Service, name: str) -> None:
    kind, content = FILES[name]
    draft = await service.create(benefit={"kind": "code_pool", "name": "x"})
    for path in ("/v1/ops/members/import", f"/v1/ops/campaigns/{draft}/codes"):
        async with watched() as watch:
            answer = await service.http.post(path, content=content, headers={**service.ops(), "Content-Type": kind})
        assert answer.status_code in {200, 400, 422}, answer.text[:300]
        assert watch.blocked_s < BLOCKED_MAX_S, (path, answer.status_code, watch.blocked_s)


def form(*parts: tuple[str, bytes]) -> bytes:
    return b"".join(b"--x\r\n%b\r\n\r\n%b\r\n" % (head.encode(), content) for head, content in parts) + b"--x--\r\n"


A_FILE = 'Content-Disposition: form-data; name="upload"; filename="a.csv"\r\nContent-Type: text/csv'
NAMED = 'Content-Disposition: form-data; name="file"'
A_FIELD = 'Content-Disposition: form-data; name="note"'


@pytest.mark.parametrize(
    ("sent", "content"),
    [
        (form((A_FILE, b"code\r\nA--x\r\n")), b"code\r\nA--x\r\n"),
        (form((A_FIELD, b"x"), (NAMED, b"code\n"), (A_FIELD, b"y")), b"code\n"),
        (b"preamble\r\n" + form((A_FILE, b"")) + b"epilogue", b""),
        (form(*[(A_FIELD, b"x")] * (PARTS_MAX - 1), (A_FILE, b"z")), b"z"),
    ],
)
def test_the_one_file_of_a_form_is_found(sent: bytes, content: bytes) -> None:
    assert only_file(FORM, sent) == content


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        (FORM, form((A_FIELD, b"x"))),
        (FORM, form((A_FILE, b"x"), (NAMED, b"y"))),
        (FORM, form(*[(A_FIELD, b"x")] * PARTS_MAX, (A_FILE, b"z"))),
        (FORM, form((A_FILE, b"x"))[:-6]),
        (FORM, form((f"{A_FILE}\r\nContent-Transfer-Encoding: base64", b"eA=="))),
        (FORM, b""),
        ("multipart/form-data", form((A_FILE, b"x"))),
        (f"multipart/form-data; boundary={'x' * 71}", form((A_FILE, b"x"))),
    ],
)
def test_what_is_no_form_with_one_file_is_refused(kind: str, sent: bytes) -> None:
    with pytest.raises(RefusalError, match="malformed"):
        only_file(kind, sent)


def test_the_watch_sees_a_loop_that_stands_still() -> None:
    async def stands_still() -> float:
        async with watched() as watch:
            ends_s = time.thread_time() + 2 * BLOCKED_MAX_S
            while time.thread_time() < ends_s:
                pass
            await asyncio.sleep(0.005)
        return watch.blocked_s

    assert asyncio.run(stands_still()) > BLOCKED_MAX_S


def test_what_is_not_body_has_a_bound_to_the_byte_that_grows_with_the_body() -> None:
    frame, bounds = Frame(length=None, last=False, expects=False), Bounds(1_000_000, 10.0)

    def incoming() -> _Incoming:
        return _Incoming(b"POST", "/", {}, [], frame, bounds)

    # Nothing of it is body: so many bytes, and no more, however they come.
    quiet = incoming()
    assert quiet.note_read(FRAMING_MAX_BYTES - 1, 0)
    assert quiet.note_read(1, 0)
    assert not quiet.note_read(1, 0)
    # A byte of body, and the quiet begins anew; but all that was beside it still counts.
    beside = incoming()
    assert beside.note_read(FRAMING_MAX_BYTES, 0)
    beside.body_bytes = 1
    assert beside.note_read(1 + FRAMING_PER_BYTE, 0)
    assert not beside.note_read(1, 1)
    # Bodies in very small pieces have room for what frames them.
    small = incoming()
    for body_bytes in range(10_000):
        small.body_bytes = body_bytes + 1
        assert small.note_read(1 + FRAMING_PER_BYTE, body_bytes)
