"""The table of proportions counts lines of code, by folder."""

from pathlib import Path

from tests.harness import proportions


def test_the_table_counts_lines_of_python_and_lua_by_folder_and_leaves_out_empty_ones(tmp_path: Path) -> None:
    for folder in (*proportions.PRODUCT, *proportions.PROVING):
        (tmp_path / folder / "inner").mkdir(parents=True)
        (tmp_path / folder / "__init__.py").write_text("x = 1\n")
    (tmp_path / "lua/inner/rule.lua").write_text("local x\n\n  \nreturn x\n")
    (tmp_path / "tests/inner/test_x.py").write_text("x = 1\n" * 7)
    (tmp_path / "tests/inner/notes.txt").write_text("nothing\n")
    table = [line.split(maxsplit=1) for line in proportions.table(tmp_path)]
    assert table == [
        *(["5", "the product"], ["3", "lua/"], ["2", "inner/"], ["1", "grab_service/"], ["1", "reconcile/"]),
        *(["10", "what proves it"], ["8", "tests/"], ["7", "inner/"], ["1", "loadtest/"], ["1", "bench/"]),
        ["2.00", "lines that prove it for each line of the product"],
    ]
