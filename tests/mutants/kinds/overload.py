"""Guards against crowds, slow clients and restarts: the batcher's turns, the protocol's bounds, the drain of a worker."""

from functools import partial
from typing import Final

from tests.mutants.mutant import Mutant

_in_scheduler = partial(Mutant, "grab_service/server/scheduler.py")
_in_reader = partial(Mutant, "grab_service/server/reader.py")
_in_answering = partial(Mutant, "grab_service/server/answering.py")
_in_protocol = partial(Mutant, "grab_service/server/protocol.py")
_LANE: Final = "tests/integration/test_fast_lane.py::test_"

MUTANTS: Final = (
    Mutant(
        "grab_service/grabpath/batcher.py",
        "too_late_is_sent",
        "a grab that could not be answered in time is not begun",
        "it waits, is decided, and nobody hears of it",
        "self._call_s = min(took_s, self._call_s + SLOWER_WEIGHT * (took_s - self._call_s))",
        "self._call_s = 0.0",
        ("tests/integration/test_overload.py::test_a_redis_that_is_too_slow_for_the_crowd_serves_as_many_as_it_can",),
    ),
    _in_protocol(
        "head_in_one_read",
        "a head that comes in one read is bounded, too",
        "only what comes in several is counted",
        "            or sum(len(name) + len(value) for name, value in headers) + len(self.url) > HEAD_MAX_BYTES\n",
        "",
        (f"{_LANE}a_head_that_is_too_large_is_refused_in_however_many_reads_it_comes",),
    ),
    _in_answering(
        "slow_reader_cut_off",
        "a slow reader is not cut off",
        "only a client that reads all at once is believed to read",
        "        self._unread_since_s = None  # slow, but they read\n",
        "",
        (f"{_LANE}who_does_not_read_is_cut_off_and_who_reads_slowly_is_not",),
    ),
    _in_answering(
        "idle_closed_at_once",
        "an idle client of a worker that ends may ask once more",
        "they are closed at once, and reset if they ask that moment",
        "        if self._is_answering():\n            self._end_with(self.cycle)\n",
        "        if self._is_answering():\n            self._end_with(self.cycle)\n"
        "        else:\n            self.transport.close()\n",
        (f"{_LANE}a_worker_that_is_to_end_answers_each_connection_once_more",),
    ),
    _in_answering(
        "no_goodbye",
        "a worker that ends says so in the next answer on each connection",
        "it says nothing",
        "            cycle.keep_alive = False\n",
        "            pass\n",
        (f"{_LANE}a_worker_that_is_to_end_answers_each_connection_once_more",),
    ),
    _in_answering(
        "sent_ahead_and_lost",
        "requests sent ahead are all answered by a worker that ends",
        "the connection ends behind the first",
        "                before.keep_alive = True  # one more came behind it\n",
        "                pass\n",
        (f"{_LANE}requests_sent_ahead_are_all_answered_by_a_worker_that_is_to_end",),
    ),
    Mutant(
        "grab_service/server/connections.py",
        "drains_for_ever",
        "a worker that ends waits for idle connections no longer than the drain time",
        "it waits until they go",
        "return self._drains_since_s is not None and self.clock() - self._drains_since_s >= self._drain_s",
        "return False",
        (f"{_LANE}a_worker_that_is_to_end_waits_for_the_idle_no_longer_than_the_drain_time",),
    ),
    _in_scheduler(
        "turn_without_end",
        "a long queue of grabs is processed a few milliseconds at a time",
        "the queue is processed at once, and views get old meanwhile",
        "        while queue and (now_s := self._clock()) <= until_s:",
        "        while queue and (now_s := self._clock()) >= 0:",
        ("tests/unit/test_scheduler.py::test_a_long_line_lets_the_loop_turn_in_between",),
    ),
    _in_reader(
        "name_twice_is_plain",
        "a request with a header that stands twice takes the ordinary way",
        "the last one counts without anybody having looked",
        '                len(names) == data.count(b"\\n") - 2\n                and (content_length',
        "                (content_length",
        ("tests/unit/test_reader.py::test_what_is_read_is_what_the_ordinary_parser_reads",),
    ),
    _in_reader(
        "any_connection_is_kept",
        "a request that wants to end the connection takes the ordinary way",
        "nobody looks at `Connection`",
        "                and (connection is None or head[connection] in _KEPT)\n",
        "",
        ("tests/unit/test_reader.py::test_what_is_read_is_what_the_ordinary_parser_reads",),
    ),
    _in_scheduler(
        "fault_of_one_stops_all",
        "a fault in one grab harms none of those queued behind it, and the queue goes on",
        "the whole queue stops for ever",
        "                connection.write_unsent()\n            except Exception:\n",
        "                connection.write_unsent()\n            except ConnectionError:\n",
        ("tests/unit/test_scheduler.py::test_a_fault_of_one_harms_none_of_those_behind_it_nor_who_comes_later",),
    ),
)
