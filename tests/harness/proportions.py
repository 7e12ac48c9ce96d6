"""`python -m tests.harness.proportions`: lines of Python and Lua by folder, and the tests in proportion to the product.

Lines that hold nothing but white space do not count.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

PRODUCT: Final = ("lua", "grab_service", "reconcile")
PROVING: Final = ("tests", "loadtest", "bench")
SUFFIXES: Final = (".py", ".lua")


def lines_in(folder: Path) -> int:
    """Lines of all files of code below a folder."""
    files = [path for path in folder.rglob("*") if path.suffix in SUFFIXES]
    return sum(bool(line.strip()) for path in files for line in path.read_text(encoding="utf-8").splitlines())


def table(checkout: Path) -> Iterator[str]:
    """The lines of the table: each group, its folders and their folders."""
    sums = []
    for title, folders in (("the product", PRODUCT), ("what proves it", PROVING)):
        lines = {folder: lines_in(checkout / folder) for folder in folders}
        sums.append(sum(lines.values()))
        yield f"{sums[-1]:7,}  {title}"
        for folder, count in lines.items():
            yield f"{count:7,}    {folder}/"
            for inner in sorted(path for path in (checkout / folder).iterdir() if path.is_dir()):
                if count := lines_in(inner):
                    yield f"{count:7,}      {inner.name}/"
    product, proving = sums
    yield f"{proving / product:7.2f}  lines that prove it for each line of the product"


if __name__ == "__main__":
    print(*table(Path()), sep="\n")  # noqa: T201  # the table is what this is for
