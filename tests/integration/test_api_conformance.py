"""Responses agree with OpenAPI, for every request that is generated."""

import asyncio
import sys
import time
from pathlib import Path

import pytest
import uvicorn

from grab_service.vocabulary.passes import Role
from tests.harness.raw_http import served
from tests.harness.service import Service

# Rules that no schema can state are answered 422 all the same: an end before its beginning, a name that is no CSV header.
# And a change without If-Match is answered 428, which the tool does not know as an answer to a missing header.
LEFT_OUT = "positive_data_acceptance,missing_required_header"


@pytest.fixture
async def url(service: Service) -> str:
    # The Valkey of tests does not sync its log, and no ledger looks at it: what is asked is no less ready for that.
    note = {"appendfsync": "always", "looked_at_ms": int((time.time() + 600) * 1000)}
    await service.redis.hset(service.worker.cell.keys.server, mapping=note)  # type: ignore[arg-type]  # of redis-py
    await service.enrol("m-1", "m-2")
    await service.grab("m-1", await service.publish())
    return "http://127.0.0.1"


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("who", "paths"), [("ops", "/v1/ops|/v1/dev"), ("member", "^/(?!v1/ops|v1/dev)")])
async def test_a_run_of_random_requests_finds_nothing_that_openapi_does_not_say(
    service: Service, url: str, who: str, paths: str, tmp_path: Path
) -> None:
    application = service.http._transport.app  # type: ignore[attr-defined]  # the lane and all behind it
    config = uvicorn.Config(application, http="httptools", ws="none", lifespan="off", log_level="error", access_log=False)
    headers = service.ops(Role.ADMIN) if who == "ops" else service.member("m-1")
    async with served(config) as port:
        run = await asyncio.create_subprocess_exec(
            *(str(Path(sys.executable).with_name("schemathesis")), "run"),
            f"{url}:{port}/openapi.json",
            *("--header", f"Authorization: {headers['Authorization']}"),
            *("--include-path-regex", paths, "--exclude-checks", LEFT_OUT),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "3", "--seed", "1"),
            *("--suppress-health-check", "all", "--warnings", "off", "--wait-for-schema", "10", "--no-color"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await run.communicate()
    assert run.returncode == 0, output.decode()[-6000:]
