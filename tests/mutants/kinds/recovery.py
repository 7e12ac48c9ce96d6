"""Guards of how a cell comes back."""

from functools import partial
from typing import Final

from tests.mutants.mutant import Mutant

_in_fence = partial(Mutant, "reconcile/fence.py")
_in_recover = partial(Mutant, "reconcile/rebuild/recover.py")
_in_rebuild = partial(Mutant, "reconcile/rebuild/rebuild.py")
_TESTS: Final = "tests/integration/test_recover.py::test_"
_HOLD: Final = "tests/integration/test_hold.py::test_"
_GUARD_TESTS: Final = "tests/integration/test_guard.py::test_"
_CUT_SHORT: Final = f"{_TESTS}a_recovery_cut_short_anywhere_is_finished_by_the_guard"

MUTANTS: Final = (
    _in_recover(
        "recovery_drains_nothing",
        "a recovery first drains what is sound of what is left",
        "it throws that away",
        "    left = await _drain_what_goes(link, engine, cell_name, keys, new_drain)\n",
        "    left = None\n",
        (f"{_TESTS}what_the_lost_life_still_had_is_drained_first",),
    ),
    _in_recover(
        "epoch_reused",
        "every rebuilt cell has an epoch of its own",
        "the epoch of the lost life is used again",
        "    begun = await begin_next(session, cell_name, cursor, reason)\n",
        "    begun = cursor\n",
        (f"{_TESTS}the_rebuilt_cell_is_the_cell_that_was",),
    ),
    _in_recover(
        "recovery_beside_the_sale",
        "a recovery begins with closing the cell",
        "it rebuilds under the feet of the sale",
        "    await close_cell(fence)\n    left",
        "    left",
        (_CUT_SHORT,),
    ),
    _in_recover(
        "hash_before_the_rest",
        "the cell's own hash is written last: a rebuild that was interrupted looks like an emptied cell",
        "it is written first",
        "    members_version = await fill_cell(fence, engine, on_progress)\n",
        '    await fence.write([["HSET", keys.cell, "epoch", begun.epoch, "seq", begun.last_seq + 1]])\n'
        "    members_version = await fill_cell(fence, engine, on_progress)\n",
        (_CUT_SHORT,),
    ),
    _in_rebuild(
        "bindings_not_rebuilt",
        "the bindings of idempotency keys to claims are in the rebuilt cell, too",
        "a repeat takes a second unit",
        '        await bulk.add("HSET", lot.keys.bindings, parts, 2, len(parts) // 2)\n',
        "        continue\n",
        (f"{_TESTS}the_rebuilt_cell_is_the_cell_that_was",),
    ),
    _in_rebuild(
        "returns_not_rebuilt",
        "the returns are in the rebuilt cell, too",
        "a return that is sent once more frees a unit once more",
        '        await bulk.add("HSET", lot.keys.returns, parts, 2, len(parts) // 2)\n',
        "        continue\n",
        (f"{_TESTS}the_rebuilt_cell_is_the_cell_that_was",),
    ),
    _in_rebuild(
        "free_units_not_rebuilt",
        "units that came back are in the rebuilt cell, too",
        "they are never sold again",
        '        await bulk.add("ZADD", lot.keys.free, parts, 2, 0)\n',
        "        continue\n",
        (f"{_TESTS}the_rebuilt_cell_is_the_cell_that_was",),
    ),
    Mutant(
        "reconcile/rebuild/cell_from_sql.py",
        "codes_issued_again",
        "a code that somebody has is not in the rebuilt pool",
        "all codes that were imported are",
        '    " AND NOT EXISTS (SELECT FROM claims WHERE claims.code = pool_codes.code) ORDER BY campaign_id, position"',
        '    " ORDER BY campaign_id, position"',
        (f"{_TESTS}the_rebuilt_cell_is_the_cell_that_was",),
    ),
    _in_rebuild(
        "cut_off_units_issued",
        "units that were cut off the stock are not issued again",
        "the rebuilt cell takes them for issued, and offers them as free",
        '        return min(self.counted["issued"], int(self.row["total"]))\n',
        '        return int(self.counted["issued"])\n',
        (f"{_TESTS}units_that_were_cut_off_the_stock_are_not_offered_by_the_rebuilt_cell",),
    ),
    _in_rebuild(
        "each_campaign_reads_claims",
        "a rebuild reads each kind of record in one pass over all campaigns",
        "each campaign reads the whole table of claims: minutes after a year",
        "    async for lot, parts in _by_campaign(connection, cell_from_sql.RETURNS, lots):\n"
        '        await bulk.add("HSET", lot.keys.returns, parts, 2, len(parts) // 2)\n',
        "    for one in lots.values():\n"
        "        async for lot, parts in _by_campaign(connection, cell_from_sql.RETURNS, {one.campaign_id: one}):\n"
        '            await bulk.add("HSET", lot.keys.returns, parts, 2, len(parts) // 2)\n',
        (f"{_TESTS}neither_a_rebuild_nor_an_audit_reads_all_claims_for_each_campaign",),
    ),
    _in_rebuild(
        "neighbours_deleted",
        "only the keys of the cell are deleted",
        "`FLUSHALL`",
        '    await fence.write([["DEL", keys.cell, keys.scripts]])\n',
        '    await fence.write([["FLUSHALL"]])\n',
        (f"{_TESTS}only_the_keys_of_the_cell_are_deleted",),
    ),
    _in_fence(
        "mark_not_compared",
        "a write of the guard is made only while the mark of its hold stands",
        "a ledger that wakes up behind its successor writes into the cell in which that one sells",
        "        if token != self._token:",
        "        if False:",
        (f"{_HOLD}a_new_hold_ends_the_one_before",),
        short=True,
    ),
    _in_fence(
        "mark_not_watched",
        "Redis itself compares the mark in the moment of the write",
        "a ledger that falls asleep between the look at the mark and the write, writes",
        '[["WATCH", self.keys.hold], ',
        '[["EXISTS", self.keys.hold], ',
        (f"{_HOLD}a_hold_that_is_lost_between_the_look_and_the_write_writes_nothing",),
    ),
    _in_fence(
        "hold_without_the_lead",
        "the hold is taken only by the ledger that leads according to Postgres, asked after the mark is watched",
        "anybody takes it",
        "            if not await confirm():",
        "            if False:",
        (f"{_HOLD}a_ledger_that_does_not_lead_takes_no_hold", f"{_GUARD_TESTS}a_ledger_that_does_not_lead_arms_nothing"),
    ),
)
