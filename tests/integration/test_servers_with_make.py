"""Processes that make has started end with make."""

import os
import subprocess
import sys
from pathlib import Path

from grab_service import launch
from grab_service.embedded.child import until
from grab_service.launch import started_at


async def test_what_make_started_ends_when_make_is_killed(tmp_path: Path) -> None:
    makefile = tmp_path / "Makefile"
    makefile.write_text(f"all:\n\t@{sys.executable} -I {launch.__file__} with-parent /bin/sh -c 'echo $$$$; exec sleep 60'\n")
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # of the make that runs us
    make = subprocess.Popen(["make", "-f", makefile], env=alone, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 -- starts at once
    assert make.stdout is not None
    with make, make.stdout:
        pid = int(make.stdout.readline())
        assert started_at(pid) is not None
        make.kill()
    assert await until(lambda: started_at(pid) is None, 10)
