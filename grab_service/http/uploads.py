"""Uploaded files of ops as rows, and refusal of a whole file."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from grab_service.files.csv_rows import Rejection
from grab_service.refusal import RefusalError

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Parsed(Generic[R]):
    """The rows of a file, and those that cannot be taken."""

    rows: Sequence[R]
    rejected: Sequence[Rejection]

    @property
    def rejected_rows(self) -> int:
        """Rows that were not taken; one may be rejected for several cells."""
        return len({one.row for one in self.rejected if not one.of_file})


def read_file(parse: Callable[[bytes], Iterator[Any]], data: bytes, row_type: type[R]) -> Parsed[R]:
    """All rows of a file; takes its time with a large one: call it in a thread.

    Raises:
        RefusalError: validation, if the file is none that can be read: its encoding, its header.
    """
    rows: list[R] = []
    rejected: list[Rejection] = []
    for item in parse(data):
        if isinstance(item, row_type):
            rows.append(item)
        elif isinstance(item, Rejection):
            rejected.append(item)
    if not rows and any(rejection.of_file for rejection in rejected):
        errors = [{"field": rejection.field or "", "reason": rejection.reason} for rejection in rejected]
        raise RefusalError("validation", errors=errors)
    return Parsed(rows, rejected)
