"""Guards of workers that come and go."""

from functools import partial
from typing import Final

from tests.mutants.mutant import Mutant

_in_supervisor = partial(Mutant, "grab_service/server/supervisor.py")
_in_engine = partial(Mutant, "grab_service/sql/engine.py")
_SUCCESSORS: Final = "tests/acceptance/test_successors.py::test_"
_POOL: Final = "tests/integration/test_sql_pool.py::test_"

MUTANTS: Final = (
    _in_supervisor(
        "successor_let_in",
        "a successor is let in only when its view is ready and neither Redis nor Postgres turns it away",
        "it takes the place of one that serves, and serves nobody",
        "self._to_replace.popleft(), self._started(must_be_ready=True)\n",
        "self._to_replace.popleft(), self._started(must_be_ready=False)\n",
        (f"{_SUCCESSORS}a_restart_that_would_serve_worse_is_given_up_at_once_and_says_why",),
    ),
    _in_supervisor(
        "dead_replaced_by_unready",
        "in the place of a dead worker a new one opens only when it is ready, while others serve",
        "it takes its share of the members and turns them away",
        "self._started(must_be_ready=others_serve)\n",
        "self._started(must_be_ready=False)\n",
        (f"{_SUCCESSORS}in_the_place_of_a_dead_worker_a_new_one_waits_while_another_serves",),
    ),
    _in_supervisor(
        "only_worker_waits",
        "where nobody else serves a worker opens, ready or not",
        "the door stays closed while Redis is away",
        "self._started(must_be_ready=others_serve)\n",
        "self._started(must_be_ready=True)\n",
        (f"{_SUCCESSORS}the_only_worker_is_replaced_while_redis_is_away_and_says_that_it_waits_for_it",),
    ),
    Mutant(
        "grab_service/service/serve.py",
        "ends_before_the_deadline",
        "a worker that ends stays until the grabs under way have met their deadline",
        "it leaves after eight seconds, whoever waits",
        "max(GRACE_S, settings.grab_deadline_s + PAST_DEADLINE_S)\n",
        "GRACE_S\n",
        ("tests/unit/test_leaving.py::test_a_worker_that_ends_stays_past_the_deadline_of_every_grab",),
    ),
    Mutant(
        "grab_service/service/serve.py",
        "waits_for_no_record",
        "a worker that ends waits for the record of its winners",
        "it ends at once, and they hear nothing",
        "        timeout_graceful_shutdown=round(_leave_s(settings)),\n",
        "        timeout_graceful_shutdown=0,\n",
        ("tests/acceptance/test_restart.py::test_winners_who_wait_for_their_record_are_answered_before_their_worker_ends",),
    ),
    Mutant(
        "grab_service/server/listener.py",
        "listener_blocks",
        "a new worker leaves the socket that all workers share as it is: it does not block",
        "the loop of an old worker falls asleep in `accept`",
        "    listener.setblocking(False)\n    return",
        "    return",
        ("tests/integration/test_listener.py::test_a_new_worker_never_lets_the_socket_of_the_old_ones_block",),
    ),
    _in_engine(
        "connections_out_of_turn",
        "connections to Postgres are given out in turn",
        "a newcomer takes the one that came back for somebody else",
        "        await_only(self._in_turn())\n",
        "",
        (f"{_POOL}a_connection_that_comes_back_is_for_the_one_who_waits_and_not_for_a_newcomer",),
    ),
    _in_engine(
        "crowd_at_a_rested_pool",
        "the queue for connections is short only while none comes back",
        "it is short always: pages are refused when another worker ends",
        " and now_s - self._moved_at_s > STILL_S:\n",
        ":\n",
        (f"{_POOL}a_crowd_at_a_rested_pool_is_served",),
    ),
    _in_engine(
        "all_wait_for_postgres",
        "while no connection to Postgres comes back the queue for one is short",
        "every call of the service waits in it",
        "            elif self._waiting >= WAITING_MAX and ",
        "            elif False and ",
        (f"{_POOL}while_no_connection_comes_back_the_queue_is_short",),
    ),
)
