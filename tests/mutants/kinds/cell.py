"""Guards of how Python asks the cell."""

from functools import partial
from typing import Final

from tests.mutants.mutant import Mutant

_in_connect = partial(Mutant, "grab_service/cell/connect.py")
_in_store = partial(Mutant, "grab_service/cell/store.py")
_CALLS: Final = "tests/integration/test_cell_calls.py::test_"

MUTANTS: Final = (
    _in_store(
        "seen_seq_not_sent",
        "a worker sends the highest `seq` it has seen: a cell that lies behind it grants nothing",
        "it sends 0",
        "keys, (self.seen_seq, batch_id, campaign_id, *triples))",
        "keys, (0, batch_id, campaign_id, *triples))",
        ("tests/lua/test_lives.py::test_a_cell_that_lies_behind_what_the_caller_has_seen_is_refused",),
        short=True,
    ),
    _in_store(
        "reply_of_another",
        "Lua echoes the number of the batch, and it is compared",
        "any reply is taken for one's own",
        "        if reply[1] != batch_id:",
        "        if False:",
        (f"{_CALLS}a_reply_that_belongs_to_another_call_is_none",),
    ),
    _in_connect(
        "redis_py_retries",
        "redis-py repeats nothing by itself",
        "its retries are left on",
        "        retry=Retry(NoBackoff(), 0),\n",
        "        retry=Retry(NoBackoff(), 10),\n",
        (f"{_CALLS}a_call_that_is_not_answered_is_sent_once",),
    ),
    _in_connect(
        "unbounded_call",
        "a call to Redis has a time-out",
        "it waits for ever",
        "        socket_timeout=timeout_s,\n",
        "",
        (f"{_CALLS}a_call_that_is_not_answered_is_sent_once",),
    ),
    _in_store(
        "promised_before_replicas",
        "where replicas are asked for, a claim is told when so many have it",
        "it is told at once",
        "self._replicas.least if name in PROMISES else 0",
        "0",
        ("tests/integration/test_replicas.py::test_the_answer_waits_for_a_slow_replica_which_then_has_it",),
    ),
    _in_store(
        "kept_connection_unseen",
        "a connection that is kept between calls is used again if it still leads to the cell",
        "it is used whatever became of it",
        "            if await leads_on(kept):",
        "            if True:",
        (f"{_CALLS}a_connection_that_redis_has_closed_is_not_used_again",),
    ),
)
