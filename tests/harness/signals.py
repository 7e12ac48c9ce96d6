"""Ctrl-C and hang-up for the programs that tests start, independent of how the tests were started.

Under `nohup`, in the background of a shell or below a runner, SIGINT and SIGHUP are ignored, and stay so in
every child. A handler does not: a child begins with the default again. So the process of the tests answers these signals with
a handler that does nothing, and goes on not to be ended by them.
"""

import signal
from types import FrameType
from typing import Final

NOT_INHERITED: Final = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def pytest_configure() -> None:
    """In every process of the tests; before anything is started."""
    for number in NOT_INHERITED:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _go_on)


def _go_on(_number: int, _frame: FrameType | None) -> None:
    pass
