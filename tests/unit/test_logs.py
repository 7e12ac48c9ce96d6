"""Lines of the log stay whole, though several workers write to one stream."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

CHECKOUT: Final = Path(__file__).parents[2]
WRITERS: Final = 4
LINES: Final = 200
WRITE: Final = (
    "import structlog; from grab_service.logs import configure_logs; configure_logs(); log = structlog.get_logger()\n"
    f"for number in range({LINES}): log.info('said', number=number, padding='x' * 200)"
)


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["as it is", "unbuffered, as images of containers have it"])
def test_lines_of_several_processes_are_not_mixed(unbuffered: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": unbuffered}
    with (tmp_path / "log").open("ab") as log:
        writers = [subprocess.Popen([sys.executable, "-c", WRITE], stderr=log, env=environment) for _ in range(WRITERS)]
        assert [writer.wait(60) for writer in writers] == [0] * WRITERS
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted(line["number"] for line in lines) == sorted(list(range(LINES)) * WRITERS)
