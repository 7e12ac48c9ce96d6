"""A mutant: one guard, one change of the text that takes it away, and the tests that must notice."""

import ast
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Mutant:
    """A guard, and the one change that takes it away.

    Attributes:
        path: the file, from the root of the checkout.
        name: by which `-k` finds it.
        guard: what holds, in words.
        without: what the mutant does instead, in words.
        written: stands in that file exactly once.
        instead: what stands there in the mutant.
        found_by: tests, of which one at least must fail; they are run in this order until one does.
        short: whether `make test` tries it, too; it then takes a few seconds.
        slow: whether it takes the tools of the fault suite, and a minute.
    """

    path: str
    name: str
    guard: str
    without: str
    written: str
    instead: str
    found_by: tuple[str, ...]
    short: bool = False
    slow: bool = False

    def of(self, source: str) -> str:
        """The file with this fault in it.

        Raises:
            AssertionError: the guard does not stand there once, or what stands there now is no Python.
        """
        times = source.count(self.written)
        assert times == 1, f"{self.name}: what it changes stands {times} times in {self.path}: {self.written!r}"
        mutated = source.replace(self.written, self.instead)
        if self.path.endswith(".py"):
            ast.parse(mutated)
        return mutated

    def apply(self, tree: Path) -> None:
        """Change the file in this copy of the checkout."""
        place = tree / self.path
        place.write_text(self.of(place.read_text(encoding="utf-8")), encoding="utf-8")
