"""Guards of the chain of the log."""

from functools import partial
from typing import Final

from tests.mutants.mutant import Mutant

_in_drain = partial(Mutant, "reconcile/drain/drain.py")
_in_pages = partial(Mutant, "reconcile/drain/pages.py")
_in_checkpoints = partial(Mutant, "reconcile/drain/chain.py")
_in_view = partial(Mutant, "grab_service/grabpath/view.py")
_in_chain = partial(Mutant, "grab_service/grabpath/chain.py")
_in_responder = partial(Mutant, "grab_service/grabpath/responder.py")
_in_audit = partial(Mutant, "grab_service/audit/__init__.py")
_in_reading = partial(Mutant, "grab_service/chain/reading.py")
_TESTS: Final = "tests/integration/test_chain.py::test_"
_AGREES: Final = f"{_TESTS}what_members_kept_agrees_with_chain_log_and_checkpoints"
_FOLDED: Final = f"{_TESTS}each_entry_is_folded_in_the_transaction_that_drains_it_and_a_recovery_says_where_a_life_was_lost"
_SOLD_OUT: Final = f"{_TESTS}a_sold_out_of_lua_waits_for_the_head_at_its_own_place"
_SIGNED: Final = f"{_TESTS}a_checkpoint_is_signed_once_a_second_and_none_without_a_key"
_AUDITED: Final = f"{_TESTS}the_audit_compares_the_heads_of_all_workers_with_the_ledgers"
_UNIT: Final = "tests/unit/test_chain.py::test_"

MUTANTS: Final = (
    _in_view(
        "worker_folds_nothing",
        "each worker folds every entry of the log into the chain",
        "it folds in nothing of what the entries say",
        "digest_of(entry_bytes(entry_id, pairs))",
        "bytes(32)",
        (_AGREES, _AUDITED),
    ),
    _in_pages(
        "entries_not_bound",
        "a head stands for all entries before it",
        "for the last one alone",
        "        head = fold(head, digest)\n",
        "        head = digest\n",
        (_FOLDED, _AGREES),
    ),
    _in_drain(
        "links_not_kept",
        "the link of an entry is written with its rows",
        "it is not written",
        "                await write_links(connection, events, page.links)\n",
        "",
        (_FOLDED,),
    ),
    _in_drain(
        "head_not_moved",
        "the head moves with the cursor, in one transaction",
        "it stays behind, and a ledger that starts anew folds on from there",
        "at_ms=moved.at_ms, head=moved.head)",
        "at_ms=moved.at_ms)",
        (_FOLDED,),
    ),
    _in_checkpoints(
        "signed_each_time",
        "a checkpoint is signed once a second at most",
        "with each transaction",
        "        if now_s - self._signed_at_s < CHECKPOINT_INTERVAL_S:\n            return\n",
        "",
        (_SIGNED,),
    ),
    _in_audit(
        "heads_not_compared",
        "the audit compares the head of each worker with the ledger's",
        "it does not",
        ", *await judge_heads(engine, cut)]",
        "]",
        (_AUDITED,),
    ),
    _in_responder(
        "sold_out_without_its_head",
        "a sold-out of Lua says the head at the place at which it was true",
        "it is sent before the worker has read so far",
        "        if self._view.seq >= seq:\n            tell()\n            return\n",
        "        if True:\n            tell()\n            return\n",
        (_SOLD_OUT,),
    ),
    _in_responder(
        "sold_out_never_told",
        "a view that does not come keeps no refusal from anybody",
        "the caller waits for it",
        "            asyncio.get_running_loop().call_later(UNSEEN_MAX_S, self._tell_unseen, True)\n",
        "",
        (_SOLD_OUT,),
    ),
    _in_chain(
        "head_of_another_life",
        "a note of another life of the cell gives no head",
        "only the seq is compared",
        " or note.epoch != self._epoch",
        "",
        (f"{_UNIT}a_note_is_taken_once_the_log_is_read_up_to_it_and_only_of_this_life",),
    ),
    _in_chain(
        "other_head_not_seen",
        "a worker says when the ledger has another head",
        "it says nothing",
        "seen is not None and seen.hex() != note.head",
        "seen is None",
        (f"{_UNIT}another_head_of_the_ledger_is_seen_and_one_that_agrees_is_not",),
    ),
    _in_reading(
        "codes_in_the_log",
        "the log shows codes to those who ask for them and may see them",
        "to everybody of ops",
        "        shown = texts if full_codes else _masked(texts)\n",
        "        shown = texts\n",
        (_AGREES,),
    ),
)
