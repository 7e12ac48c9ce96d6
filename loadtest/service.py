"""The questions that the tools ask the service besides grabbing: its time, the campaign's facts, the ledger's claims."""

import http.client
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import orjson

# A claims.csv of two million rows stays below this.
REPLY_MAX_BYTES = 512 * 1024 * 1024

_TRIES = 5
_PAUSE_S = 0.2


class ServiceError(Exception):
    """The service could not be asked, or said something that cannot be used."""


@dataclass(frozen=True, slots=True)
class Release:
    """A part of the stock and when it is let go, in server milliseconds."""

    opens_at_ms: int
    quantity: int


@dataclass(frozen=True, slots=True)
class CampaignFacts:
    """The promises of a campaign, by its public page.

    Attributes:
        campaign_id: as asked for.
        opens_at_ms: the first opening, server clock.
        closes_at_ms: nobody wins from here on.
        total: units over all releases, as it stands now.
        releases: in order of opening.
        limit_per_member: how many claims one member may hold.
    """

    campaign_id: str
    opens_at_ms: int
    closes_at_ms: int
    total: int
    releases: tuple[Release, ...]
    limit_per_member: int

    @property
    def planned(self) -> int:
        """Units over all releases, as they were planned; differs from `total` after a change of stock."""
        return sum(release.quantity for release in self.releases)


@dataclass(frozen=True, slots=True)
class Address:
    """The address of the service."""

    host: str
    port: int
    prefix: str


def parse_url(url: str) -> Address:
    """Take a base URL apart.

    Raises:
        ServiceError: not a plain http URL with a host.
    """
    parts = urlsplit(url)
    try:
        port = parts.port or 80
    except ValueError as error:
        raise ServiceError(f"{url}: {error}") from error
    if parts.scheme != "http" or not parts.hostname:
        raise ServiceError(f"{url}: expected http://host:port (no TLS: aim at the workers or at the proxy's plain port)")
    return Address(parts.hostname, port, parts.path.rstrip("/"))


class Service:
    """A plain blocking client with one connection, for questions before and after the rush."""

    def __init__(self, url: str, timeout_s: float = 10.0) -> None:
        self._address = parse_url(url)
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next question opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def now_ms(self) -> int:
        """Ask `GET /v1/time`."""
        now_ms = _object(self.get("/v1/time"), "/v1/time").get("now_ms")
        if not isinstance(now_ms, int):
            raise ServiceError("/v1/time: no now_ms in the answer")
        return now_ms

    def campaign(self, campaign_id: str) -> CampaignFacts:
        """Ask `GET /v1/campaigns/{id}`."""
        path = f"/v1/campaigns/{quote(campaign_id, safe='')}"
        return parse_facts(_object(self.get(path), path), campaign_id)

    def claims_csv(self, campaign_id: str, ops_token: str) -> str:
        """Ask `GET /v1/ops/campaigns/{id}/claims.csv?codes=full` with an ops token."""
        path = f"/v1/ops/campaigns/{quote(campaign_id, safe='')}/claims.csv?codes=full"
        return self.get(path, {"Authorization": f"Bearer {ops_token}"}).decode("utf-8-sig")

    def post(self, path: str, document: Mapping[str, Any]) -> bytes:
        """Send an object and insist on 200; sent once.

        Raises:
            ServiceError: another answer, or none.
        """
        try:
            status, body = self._once("POST", path, {"Content-Type": "application/json"}, orjson.dumps(document))
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ServiceError(f"POST {path}: {type(error).__name__}: {error}") from error
        if status != 200:
            raise ServiceError(f"POST {path}: status {status}")
        return body

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> bytes:
        """Ask and insist on 200; lost connections and 503 are repeated a few times.

        Raises:
            ServiceError: no usable answer after all tries.
        """
        trouble = ""
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(_PAUSE_S * attempt)
            try:
                status, body = self._once("GET", path, headers or {})
            except (OSError, http.client.HTTPException) as error:
                self.close()
                trouble = f"{type(error).__name__}: {error}"
                continue
            if status == 200:
                return body
            trouble = f"status {status}: {body[:300].decode('utf-8', 'replace')}"
            if status != 503:
                break
        raise ServiceError(f"GET {self._address.prefix}{path} at {self._address.host}:{self._address.port}: {trouble}")

    def _once(self, method: str, path: str, headers: Mapping[str, str], content: bytes | None = None) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._address.host, self._address.port, timeout=self._timeout_s)
        self._connection.request(method, self._address.prefix + path, body=content, headers=dict(headers))
        response = self._connection.getresponse()
        body = response.read(REPLY_MAX_BYTES + 1)
        if len(body) > REPLY_MAX_BYTES:
            self.close()
            raise ServiceError(f"{path}: more than {REPLY_MAX_BYTES} bytes")
        return response.status, body


def parse_facts(document: Mapping[str, Any], campaign_id: str) -> CampaignFacts:
    """Read a campaign's public page.

    Raises:
        ServiceError: a fact that the tools need is missing or of the wrong kind.
    """
    try:
        releases = tuple(
            sorted(
                (Release(_moment_ms(release, "opens_at"), int(release["quantity"])) for release in document["releases"]),
                key=lambda release: release.opens_at_ms,
            )
        )
        total = document["stock"]["total"]
        return CampaignFacts(
            campaign_id=campaign_id,
            opens_at_ms=int(document["opens_at_ms"]),
            closes_at_ms=int(document["closes_at_ms"]),
            total=sum(release.quantity for release in releases) if total is None else int(total),
            releases=releases,
            limit_per_member=int(document.get("limit_per_member") or 1),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ServiceError(f"campaign {campaign_id}: its page lacks {error}") from error


def _moment_ms(document: Mapping[str, Any], name: str) -> int:
    """Read `<name>_ms`, or the RFC 3339 time under `<name>`."""
    moment = document.get(f"{name}_ms")
    if moment is not None:
        return int(moment)
    return round(datetime.fromisoformat(document[name]).timestamp() * 1000)


def _object(body: bytes, path: str) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ServiceError(f"{path}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ServiceError(f"{path}: not a JSON object")
    return document
