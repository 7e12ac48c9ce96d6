"""Guards of when the cell may grant."""

from functools import partial
from typing import Final

from tests.mutants.mutant import Mutant

_in_leader = partial(Mutant, "reconcile/leader.py")
_in_life = partial(Mutant, "reconcile/life.py")
_in_guard = partial(Mutant, "reconcile/guard/guard.py")
_in_store = partial(Mutant, "grab_service/cell/store.py")
_TESTS: Final = "tests/integration/test_guard.py::test_"

MUTANTS: Final = (
    _in_guard(
        "armed_without_audit",
        "the cell is armed only after an audit against Postgres",
        "Redis is armed with any content it came back with",
        "            await self._make_sound(link)\n            await self.arm(link)",
        "            if drained is None:\n                await self._make_sound(link)\n            await self.arm(link)",
        (f"{_TESTS}a_red_audit_keeps_the_cell_closed_until_it_is_rebuilt",),
    ),
    _in_guard(
        "red_audit_arms",
        "a red audit keeps the cell closed",
        "the audit is made and not listened to",
        "            report = await self._audit(link)\n            if not report.holds:\n                doubt",
        "            report = await self._audit(link)\n            if False:\n                doubt",
        (f"{_TESTS}a_red_audit_keeps_the_cell_closed_until_it_is_rebuilt",),
    ),
    _in_guard(
        "other_records_shared",
        "a cell whose records another release wrote is not shared with that release",
        "the rules are loaded beside the others",
        "not _is_behind(life, drained) and life.records == RECORDS and await",
        "not _is_behind(life, drained) and await",
        (f"{_TESTS}a_cell_whose_records_are_of_another_release_is_rebuilt_and_not_shared_with_it",),
    ),
    _in_guard(
        "other_records_kept",
        "a cell whose records another release wrote is rebuilt",
        "it is armed as it is",
        "            if life.records != RECORDS:\n                await self._alarm",
        "            if False:\n                await self._alarm",
        (f"{_TESTS}a_cell_whose_records_are_of_another_release_is_rebuilt_and_not_shared_with_it",),
    ),
    _in_guard(
        "armed_undrained",
        "the entries that the log still has are drained before the audit",
        "a log that cannot be drained is armed over",
        "        while not await self._drain.reach(seq, CATCH_UP_STEP_S):",
        "        while False:",
        (f"{_TESTS}a_log_that_cannot_be_drained_keeps_the_cell_closed",),
    ),
    _in_guard(
        "numbers_not_looked_at",
        "a cell that still knows its scripts is compared with Postgres by epoch and seq",
        "scripts alone are enough: a primary that was demoted and promoted again sells",
        "    return drained is not None and (life.epoch != drained.epoch or life.seq < drained.last_seq)",
        "    return False",
        (f"{_TESTS}a_primary_that_comes_back_with_its_scripts_is_closed_by_its_numbers",),
    ),
    _in_store(
        "api_loads_scripts",
        "only the guard loads scripts: after NOSCRIPT a worker waits",
        "a worker loads the scripts by itself",
        '            raise CellClosedError("Redis does not know the scripts") from error',
        '            nonce = await self._client.hget(self.keys.cell, "nonce")\n'
        '            for source in self._sources.bake((nonce or b"").decode()).values():\n'
        "                await self._client.script_load(source)\n"
        '            raise CellClosedError("Redis does not know the scripts") from error',
        (f"{_TESTS}nobody_wins_while_redis_is_back_and_no_ledger_has_looked",),
    ),
    _in_store(
        "register_script",
        "a script is called by its SHA and nothing else",
        "EVALSHA falls back to EVAL, as `register_script` does",
        '            packed = [_packed("EVALSHA", self._shas[name], len(keys), *keys, epoch, *arguments)]\n',
        '            nonce = await self._client.hget(self.keys.cell, "nonce")\n'
        '            source = self._sources.bake((nonce or b"").decode())[name]\n'
        '            packed = [_packed("EVAL", source, len(keys), *keys, epoch, *arguments)]\n',
        (f"{_TESTS}nobody_wins_while_redis_is_back_and_no_ledger_has_looked",),
    ),
    Mutant(
        "reconcile/redis_link.py",
        "wire_reconnects",
        "audit and loading use one connection, which never reconnects by itself",
        "the connection heals: scripts land in a life that nobody audited",
        "        if self._broken or not self._connection.is_connected:",
        "        if not self._connection.is_connected:\n"
        "            self._broken = False\n"
        "            await self._connection.connect()  # type: ignore[no-untyped-call]\n"
        "        if self._broken:",
        (f"{_TESTS}scripts_cannot_land_in_a_life_that_was_not_audited",),
    ),
    Mutant(
        "grab_service/cell/scripts.py",
        "same_nonce",
        "every arming bakes a fresh nonce into the scripts",
        "the same nonce every time: scripts of an older life answer",
        "return secrets.token_hex(8)",
        'return "0123456789abcdef"',
        (f"{_TESTS}scripts_that_were_flushed_come_back_after_an_audit_with_another_nonce",),
    ),
    _in_leader(
        "no_leader_lock",
        "one ledger leads, by a lock in Postgres",
        "everybody leads",
        '"SELECT pg_try_advisory_lock($1)"',
        '"SELECT $1::bigint > 0"',
        (f"{_TESTS}a_second_ledger_stands_by_and_takes_over",),
    ),
    _in_life(
        "newer_epoch_rebuilt",
        "where Postgres lies behind, nothing is rebuilt",
        "a cell of a newer epoch is thrown away",
        "frozenset({LifeCheck.EMPTIED, LifeCheck.WENT_BACK, LifeCheck.OLDER_EPOCH})",
        "frozenset({LifeCheck.EMPTIED, LifeCheck.WENT_BACK, LifeCheck.OLDER_EPOCH, LifeCheck.NEWER_EPOCH})",
        (f"{_TESTS}a_postgres_that_lies_behind_closes_the_cell_and_destroys_nothing",),
    ),
    _in_life(
        "unknown_cell_rebuilt",
        "a full cell that Postgres never heard of is left alone",
        "it is taken for a first start",
        "return LifeCheck.FIRST_START if life.is_empty else LifeCheck.UNKNOWN_TO_POSTGRES",
        "return LifeCheck.FIRST_START",
        (f"{_TESTS}a_redis_that_postgres_never_saw_stays_closed",),
    ),
    Mutant(
        "reconcile/guard/redis_settings.py",
        "eviction_allowed",
        "a Redis that may evict keys stays closed",
        "it is armed",
        '        return self.maxmemory_policy not in {"noeviction", ""}',
        "        return False",
        (f"{_TESTS}a_redis_that_may_evict_is_refused",),
    ),
    _in_guard(
        "no_new_epoch_after_doubt",
        "a Redis that may have lost what nobody drained goes on in a new epoch",
        "it goes on in the old one, and claim ids that members were told are made again",
        "            elif warning is not None or await was_replica(link):",
        "            elif False:",
        (f"{_TESTS}a_redis_with_a_weaker_log_begins_an_epoch_when_it_comes_back",),
    ),
    Mutant(
        "grab_service/embedded/valkey.py",
        "everysec",
        "`appendfsync always`: an answer leaves after the disk has confirmed the entry",
        "`everysec`",
        '            "appendfsync": self._appendfsync.value,',
        '            "appendfsync": "everysec",',
        ("tests/faults/test_faults.py::test_a_series_of_one_fault[power_cut]",),
        slow=True,
    ),
    _in_leader(
        "leader_stands_still",
        "a leader that stands still, or whose machine is gone, loses the lead within 10 s",
        "its session holds the lock for as long as nobody ends it",
        'settings={"idle_session_timeout": str(SILENT_MAX_S * 1000)},',
        "settings={},",
        ("tests/integration/test_leader.py::test_a_leader_that_stands_still_loses_the_lead",),
    ),
)
