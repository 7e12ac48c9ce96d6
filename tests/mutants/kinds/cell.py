"""Guards of how Python asks the cell."""

from typing import Final

from tests.mutants.mutant import Mutant

_STORE: Final = "grab_service/cell/store.py"
_CALLS: Final = "tests/integration/test_cell_calls.py::test_"

MUTANTS: Final = (
    Mutant(
        "seen_seq_not_sent",
        "a worker sends the highest `seq` it has seen: a cell that lies behind it grants nothing",
        "it sends 0",
        _STORE,
        "keys, (self.seen_seq, batch_id, campaign_id, *triples))",
        "keys, (0, batch_id, campaign_id, *triples))",
        ("tests/lua/test_lives.py::test_a_cell_that_lies_behind_what_the_caller_has_seen_is_refused",),
        short=True,
    ),
    Mutant(
        "reply_of_another",
        "Lua echoes the number of the batch, and it is compared",
        "any reply is taken for one's own",
        _STORE,
        "        if reply[1] != batch_id:",
        "        if False:",
        (f"{_CALLS}a_reply_that_belongs_to_another_call_is_none",),
    ),
    Mutant(
        "redis_py_retries",
        "redis-py repeats nothing by itself",
        "its retries are left on",
        "grab_service/cell/connect.py",
        "        retry=Retry(NoBackoff(), 0),\n",
        "        retry=Retry(NoBackoff(), 10),\n",
        (f"{_CALLS}a_call_that_is_not_answered_is_sent_once",),
    ),
    Mutant(
        "unbounded_call",
        "a call to Redis has a time-out",
        "it waits for ever",
        "grab_service/cell/connect.py",
        "        socket_timeout=timeout_s,\n",
        "",
        (f"{_CALLS}a_call_that_is_not_answered_is_sent_once",),
    ),
    Mutant(
        "promised_before_replicas",
        "where replicas are asked for, a claim is told when so many have it",
        "it is told at once",
        _STORE,
        "self._replicas.least if name in PROMISES else 0",
        "0",
        ("tests/integration/test_replicas.py::test_the_answer_waits_for_a_slow_replica_which_then_has_it",),
    ),
    Mutant(
        "kept_connection_unseen",
        "a connection that is kept between calls is used again if it still leads to the cell",
        "it is used whatever became of it",
        _STORE,
        "            if await leads_on(kept):",
        "            if True:",
        (f"{_CALLS}a_connection_that_redis_has_closed_is_not_used_again",),
    ),
)
