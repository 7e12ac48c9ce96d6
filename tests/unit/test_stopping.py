"""Signals that end a long run, for every way to start it."""

import signal
import subprocess
import sys
from typing import Any

import pytest

from grab_service.server import supervisor

RUN = """
import asyncio, os, signal, sys
from grab_service.demo.stopping import Stopping

async def main():
    stopping = Stopping()
    stopping.obey_signals()
    os.kill(os.getpid(), int(sys.argv[1]))
    asked = asyncio.create_task(stopping.wait())
    await asyncio.wait([asked], timeout=0.2)
    print("ends" if asked.done() else "goes on")

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("ignored", "sign", "says"),
    [
        ("", signal.SIGINT, "ends"),
        ("", signal.SIGHUP, "ends"),
        ("INT HUP", signal.SIGINT, "ends"),  # in the background of a script, where a runner ends it by Ctrl-C's signal
        ("INT HUP", signal.SIGTERM, "ends"),
        ("HUP", signal.SIGHUP, "goes on"),  # nohup
    ],
)
def test_a_run_ends_when_it_is_asked_and_under_nohup_not_with_its_terminal(
    ignored: str, sign: signal.Signals, says: str
) -> None:
    shell = [*("sh", "-c", f'trap "" {ignored}; exec "$@"' if ignored else 'exec "$@"', "sh"), sys.executable, "-c", RUN]
    done = subprocess.run([*shell, str(int(sign))], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == says


@pytest.mark.parametrize(("handling", "ends"), [(signal.SIG_DFL, True), (signal.SIG_IGN, False)], ids=["terminal", "nohup"])
def test_the_service_ends_with_its_terminal_and_under_nohup_goes_on(
    handling: signal.Handlers, ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(signal.SIGHUP, handling)
    try:
        monkeypatch.setattr(supervisor, "_has_terminal", lambda: True)
        nothing: Any = None
        service = supervisor.Supervisor(nothing, nothing, leave_s=1.0)
    finally:
        signal.signal(signal.SIGHUP, before)
    monkeypatch.setattr(supervisor, "_has_terminal", lambda: False)
    service._signals.append(signal.SIGHUP)
    assert service._told_to_end() is ends
