"""A run starts its children by the right entry point."""

import sys
from pathlib import Path

import pytest

from grab_service.embedded.bootstrap import GRAB
from grab_service.embedded.programs import grab

WITHOUT_GUARD = GRAB.replace('if __name__ == "__main__":\n    sys.exit(main())', "sys.exit(main())")


@pytest.mark.parametrize(
    ("script", "is_taken"),
    [(GRAB, True), (WITHOUT_GUARD, False), ("#!/bin/sh\necho another program of that name\n", False), (None, False)],
    ids=["ours", "ours-that-runs-when-imported", "another", "none"],
)
def test_the_script_beside_the_python_is_the_door_if_it_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, is_taken: bool
) -> None:
    python = tmp_path / "python"
    monkeypatch.setattr(sys, "executable", str(python))
    if script is not None:
        (tmp_path / "grab").write_text(script)
    by_module = (str(python), "-m", "grab_service.cli.main")
    assert grab() == ((str(tmp_path / "grab"),) if is_taken else by_module)
