"""Can ops write a campaign, arm it, steer it, and never by halves?"""



from tests.integration.stack import Service, definition


async def test_a_campaign_is_written_armed_and_won(service: Service) -> None:
    await service.enrol("m-1")
    written = await service.http.post("/v1/ops/campaigns", json=definition(), headers=service.ops())
    assert written.status_code == 201
    draft = written.json()
    assert draft["state"] == "draft"
    assert written.headers["etag"] == '"1"'
    assert written.headers["location"] == f"/v1/ops/campaigns/{draft['campaign_id']}"
    assert written.headers["x-server-time-ms"].isdigit()

    early = await service.grab("m-1", draft["campaign_id"])
    assert (early.status_code, early.json()["code"]) == (404, "campaign-not-found")

    armed = await service.http.post(f"/v1/ops/campaigns/{draft['campaign_id']}/schedule", headers=service.ops())
    assert armed.status_code == 200, armed.text
    assert armed.json()["state"] == "scheduled"
    assert armed.json()["published"] is True

    won = await service.grab("m-1", draft["campaign_id"])
    assert won.status_code == 201, won.text
