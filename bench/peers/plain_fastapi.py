"""The grab with FastAPI and redis-py alone: a route with `Depends`, and one EVALSHA a request."""

import base64
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from redis.asyncio import Redis

CELL, EPOCH, SHA = (os.environ[f"BENCH_{name}"] for name in ("CELL", "EPOCH", "SHA"))
KID, SECRET = os.environ["BENCH_KID"], os.environ["BENCH_SECRET"].encode()
VALID_DAYS = int(os.environ["BENCH_VALID_DAYS"])
PREFIX = f"grab:{{{CELL}}}:"
ALPHABET = "ABCDEFGHJKMNPQRSTVWXYZ23456789"


class Voucher(BaseModel):
    """The voucher that the winner shows at the counter."""

    voucher_id: str
    code: str
    state: str
    valid_from: datetime
    valid_until: datetime


class Claim(BaseModel):
    """The winner's claim."""

    claim_id: str
    campaign_id: str
    member_id: str
    state: str
    unit_no: int
    seq: int
    granted_at: datetime
    granted_at_ms: int
    voucher: Voucher


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep one pool of connections to Redis."""
    password = os.environ["BENCH_REDIS_PASSWORD"] or None
    app.state.redis = Redis(port=int(os.environ["BENCH_REDIS_PORT"]), password=password, max_connections=1024)
    yield
    await app.state.redis.aclose()


app = FastAPI(lifespan=lifespan)


def redis_of(request: Request) -> Redis:
    """The pool."""
    client: Redis = request.app.state.redis
    return client


def member_of(authorization: Annotated[str, Header()]) -> str:
    """The member of the pass."""
    scheme, _, token = authorization.partition(" ")
    payload, _, mac = token.rpartition(".")
    fields = payload.split(".")
    message = f"grab-pass\0{CELL}\0{payload}".encode()
    expected = base64.urlsafe_b64encode(hmac.digest(SECRET, message, hashlib.sha256)[:18]).decode()
    if scheme != "Bearer" or fields[:2] != ["2", KID] or not hmac.compare_digest(mac, expected):
        raise HTTPException(401, "pass-invalid")
    if int(fields[2]) <= time.time():
        raise HTTPException(401, "pass-expired")
    return fields[3]


@app.post("/v1/campaigns/{campaign_id}/claims", status_code=201, response_model=Claim)
async def grab(
    campaign_id: str,
    response: Response,
    redis: Annotated[Redis, Depends(redis_of)],
    member_id: Annotated[str, Depends(member_of)],
    idempotency_key: Annotated[str, Header()] = "",
) -> Any:
    """Decide one grab in one call."""
    campaign = f"{PREFIX}campaign:{campaign_id}"
    keys = [PREFIX + "cell", campaign]
    keys += [f"{campaign}:{part}" for part in ("claims", "bindings", "free", "codes")]
    keys += [PREFIX + "members", PREFIX + "log"]
    code = "".join(secrets.choice(ALPHABET) for _ in range(12))
    reply = await redis.evalsha(SHA, len(keys), *keys, EPOCH, 0, "b", campaign_id, member_id, idempotency_key, code)
    outcome, *fields = reply[7].decode().split("\t")
    if outcome not in {"won", "held"}:
        problem = {"type": f"/problems/{outcome}", "title": outcome, "status": 409, "code": outcome.replace("_", "-")}
        return JSONResponse(problem, 409, media_type="application/problem+json")
    if outcome == "held":
        response.status_code = 200
    record = dict(field.split("=", 1) for field in fields[1:])
    seq, epoch, unit_no, granted_at_ms, code = (record[name] for name in ("seq", "epoch", "unit_no", "at_ms", "code"))
    claim_id = f"{campaign_id}.{epoch}.{seq}"
    granted_at = datetime.fromtimestamp(int(granted_at_ms) / 1000, UTC)
    response.headers["location"] = f"/v1/claims/{claim_id}"
    return Claim(
        claim_id=claim_id,
        campaign_id=campaign_id,
        member_id=member_id,
        state="fulfilled",
        unit_no=int(unit_no),
        seq=int(seq),
        granted_at=granted_at,
        granted_at_ms=int(granted_at_ms),
        voucher=Voucher(
            voucher_id=f"v.{claim_id}",
            code=code,
            state="active",
            valid_from=granted_at,
            valid_until=granted_at + timedelta(days=VALID_DAYS),
        ),
    )


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["BENCH_PORT"]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        backlog=8192,
        timeout_keep_alive=75,
    )
