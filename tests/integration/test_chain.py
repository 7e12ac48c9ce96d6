"""Everybody can check the log: answers, chain and checkpoints agree, and a forged history does not.

The verifier is the one in tools/, which knows nothing of the service.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from copy import deepcopy
from dataclasses import replace
from typing import Any, cast

import pytest_asyncio
from sqlalchemy import text

from grab_service.chain.reading import Span, read_links
from grab_service.signing import SigningKeys
from grab_service.vocabulary.chain import digest_of, fold
from grab_service.vocabulary.outcomes import ReturnOutcome
from grab_service.vocabulary.passes import Role
from reconcile.drain.chain import CHECKPOINT_INTERVAL_S, Checkpoints
from reconcile.drain.cursor import read_cursor
from tests.harness.backend import Backend
from tests.harness.service import Service, at, running_service
from tests.harness.tools import verify_chain

MEMBERS = [f"m-{number}" for number in range(14)]
VERIFIER = verify_chain()


@pytest_asyncio.fixture
async def sale(service: Service) -> AsyncIterator[tuple[Service, str, list[dict[str, Any]]]]:
    """Ten of fourteen win, one gives back, another campaign goes on beside; the answers that members kept."""
    campaign_id = await service.sale(*MEMBERS, closes_at=at(60))
    other = await service.publish()
    answers = []
    for member_id in MEMBERS:
        if member_id == "m-3":
            await _until_known(service)
        answers.append((await service.grab(member_id, campaign_id)).json())
        await service.grab(member_id, other)
    await service.drained()
    given = await service.http.post(f"/v1/claims/{answers[0]['claim_id']}/return", headers=service.member("m-0"))
    assert given.status_code == 200
    answers.append((await service.grab("m-1", campaign_id)).json())
    closed = await service.http.post(f"/v1/ops/campaigns/{campaign_id}/close", json={}, headers=service.ops())
    assert closed.status_code == 200, closed.text
    await service.drained()
    async with asyncio.timeout(5):
        while not await _is_signed(service):
            await asyncio.sleep(0.1)
    yield service, campaign_id, answers


async def _until_known(service: Service) -> None:
    async with asyncio.timeout(5):
        while service.worker.view.chain.as_of.head is None:
            await asyncio.sleep(0.05)


async def _is_signed(service: Service) -> bool:
    query = "SELECT max(seq) >= (SELECT max(last_seq) FROM log_entries) FROM checkpoints"
    return bool((await service.sql(query))[0][0])


async def read(service: Service, campaign_id: str, codes: str = "full") -> dict[str, Any]:
    """What the verifier is given."""
    path = f"/v1/campaigns/{campaign_id}"
    file = await service.http.get(f"/v1/ops/campaigns/{campaign_id}/log.jsonl?codes={codes}", headers=service.ops())
    assert file.status_code == 200, file.text
    keys = (await service.http.get("/v1/keys")).json()["keys"]
    return {
        "links": await service.listed(f"{path}/chain", limit=3),
        "checkpoints": await service.listed(f"{path}/checkpoints", limit=2),
        "keys": {key["kid"]: key["x"] for key in keys},
        "lines": [json.loads(line) for line in file.text.splitlines()],
    }


def faults(told: dict[str, Any], answers: list[dict[str, Any]]) -> list[str]:
    return [*VERIFIER.faults(**told, answers=answers)]


async def test_what_members_kept_agrees_with_chain_log_and_checkpoints(
    sale: tuple[Service, str, list[dict[str, Any]]],
) -> None:
    service, campaign_id, answers = sale
    assert [answer.get("code") for answer in answers[10:14]] == ["sold-out"] * 4
    kept = [answer for answer in answers if answer["head"] is not None]
    assert len(kept) >= 11
    last_seq = max(answer["seq"] for answer in answers[:10])
    assert all(answer["as_of_seq"] >= last_seq and answer["head"] for answer in answers[10:14]), "true where it says so"
    for codes in ("full", "masked"):
        told = await read(service, campaign_id, codes)
        assert faults(told, kept) == [], codes
        assert len(told["checkpoints"]) >= 2
        own = [line for line in told["lines"] if "entry" in line]
        assert any(line["masked"] for line in own) == (codes == "masked")
        assert len(own) < len(told["lines"]), "entries of others show their digest alone"
        assert all(campaign_id in line["entry"] for line in own)
        code = answers[4]["voucher"]["code"]
        assert (code in str(own)) == (codes == "full")


async def test_a_forged_a_dropped_and_a_swapped_entry_are_found(sale: tuple[Service, str, list[dict[str, Any]]]) -> None:
    service, campaign_id, answers = sale
    told, kept = await read(service, campaign_id), [answer for answer in answers if answer["head"] is not None]
    lines = told["lines"]
    granted = next(at for at, line in enumerate(lines) if "granted" in line.get("entry", ()))

    forged = deepcopy(told)
    entry = forged["lines"][granted]["entry"]
    claims_at = entry.index("claims") + 1
    entry[claims_at] = entry[claims_at].replace("m-0", "m-9")
    assert any("is not the one in the chain" in fault for fault in faults(forged, []))
    # The same with a digest that fits, in the log and in the chain.
    raw = b"".join(b"%d:%b" % (len(text.encode()), text.encode()) for text in entry)
    forged["lines"][granted]["digest"] = forged["links"][granted]["digest"] = digest_of(raw).hex()
    assert any("not on the chain" in fault for fault in faults(forged, []))
    assert any("belongs to another history" in fault for fault in faults(forged, kept))

    dropped = deepcopy(told)
    del dropped["lines"][granted], dropped["links"][granted]
    assert any("missing or swapped" in fault for fault in faults(dropped, []))
    swapped = deepcopy(told)
    for name in ("lines", "links"):
        swapped[name][2:4] = swapped[name][3:1:-1]
    assert any("missing or swapped" in fault for fault in faults(swapped, []))
    # Entries that nobody links, and a claim that the log gives to somebody else.
    short = told | {"lines": lines[:-1]}
    assert any("other entries than the chain" in fault for fault in faults(short, []))
    stolen = kept[0] | {"member_id": "m-13"}
    assert any("does not have the claim" in fault for fault in faults(told, [stolen]))


async def test_an_operator_who_writes_another_history_needs_the_key_and_still_contradicts_the_phones(
    sale: tuple[Service, str, list[dict[str, Any]]],
) -> None:
    service, campaign_id, answers = sale
    told, kept = await read(service, campaign_id), [answer for answer in answers if answer["head"] is not None]
    other = deepcopy(told)
    other["links"][3]["digest"] = "00" * 32
    head, heads = bytes.fromhex(other["checkpoints"][0]["head"]), {}
    for link in other["links"]:
        head = fold(head, bytes.fromhex(link["digest"]))
        heads[link["last_seq"]] = head.hex()
    for checkpoint in other["checkpoints"][1:]:
        checkpoint["head"] = heads[checkpoint["seq"]]
    assert any("not signed" in fault for fault in faults(other | {"lines": []}, []))
    keys = service.worker.settings.signing_keys()
    for checkpoint in other["checkpoints"]:
        checkpoint["signature"] = keys.sign({name: checkpoint[name] for name in ("at", "head", "seq")})
    assert faults(other | {"lines": []}, []) == []
    assert any("belongs to another history" in fault for fault in faults(other | {"lines": []}, kept))


async def test_a_draft_and_an_unknown_campaign_have_no_chain(service: Service) -> None:
    draft = await service.create()
    for campaign_id in (draft, "nowhere0000"):
        for path in ("chain", "checkpoints"):
            answer = await service.http.get(f"/v1/campaigns/{campaign_id}/{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "campaign-not-found")
        answer = await service.http.get(f"/v1/ops/campaigns/{campaign_id}/log.jsonl", headers=service.ops())
        assert (answer.status_code, answer.json()["code"]) == (404, "campaign-not-found")


async def test_full_codes_in_the_log_are_for_those_who_may_see_them_and_each_export_is_logged(service: Service) -> None:
    campaign_id = await service.sale("m-1")
    path = f"/v1/ops/campaigns/{campaign_id}/log.jsonl"
    for role in Role:
        answer = await service.http.get(path, params={"codes": "full"}, headers=service.ops(role))
        assert answer.status_code == (200 if role in {Role.OPERATOR, Role.ADMIN} else 403), role
    lines = (await service.http.get("/v1/ops/log?action=log.export", headers=service.ops())).json()["items"]
    assert {line["outcome"] for line in lines} == {"done", "forbidden"}
    assert {line["detail"]["codes"] for line in lines} == {"full"}


async def test_each_entry_is_folded_in_the_transaction_that_drains_it_and_a_recovery_says_where_a_life_was_lost(
    backend: Backend,
) -> None:
    await backend.begin()
    await backend.arm()
    await backend.schedule(stock=10)
    async with backend.working() as parts, backend.link() as link:
        while await parts.drain.step(link):
            pass
        before = await _entries(backend)
        async with backend.engine.begin() as connection:
            await connection.execute(text("INSERT INTO lives_seen VALUES (1, 90, 0)"))
        await parts.guard.recover(link, "by_hand")
        while await parts.drain.step(link):
            pass
    rows = await _entries(backend)
    assert rows[: len(before)] == before
    head = bytes(32)
    for row in rows:
        head = fold(head, row["digest"])
        assert row["head"] == head
    assert (await backend.cursor()).head == head
    span = Span(0, rows[-1]["last_seq"])
    links = await read_links(backend.engine, span, after_seq=0, limit=100)
    began = len(before)
    assert [link["last_seq"] for link in links if link["break"]] == [began + 1]
    assert links[began]["break"] == {"epoch": rows[-1]["epoch"], "reason": "by_hand", "lost_up_to_seq": 90}


async def _entries(backend: Backend) -> list[Any]:
    async with backend.engine.connect() as connection:
        return [*(await connection.execute(text("SELECT * FROM log_entries ORDER BY last_seq"))).mappings()]


async def test_a_sold_out_of_lua_waits_for_the_head_at_its_own_place(
    valkey_url: str, database_url: str, cell_name: str
) -> None:
    """Also where a poll comes seldom: the worker asks for the log at once, and answers with the place at which it was true."""
    async with running_service(valkey_url, database_url, cell_name, view_poll_s=1.0) as service:
        campaign_id = await service.sale("m-1", "m-2", releases=[{"opens_at": at(-1), "quantity": 1}])
        await _until_known(service)
        won = (await service.grab("m-1", campaign_id)).json()
        sold_out = (await service.grab("m-2", campaign_id)).json()
        assert (sold_out["code"], sold_out["as_of_seq"]) == ("sold-out", won["seq"])
        assert sold_out["head"] == service.worker.view.chain.at(won["seq"]).head
        assert sold_out["head"] is not None
        # A view that does not come does not keep the truth from anybody.
        service.worker.view.stop()
        await asyncio.sleep(0.1)
        returned = await service.worker.cell.return_unit(campaign_id, "m-1", won["seq"], "returned")
        assert returned.outcome is ReturnOutcome.RETURNED
        assert (await service.grab("m-2", campaign_id)).status_code == 201
        later = asyncio.create_task(service.grab("m-1", campaign_id))
        done, _ = await asyncio.wait([later], timeout=3)
        assert done
        assert (later.result().json()["code"], later.result().json()["head"]) == ("sold-out", None)


async def test_a_checkpoint_is_signed_once_a_second_and_none_without_a_key(backend: Backend) -> None:
    await backend.begin()
    first = await read_cursor(backend.engine, backend.settings.cell)
    assert first is not None
    signing = Checkpoints(backend.ledger_engine, SigningKeys.of_seed(bytes(32), "k"))
    for seq in range(4):
        await signing.sign(replace(first, last_seq=seq))
    assert await _signed(backend) == [0]
    await asyncio.sleep(CHECKPOINT_INTERVAL_S)
    for _ in range(2):
        await signing.sign(replace(first, last_seq=3))
    assert await _signed(backend) == [0, 3]
    # Of a ledger that slept: what another has signed stands.
    await Checkpoints(backend.ledger_engine, SigningKeys.of_seed(bytes(32), "other")).sign(replace(first, last_seq=3))
    await Checkpoints(backend.ledger_engine, SigningKeys()).sign(replace(first, last_seq=5))
    assert await _signed(backend) == [0, 3]


async def _signed(backend: Backend) -> list[int]:
    async with backend.engine.connect() as connection:
        return [*(await connection.execute(text("SELECT seq FROM checkpoints ORDER BY seq"))).scalars()]


async def test_the_audit_compares_the_heads_of_all_workers_with_the_ledgers(service: Service) -> None:
    campaign_id = await service.sale("m-1", "m-2")
    await _until_known(service)
    assert (await service.grab("m-1", campaign_id)).status_code == 201
    await service.drained()
    workers = service.worker.cell.keys.workers
    async with asyncio.timeout(10):
        while service.worker.view.chain.note.encode() not in b"".join(cast("list[bytes]", await service.redis.hvals(workers))):
            await asyncio.sleep(0.1)
    assert await _one_answer(service) == []
    seq, head = service.worker.view.chain.as_of
    await service.redis.hset(workers, "another", f"{2**45} 1:{seq}:{'0' * 64}")
    (found,) = await _one_answer(service)
    assert (found["worker"], found["seq"], found["postgres"]) == ("another", seq, head)
    # One that is ahead of the cut, of another life, or knows no head yet says nothing.
    await service.redis.hset(workers, "another", f"{2**45} 1:{seq + 50}:{'0' * 64}")
    await service.redis.hset(workers, "third", f"{2**45} 7:{seq}:{'0' * 64}")
    await service.redis.hset(workers, "fourth", f"{2**45} ")
    assert await _one_answer(service) == []


async def _one_answer(service: Service) -> list[dict[str, Any]]:
    audit = (await service.http.get("/v1/ops/audit", headers=service.ops())).json()
    assert audit["invariants"]["I4 OneAnswer"]["holds"] == (not audit["invariants"]["I4 OneAnswer"]["counterexamples"])
    return list(audit["invariants"]["I4 OneAnswer"]["counterexamples"])
