"""Keeps what long series found, and puts it into the pages that show it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import orjson

LUA_MUTANTS: Final = Path("var/mutants/lua.json")
"""By mutant of the Lua: the walk on which it was found, and the invariants that it broke there."""


class Results:
    """The results of a series, one line of JSON each, the newest last; each result is a dataclass with a `name`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self, result: Any) -> None:
        """Append one."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(orjson.dumps(asdict(result)) + b"\n")

    def newest(self) -> dict[str, dict[str, Any]]:
        """The newest result of each name."""
        lines = self._path.read_bytes().splitlines() if self._path.exists() else []
        return {result["name"]: result for result in map(orjson.loads, lines)}

    def forget_older(self) -> None:
        """Keep the newest of each name alone."""
        self._path.write_bytes(b"".join(orjson.dumps(result) + b"\n" for result in self.newest().values()))


class Shown:
    """The part of a page that is written here, between two marks: `Shown(Path("docs/GUARDS.md"), "the mutants")`."""

    def __init__(self, page: Path, writer: str) -> None:
        self._page = page
        self._begin, self._end = (f"<!-- written by {writer}: {end} -->" for end in ("begin", "end"))

    def text(self) -> str:
        """The whole page."""
        return self._page.read_text(encoding="utf-8")

    def write(self, text: str) -> None:
        """Put this between the marks, and leave the rest of the page alone.

        Raises:
            ValueError: the page has no marks.
        """
        before, begin, rest = self.text().partition(self._begin)
        _, end, after = rest.partition(self._end)
        if not begin or not end:
            raise ValueError(f"{self._page} lacks {self._begin} … {self._end}")
        self._page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")
