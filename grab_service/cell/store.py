"""The client of the cell: one method per Lua command, EVALSHA only, with a declared exception for every missing answer.

The store remembers the epoch and the highest seq it has seen, and sends both: a cell that lies behind either has lost something
and answers `went_back`, which is raised as `CellClosedError`, as is a Redis that does not know the scripts.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from hiredis import pack_command
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    NoScriptError,
    RedisError,
    ResponseError,
)

from grab_service.cell.nodes import leads_on
from grab_service.cell.own_rights import own_rights
from grab_service.cell.replies import (
    CampaignsReply,
    CodesReply,
    ExplainReply,
    GrabReply,
    HoldersReply,
    MakeGoodReply,
    MembersReply,
    PublishReply,
    Question,
    ReturnReply,
    SnapshotReply,
    StateReply,
    StockReply,
    TailReply,
)
from grab_service.cell.scripts import GRAB, ScriptSources
from grab_service.vocabulary.campaigns import Phase, PublishedCampaign
from grab_service.vocabulary.claims import on_record
from grab_service.vocabulary.durability import Durability, Recorded
from grab_service.vocabulary.keys import CellKeys
from grab_service.vocabulary.outcomes import (
    CodesOutcome,
    MakeGoodOutcome,
    MembersOutcome,
    PublishOutcome,
    ReturnOutcome,
    StateOutcome,
    StockOutcome,
)

PROMISES: Final = frozenset({GRAB, "read_claims"})
"""Commands whose reply shows claims: with replicas, a claim is told only when they have it, so a promotion loses none."""
SENDS_SEEN: Final = frozenset({GRAB, "explain"})
"""Commands whose first argument is the highest seq that the caller has seen."""
RELOAD_INTERVAL_S: Final = 0.1
OUTLIVED_MAX: Final = 100
"""While the cell is closed, its table of scripts is read again at most this often."""

log = structlog.get_logger()


class CellError(Exception):
    """The cell gave no decision."""


class CellClosedError(CellError):
    """Nothing was decided: the scripts are not loaded, the cell went back in time, or Redis refuses writes. Try again later."""


class CellUnreachableError(CellError):
    """Nothing was sent: no connection to Redis could be had in time. Try again later."""


class CellSilentError(CellError):
    """The call was sent and no answer came: it may have been carried out or not. Asking again tells."""


@dataclass(frozen=True, slots=True)
class Replicas:
    """Number of replicas that must confirm a claim before anybody is told of it, and the time limit."""

    least: int = 0
    wait_s: float = 0.5


class Cell:
    """One cell, as one process sees it. Not shared between event loops."""

    def __init__(
        self,
        client: Redis,
        name: str,
        sources: ScriptSources,
        replicas: Replicas | None = None,
        *,
        kept_max: int = 0,
        durability: Durability = Durability.DISK,
    ) -> None:
        """Asks nothing yet.

        Args:
            client: its pool has more than `kept_max` connections, of which so many are kept between calls.
            name: of the cell.
            sources: scripts of this release.
            replicas: those that must have a claim before it is told.
            kept_max: see `client`.
            durability: declared for the cell; with RECORD `read_claims` leaves out what is not on record yet.
        """
        self.name = name
        self.durability = durability
        self.keys = CellKeys.of(name)
        self.epoch = 0
        self.seen_seq = 0
        self.unconfirmed = 0
        """Calls whose claims too few replicas had confirmed in time; counted up, and taken by who shows it."""

        self.outlived: list[tuple[int, int]] = []
        """(epoch, seq): lives that ended while this process looked, and how far each was seen; taken by who writes it down."""
        self._client = client
        self._pool = client.connection_pool
        self._kept_max = kept_max
        self._kept: list[AbstractConnection] = []
        self._sources = sources
        self._replicas = replicas or Replicas()
        self._shas: dict[str, str] = {}
        self._reload_not_before = 0.0
        self._closed_because = "the cell is closed; its table of scripts was read a moment ago"
        self._said_unknown = False
        self._reloading = asyncio.Lock()

    @property
    def release(self) -> str:
        """The digest of the scripts, which tells releases of the rules apart."""
        return self._sources.digest

    async def grab(self, campaign_id: str, batch_id: bytes, triples: Sequence[bytes | str]) -> GrabReply:
        """Decide a batch; `triples` are member_id, idempotency_key, candidate code for each, flat.

        Raises:
            CellClosedError, CellUnreachableError: nothing was decided.
            CellSilentError: it may have been decided; nobody knows.
        """
        keys = (*self._keys_of_grab(campaign_id), self.keys.log)
        reply, epoch = await self._call_and_epoch(GRAB, keys, (self.seen_seq, batch_id, campaign_id, *triples))
        if reply[1] != batch_id:
            raise CellSilentError("the reply belongs to another call")
        assert len(reply) == 7 + len(triples) // 3, "one answer per member"
        self._saw(reply[3])
        return GrabReply(
            epoch=epoch,
            now_ms=reply[2],
            seq=int(reply[3]),
            available=reply[4],
            opens_at_ms=int(reply[5] or 0),
            next_release_at_ms=int(reply[6]) if reply[6] else None,
            answers=reply[7:],
        )

    async def explain(self, campaign_id: str, question: Question, triples: Sequence[bytes | str]) -> ExplainReply:
        """What a grab would be answered now, or what keeps members out whatever the hour; `triples` as for `grab`.

        Raises:
            CellError: there is no answer; asking again does no harm.
        """
        arguments = (self.seen_seq, question.value, campaign_id, *triples)
        reply = await self._call("explain", self._keys_of_grab(campaign_id), arguments)
        return ExplainReply(
            now_ms=reply[2],
            seq=self._saw(reply[3]),
            phase=Phase(reply[4].decode()) if reply[4] else None,
            opens_at_ms=int(reply[5] or 0),
            next_release_at_ms=int(reply[6]) if reply[6] else None,
            answers=reply[7:],
        )

    def _keys_of_grab(self, campaign_id: str) -> tuple[str, ...]:
        keys, campaign = self.keys, self.keys.of_campaign(campaign_id)
        of_campaign = (campaign.campaign, campaign.claims, campaign.bindings, campaign.free, campaign.codes)
        return (keys.cell, *of_campaign, keys.members)

    async def publish_campaign(self, campaign_id: str, fields: Mapping[str, str | int]) -> PublishReply:
        """Put a campaign into the cell; `fields` are those in the header of the command, by name."""
        keys = self.keys
        pairs = [part for pair in fields.items() for part in pair]
        reply = await self._call(
            "publish_campaign",
            (keys.cell, keys.campaigns, keys.of_campaign(campaign_id).campaign, keys.log),
            (campaign_id, *pairs),
        )
        outcome, _, detail = reply[0].decode().partition("\t")
        return PublishReply(PublishOutcome(outcome), self._saw(reply[1]), detail)

    async def set_state(self, campaign_id: str, action: str) -> StateReply:
        """`action` is pause, resume, close or cancel."""
        keys = self.keys
        reply = await self._call(
            "set_state", (keys.cell, keys.of_campaign(campaign_id).campaign, keys.log), (campaign_id, action)
        )
        return StateReply(StateOutcome(reply[0].decode()), self._saw(reply[1]), reply[2].decode())

    async def set_stock(self, campaign_id: str, expected_total: int, total: int) -> StockReply:
        """Change the total if it still is `expected_total`."""
        keys, campaign = self.keys, self.keys.of_campaign(campaign_id)
        reply = await self._call(
            "set_stock",
            (keys.cell, campaign.campaign, campaign.free, campaign.codes, keys.log),
            (campaign_id, expected_total, total),
        )
        return StockReply(StockOutcome(reply[0].decode()), self._saw(reply[1]), reply[2], reply[3])

    async def make_good(
        self, campaign_id: str, member_id: str, key: str, candidate: str, *, beyond_stock: bool
    ) -> MakeGoodReply:
        """Give the member a claim, once for a key of `make_good_key`; `candidate` as for `grab`."""
        arguments = (campaign_id, member_id, key, candidate, int(beyond_stock))
        reply = await self._call("make_good", (*self._keys_of_grab(campaign_id), self.keys.log), arguments)
        return MakeGoodReply(MakeGoodOutcome(reply[0].decode()), self._saw(reply[1]), reply[2])

    async def return_unit(self, campaign_id: str, member_id: str, claim_seq: int, reason: str) -> ReturnReply:
        """Give back the unit of one claim; `reason` is returned or lapsed."""
        keys, campaign = self.keys, self.keys.of_campaign(campaign_id)
        reply = await self._call(
            "return_unit",
            (
                *(keys.cell, campaign.campaign, campaign.claims, campaign.free, campaign.returns, campaign.codes),
                *(keys.log, campaign.bindings),
            ),
            (campaign_id, member_id, claim_seq, reason),
        )
        return ReturnReply(ReturnOutcome(reply[0].decode()), self._saw(reply[1]))

    async def load_codes(self, campaign_id: str, first_position: int, codes: Sequence[str]) -> CodesReply:
        """Append codes to a pool; at most 1000 a call."""
        keys, campaign = self.keys, self.keys.of_campaign(campaign_id)
        reply = await self._call(
            "load_codes",
            (keys.cell, campaign.campaign, campaign.codes, keys.log),
            (campaign_id, first_position, *codes),
        )
        return CodesReply(CodesOutcome(reply[0].decode()), self._saw(reply[1]), reply[2])

    async def publish_members(self, members_version: int, pairs: Sequence[str]) -> MembersReply:
        """`pairs` are member_id, record, flat; at most 1000 pairs a call."""
        keys = self.keys
        reply = await self._call("publish_members", (keys.cell, keys.members, keys.log), (members_version, *pairs))
        return MembersReply(MembersOutcome(reply[0].decode()), self._saw(reply[1]), reply[2])

    async def tail(self, after_seq: int, entries_max: int) -> TailReply:
        """The log's entries after `after_seq`."""
        reply = await self._call("tail", (self.keys.cell, self.keys.log), (after_seq, entries_max))
        entries = [(entry[0], entry[1]) for entry in reply[3]]
        return TailReply(reply[1], self._saw(reply[2]), entries, Recorded.parse(reply[4]))

    async def read_campaigns(self, campaign_ids: Sequence[str]) -> CampaignsReply:
        """The campaigns named, as far as the cell has them, and the ids of all."""
        keys = self.keys
        names = [keys.of_campaign(campaign_id).campaign for campaign_id in campaign_ids]
        reply = await self._call("read_campaigns", (keys.cell, keys.campaigns, *names), ())
        campaigns = {}
        for campaign_id, flat in zip(campaign_ids, reply[4], strict=True):
            fields = dict(zip(flat[::2], flat[1::2], strict=True))
            # Codes may be loaded ahead of the campaign; until it has a state it is not there.
            if b"state" in fields:
                campaigns[campaign_id] = PublishedCampaign.from_fields(campaign_id, fields)
        return CampaignsReply(reply[1], self._saw(reply[2]), [name.decode() for name in reply[3]], campaigns)

    async def scan_holders(self, key: str, cursor: bytes, count: int) -> HoldersReply:
        """One page of a campaign's claims or bindings; the cursor b"0" begins and ends."""
        reply = await self._call("scan_holders", (self.keys.cell, key), (cursor, count))
        return HoldersReply(reply[1], reply[2])

    async def read_claims(self, member_id: str, campaign_ids: Sequence[str]) -> list[bytes]:
        """The member's claims in each of these campaigns, as `claims.parse_holding` takes them.

        Where claims are told only once they are on record, the others are left out.
        """
        keys = self.keys
        names = [keys.of_campaign(campaign_id).claims for campaign_id in campaign_ids]
        reply = await self._call("read_claims", (keys.cell, *names), (member_id,))
        self._saw(reply[1])
        holdings: list[bytes] = reply[2]
        only_recorded = self.durability is Durability.RECORD
        return [on_record(holding, Recorded.parse(reply[3])) for holding in holdings] if only_recorded else holdings

    async def snapshot(self, campaign_ids: Sequence[str]) -> SnapshotReply:
        """The counters of these campaigns at one seq, in their order."""
        names: list[str] = []
        for campaign_id in campaign_ids:
            campaign = self.keys.of_campaign(campaign_id)
            names += (campaign.campaign, campaign.claims, campaign.free, campaign.returns, campaign.codes)
        reply = await self._call("snapshot", (self.keys.cell, self.keys.workers, *names), ())
        snapshots = [dict(zip(flat[::2], flat[1::2], strict=True)) for flat in reply[6]]
        return SnapshotReply(reply[1], int(reply[2]), self._saw(reply[3]), int(reply[4]), _noted(reply[5]), snapshots)

    async def note_counts(self, worker: str, counts: bytes, head: str = "") -> None:
        """Write down what a worker has counted, as `vocabulary.counts` encodes it, if anything; and that it lives, with `head`.

        Raises:
            CellClosedError, CellUnreachableError: nothing was written.
            CellSilentError: it may have been written. It must not be sent again, for it would be counted twice.
        """
        keys = self.keys
        await self._call("note_counts", (keys.cell, keys.counts, keys.workers), (worker, counts, head))

    @property
    def replicas_min(self) -> int:
        """Number of replicas that must have a claim before anybody is told of it."""
        return self._replicas.least

    @property
    def client(self) -> Redis:
        """The connections to the cell's server, for questions about the server itself."""
        return self._client

    async def reload(self) -> None:
        """Read the table of scripts again. An older epoch than one seen before is not believed.

        Raises:
            CellClosedError: no scripts of this release are loaded, the cell is of an older epoch, or this user of Redis lacks
                a right that a script needs.
            CellUnreachableError: Redis cannot be reached.
        """
        before = self._shas
        async with self._reloading:
            if self._shas is not before:
                return  # another call has read it while this one waited
            loop = asyncio.get_running_loop()
            if loop.time() < self._reload_not_before:
                raise CellClosedError(self._closed_because)
            self._reload_not_before = loop.time() + RELOAD_INTERVAL_S
            try:
                epoch, shas = await self._read_table()
                await self._see_own_rights()
            except CellError as error:
                self._closed_because = str(error)
                raise
            if epoch > self.epoch:
                if self.epoch and len(self.outlived) < OUTLIVED_MAX:
                    self.outlived.append((self.epoch, self.seen_seq))
                self.epoch, self.seen_seq = epoch, 0
            self._shas = shas

    async def _read_table(self) -> tuple[int, dict[str, str]]:
        try:
            table = await self._client.hgetall(self.keys.scripts)
        except NoPermissionError as error:
            raise CellClosedError(f"Redis refuses the table of scripts: {error}") from error
        except (RedisError, OSError) as error:
            raise CellUnreachableError(f"the table of scripts cannot be read: {_words(error)}") from error
        epoch = int(table.get(b"epoch", b"0"))
        if epoch == 0:
            raise CellClosedError("the cell is closed: no scripts are loaded")
        if epoch < self.epoch:
            raise CellClosedError(f"the cell is of epoch {epoch}, seen was {self.epoch}")
        shas = {}
        for name in self._sources.by_name:
            sha = table.get(self._sources.table_field(name).encode())
            if sha is None:
                raise CellClosedError(f"the script {name} of this release is not loaded")
            shas[name] = sha.decode()  # type: ignore[union-attr]  # bytes, because decode_responses is off
        return epoch, shas

    async def _see_own_rights(self) -> None:
        """Before the first script of a life is called: a call that is denied in its middle would leave half of its work."""
        try:
            rights = await own_rights(self._client, self.keys, self._sources, waits=self._replicas.least > 0)
        except (RedisError, OSError) as error:
            raise CellUnreachableError(f"the rights of this user cannot be asked for: {_words(error)}") from error
        if rights.lacks:
            raise CellClosedError(f"{rights.user} lacks rights in Redis: {'; '.join(rights.lacks)}")
        if not rights.known and not self._said_unknown:
            self._said_unknown = True
            log.warning("redis_rights_not_known", cell=self.name, user=rights.user, why=rights.why_unknown)

    def _saw(self, seq: bytes | int) -> int:
        seq = int(seq)
        self.seen_seq = max(self.seen_seq, seq)
        return seq

    async def _call(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        return (await self._call_and_epoch(name, keys, arguments))[0]

    async def _call_and_epoch(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> tuple[Any, int]:
        """EVALSHA, and the life of the cell that replied.

        After a `went_back` or an unknown script the table is read again and the call made once more.
        """
        if not self._shas:
            await self.reload()
        try:
            return await self._evalsha(name, keys, arguments)
        except CellClosedError:
            before = (self.epoch, self._shas[name])
            await self.reload()
            if (self.epoch, self._shas[name]) == before:
                raise
            if name in SENDS_SEEN:
                arguments = (self.seen_seq, *arguments[1:])
            return await self._evalsha(name, keys, arguments)

    async def _evalsha(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> tuple[Any, int]:
        connection = await self._connection()
        epoch = self.epoch  # it may be another one when the reply is there
        answered, least = False, self._replicas.least if name in PROMISES else 0
        try:
            packed = [_packed("EVALSHA", self._shas[name], len(keys), *keys, epoch, *arguments)]
            if least:
                # Sent at once: on a connection that was made anew in between, WAIT would wait for nothing.
                packed.append(_packed("WAIT", least, int(self._replicas.wait_s * 1000)))
            await connection.send_packed_command(packed)
            reply = await connection.read_response()
            confirmed = await connection.read_response() if least else 0
            answered = True
        except (NoScriptError, BusyLoadingError) as error:
            answered = not least
            raise CellClosedError("Redis does not know the scripts") from error
        except ResponseError as error:
            answered = not least
            raise CellClosedError(f"Redis refuses {name}: {error}") from error
        except (RedisError, OSError) as error:
            raise CellSilentError("no answer from Redis") from error
        finally:
            # A connection whose reply was not read would hand it to the next caller.
            if not answered:
                await connection.disconnect(nowait=True)
            if answered and len(self._kept) < self._kept_max:
                self._kept.append(connection)
            else:
                await self._pool.release(connection)
        if reply[0] == b"went_back":
            raise CellClosedError(f"the cell went back: epoch {epoch}, seen seq {self.seen_seq}")
        if confirmed < least and _tells_of_claims(name, reply):
            self.unconfirmed += 1
            raise CellSilentError(f"{confirmed} of {least} replicas have confirmed it")
        return reply, epoch

    async def _connection(self) -> AbstractConnection:
        """One that was kept, if it still leads to the cell; the pool looks closer, which costs more than the call itself."""
        while self._kept:
            kept = self._kept.pop()
            if await leads_on(kept):
                return kept
            await self._pool.release(kept)
        try:
            connection: AbstractConnection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        except (RedisError, OSError) as error:
            raise CellUnreachableError(f"no connection to Redis: {_words(error)}") from error
        return connection


def _noted(flat: Sequence[bytes]) -> dict[str, Recorded]:
    """What each worker has noted beside the time of its last sign of life."""
    noted = zip(flat[::2], flat[1::2], strict=True)
    return {worker.decode(): Recorded.parse(text.partition(b" ")[2]) for worker, text in noted}


def _words(error: Exception) -> str:
    """The cause, for the operators of the service; other errors of Redis name it themselves."""
    return f"Redis refuses the password: {error}" if isinstance(error, AuthenticationError) else str(error)


def _packed(*words: str | bytes | int) -> bytes:
    """A command as it is sent, made in C: a batch has some eight hundred words."""
    packed: bytes = pack_command(words)  # type: ignore[arg-type]  # it is said to take one word, and takes any number
    return packed


def _tells_of_claims(name: str, reply: Sequence[Any]) -> bool:
    """Whether somebody would be told that they hold something; a refusal promises nothing."""
    if name == GRAB:
        return any(answer.startswith((b"won", b"held")) for answer in reply[7:])
    return any(reply[2])
