"""A member learns of a claim only when the replicas have it, if so configured."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from grab_service.embedded.valkey import AppendFsync
from tests.harness.embedded import started
from tests.harness.proxy import Proxy
from tests.harness.service import Service, claim_of, running_service
from tests.harness.valkeys import FaultyValkey

PASSWORD = "the-one-that-both-know"  # of two servers that live as long as the test
WAIT_S = 0.4


def server_in(folder: Path) -> FaultyValkey:
    return FaultyValkey(folder, appendfsync=AppendFsync.ALWAYS, shim=None, password=PASSWORD)


@pytest.fixture
async def primary(tmp_path: Path) -> AsyncIterator[FaultyValkey]:
    async with started(server_in(tmp_path / "primary")) as server:
        yield server


@pytest.fixture
async def replica(tmp_path: Path) -> AsyncIterator[FaultyValkey]:
    async with started(server_in(tmp_path / "replica")) as server:
        yield server


@pytest.fixture
async def careful(primary: FaultyValkey, database_url: str, cell_name: str) -> AsyncIterator[Service]:
    """A service that tells of a claim when one replica has it. There is none yet."""
    async with running_service(primary.url, database_url, cell_name, replicas_min=1, replica_wait_s=WAIT_S) as service:
        yield service


async def has_claim(server: FaultyValkey, service: Service, campaign_id: str, member_id: str) -> bool:
    return bool(await server.ask("HEXISTS", service.worker.cell.keys.of_campaign(campaign_id).claims, member_id))


async def test_without_the_replica_nobody_knows_and_with_it_the_same_claim_is_told(
    careful: Service, primary: FaultyValkey, replica: FaultyValkey
) -> None:
    campaign_id = await careful.sale("m-1")
    began_s = time.monotonic()
    unknown = await careful.grab("m-1", campaign_id)
    assert (unknown.status_code, unknown.json()["code"]) == (503, "outcome-unknown")
    assert unknown.headers["retry-after"].isdigit()
    assert 0.9 * WAIT_S < time.monotonic() - began_s < careful.worker.settings.grab_deadline_s + 1
    assert await has_claim(primary, careful, campaign_id, "m-1"), "it was decided, and only not promised yet"
    mine = await careful.http.get(f"/v1/campaigns/{campaign_id}", headers=careful.member("m-1"))
    assert mine.json()["my_claims"] is None, "what was not promised is not shown either: it is not known"

    await replica.follow(primary)
    told = await careful.grab("m-1", campaign_id)
    assert told.status_code == 200, "the unit was theirs all the time"
    assert told.json()["unit_no"] == 1
    mine = await careful.http.get(f"/v1/campaigns/{campaign_id}", headers=careful.member("m-1"))
    assert mine.json()["my_claims"] == [claim_of(told)]


async def test_the_answer_waits_for_a_slow_replica_which_then_has_it(
    careful: Service, primary: FaultyValkey, replica: FaultyValkey
) -> None:
    campaign_id = await careful.sale("m-1", "m-2")
    async with Proxy(primary.port) as way:
        await replica.follow(primary, way.port)
        assert (await careful.grab("m-1", campaign_id)).status_code == 201
        way.weather.delay_s = 0.1
        began_s = time.monotonic()
        assert (await careful.grab("m-2", campaign_id)).status_code == 201
        assert time.monotonic() - began_s > 0.1
        assert await has_claim(replica, careful, campaign_id, "m-2")


async def test_who_is_refused_is_told_so_without_a_replica_far_and_wide(careful: Service) -> None:
    campaign_id = await careful.publish()
    refused = await careful.grab("m-unknown", campaign_id)
    assert (refused.status_code, refused.json()["code"]) == (403, "member-unknown")
