"""Guards of how a cell comes back."""

from typing import Final

from tests.mutants.mutant import Mutant

_RECOVER: Final = "reconcile/recover.py"
_REBUILD: Final = "reconcile/rebuild.py"
_TESTS: Final = "tests/integration/test_recover.py::test_"
_CUT_SHORT: Final = f"{_TESTS}a_recovery_cut_short_anywhere_leaves_the_cell_closed_and_is_taken_again"

MUTANTS: Final = (
    Mutant(
        "recovery_drains_nothing",
        "a recovery first drains what is sound of what is left",
        "it throws that away",
        _RECOVER,
        "    left = await _drain_what_goes(wire, engine, cell_name, keys, new_drain)\n",
        "    left = None\n",
        (f"{_TESTS}what_the_lost_life_still_had_is_drained_first",),
    ),
    Mutant(
        "epoch_reused",
        "every rebuilt cell has an epoch of its own",
        "the epoch of the lost life is used again",
        _RECOVER,
        "    begun = await begin_next(engine, cell_name, cursor, reason)\n",
        "    begun = cursor\n",
        (f"{_TESTS}the_rebuilt_cell_is_the_cell_that_was",),
    ),
    Mutant(
        "recovery_beside_the_sale",
        "a recovery begins with closing the cell",
        "it rebuilds under the feet of the sale",
        _RECOVER,
        "    keys = CellKeys.of(cell_name)\n    await close_cell(wire, keys)\n",
        "    keys = CellKeys.of(cell_name)\n",
        (f"{_CUT_SHORT}[2]",),
    ),
    Mutant(
        "hash_before_the_rest",
        "the cell's own hash is written last: a rebuild that was interrupted looks like an emptied cell",
        "it is written first",
        _RECOVER,
        "    members_version = await fill_cell(wire, engine, keys)\n",
        '    await wire.call("HSET", keys.cell, "epoch", begun.epoch, "seq", begun.last_seq + 1)\n'
        "    members_version = await fill_cell(wire, engine, keys)\n",
        tuple(f"{_CUT_SHORT}[{calls}]" for calls in (8, 10)),
    ),
    Mutant(
        "bindings_not_rebuilt",
        "who is bound to a claim by an idempotency key is in the rebuilt cell, too",
        "a repeat takes a second unit",
        _REBUILD,
        '        await bulk.add("HSET", campaign.bindings, bindings, 2)\n',
        "",
        (f"{_TESTS}the_rebuilt_cell_is_the_cell_that_was",),
    ),
    Mutant(
        "returns_not_rebuilt",
        "what was given back is in the rebuilt cell, too",
        "a return that is sent once more frees a unit once more",
        _REBUILD,
        '        await bulk.add("HSET", campaign.returns, returns, 2)\n',
        "",
        (f"{_TESTS}the_rebuilt_cell_is_the_cell_that_was",),
    ),
    Mutant(
        "free_units_not_rebuilt",
        "units that came back are in the rebuilt cell, too",
        "they are never sold again",
        _REBUILD,
        '    await bulk.add("ZADD", campaign.free, [part for unit in free for part in (unit, unit)], 2)\n',
        "",
        (f"{_TESTS}the_rebuilt_cell_is_the_cell_that_was",),
    ),
    Mutant(
        "codes_issued_again",
        "a code that somebody has is not in the rebuilt pool",
        "all codes that were imported are",
        _REBUILD,
        '    " AND NOT EXISTS (SELECT FROM claims WHERE claims.code = pool_codes.code) ORDER BY position"',
        '    " ORDER BY position"',
        (f"{_TESTS}the_rebuilt_cell_is_the_cell_that_was",),
    ),
    Mutant(
        "cut_off_units_issued",
        "units that were cut off the stock are not issued again",
        "the rebuilt cell takes them for issued, and offers them as free",
        _REBUILD,
        '    issued = min(counted.unit_max, row["total"])\n',
        "    issued = counted.unit_max\n",
        (f"{_TESTS}units_that_were_cut_off_the_stock_are_not_offered_by_the_rebuilt_cell",),
    ),
    Mutant(
        "neighbours_deleted",
        "only the keys of the cell are deleted",
        "`FLUSHALL`",
        _REBUILD,
        '    await wire.call("DEL", keys.cell, keys.scripts)\n    cursor',
        '    await wire.call("FLUSHALL")\n    cursor',
        (f"{_TESTS}only_the_keys_of_the_cell_are_deleted",),
    ),
)
