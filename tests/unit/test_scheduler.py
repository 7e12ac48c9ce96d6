"""The scheduler: in the order of arrival, a slice at a time, and answers are written together."""

from collections.abc import Callable

import pytest

from grab_service.server.scheduler import AT_ONCE, SLICE_S, ReadScheduler


class Loop:
    """A loop that turns when it is told to, and a clock on which each passage takes its time."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.soon: list[Callable[[], None]] = []

    def clock(self) -> float:
        return self.now_s

    def call_soon(self, each: Callable[[], None]) -> None:
        self.soon.append(each)

    def turn(self) -> None:
        called, self.soon = self.soon, []
        for each in called:
            each()


class Caller:
    """A connection that is answered at once, if nothing goes wrong."""

    fails_to = ""

    def __init__(self, number: int, happened: list[str], loop: Loop, scheduler: ReadScheduler, takes_s: float) -> None:
        self.number = number
        self._came_at_s = loop.now_s
        self._happened, self._loop, self._scheduler, self._takes_s = happened, loop, scheduler, takes_s

    def process_held(self, now_s: float) -> None:
        assert self._came_at_s <= now_s <= self._loop.now_s
        if self.fails_to == "pass":
            raise RuntimeError("a bug")
        self._loop.now_s += self._takes_s
        self._happened.append(f"passed {self.number}")
        self._scheduler.write_soon(self)

    def write_unsent(self) -> None:
        if self.fails_to == "leave":
            raise RuntimeError("the handler is closed")
        self._happened.append(f"left {self.number}")

    def abort(self) -> None:
        self._happened.append(f"gave up {self.number}")


def test_all_pass_in_their_order_and_leave_together() -> None:
    loop, happened = Loop(), list[str]()
    scheduler = ReadScheduler(loop.clock, loop.call_soon)
    for number in range(AT_ONCE + 2):
        scheduler.read_soon(Caller(number, happened, loop, scheduler, 0))
    assert not happened, "nothing happens while it is still read"
    assert len(loop.soon) == 1
    loop.turn()
    first, then = range(AT_ONCE), range(AT_ONCE, AT_ONCE + 2)
    expected = [[f"passed {number}" for number in some] + [f"left {number}" for number in some] for some in (first, then)]
    assert happened == [*expected[0], *expected[1]]
    assert not loop.soon


def test_a_long_line_lets_the_loop_turn_in_between() -> None:
    loop, happened = Loop(), list[str]()
    scheduler = ReadScheduler(loop.clock, loop.call_soon)
    for number in range(10 * AT_ONCE):
        scheduler.read_soon(Caller(number, happened, loop, scheduler, 1.5 * SLICE_S / AT_ONCE))
    turns = 0
    while loop.soon:
        before_s = loop.now_s
        loop.turn()
        turns += 1
        assert loop.now_s - before_s < 2 * SLICE_S
    assert turns >= 10
    assert len(happened) == 20 * AT_ONCE


def test_an_answer_that_comes_later_leaves_in_the_next_turn() -> None:
    loop, happened = Loop(), list[str]()
    scheduler = ReadScheduler(loop.clock, loop.call_soon)
    scheduler.write_soon(Caller(1, happened, loop, scheduler, 0))
    scheduler.write_soon(Caller(2, happened, loop, scheduler, 0))
    assert not happened
    loop.turn()
    assert happened == ["left 1", "left 2"]


@pytest.mark.parametrize("fails_to", ["pass", "leave"])
def test_a_fault_of_one_harms_none_of_those_behind_it_nor_who_comes_later(fails_to: str) -> None:
    loop, happened = Loop(), list[str]()
    scheduler = ReadScheduler(loop.clock, loop.call_soon)
    callers = [Caller(number, happened, loop, scheduler, 0) for number in range(4)]
    callers[1].fails_to = fails_to
    for caller in callers[:3]:
        scheduler.read_soon(caller)
    loop.turn()
    scheduler.read_soon(callers[3])
    loop.turn()
    assert {"left 0", "gave up 1", "left 2", "left 3"} <= set(happened)
