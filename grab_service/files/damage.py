"""Damage that a spreadsheet does to a code, an id or a day.

The one place that knows the marks. A damaged cell is refused with its cause and remedy: most of its text is lost,
and a voucher code that was rounded must never reach a member.
"""

import re
from collections.abc import Iterable
from typing import Final

from grab_service.problems import Text

DIGITS_KEPT: Final = 15
"""A spreadsheet keeps so many digits of a number, and writes zeros for the rest."""

SURELY_ROUNDED: Final = 3
"""So many zeros behind the digits that are kept are no chance in a single cell."""

_MONTH: Final = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_SCIENTIFIC: Final = re.compile(r"[+-]?[0-9](?:[.,][0-9]+)?E[+-][0-9]{2,3}", re.IGNORECASE)
_ERROR: Final = re.compile(r"#(?:REF!|N/A|VALUE!|NAME\?|DIV/0!|NULL!|NUM!|SPILL!|CALC!|GETTING_DATA)")
_NARROW: Final = re.compile(r"#{3,}")
_FORMULA: Final = re.compile(r'="[^"]*"|=[+-]?[$]?[A-Z]+[$]?[0-9(].*', re.DOTALL)
_APOSTROPHE: Final = re.compile(r"['‘’＇].*", re.DOTALL)
_DECIMALS: Final = re.compile(r"[0-9]+\.0+")
_THOUSANDS: Final = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.0+)?")
_LOGICAL: Final = re.compile(r"TRUE|FALSE")
_DAY: Final = re.compile(
    rf"[0-9]{{1,2}}-{_MONTH}(?:-[0-9]{{2,4}})?|{_MONTH}-[0-9]{{2,4}}"
    r"|[0-9]{1,2}月[0-9]{1,2}日|[0-9]{4}年[0-9]{1,2}月(?:[0-9]{1,2}日)?"
    r"|[0-9]{4}/[0-9]{1,2}/[0-9]{1,2}|[0-9]{1,2}/[0-9]{1,2}/(?:[0-9]{2}|[0-9]{4})|[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9:.]+"
)
_LONG_NUMBER: Final = re.compile(rf"[0-9]{{{DIGITS_KEPT}}}(0+)")
_NUMBER: Final = re.compile(rf"[0-9]{{{DIGITS_KEPT + 1},}}")
_DAY_NUMBER: Final = re.compile(r"[0-9]{5}(?:\.[0-9]+)?")
_MIDNIGHT: Final = re.compile(r"[0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}[ T][0-9:.]+")

_EXPORT: Final = Text(
    "请把这一列的格式设为“文本”，再从原始数据重新导出",
    "set the column's format to text, and export it anew from the original data",
)


def _says(zh: str, en: str) -> Text:
    return Text(f"表格软件{zh}；{_EXPORT.zh}", f"a spreadsheet {en}; {_EXPORT.en}")


_MARKS: Final = (
    (_SCIENTIFIC, _says("把它改成了科学计数法，原来的数字已经丢失", "made scientific notation of it, and its digits are lost")),
    (_ERROR, _says("把它变成了错误值", "has put an error in its place")),
    (_NARROW, _says("因为列太窄写成了 #，内容已经丢失", "wrote # for it because the column was too narrow")),
    (_FORMULA, _says("把它当成了公式", "took it for a formula")),
    (_APOSTROPHE, _says("在前面加了单引号", "has put an apostrophe before it")),
    (_DECIMALS, _says("把它当成数字，加了小数", "took it for a number and added decimals")),
    (_THOUSANDS, _says("把它当成数字，加了千位分隔符", "took it for a number and set its thousands apart")),
    (_LOGICAL, _says("把它当成了逻辑值", "took it for a logical value")),
    (_DAY, _says("把它当成了日期", "took it for a day")),
)
_ROUNDED: Final = _says(
    f"把它当成数字，只保留了前 {DIGITS_KEPT} 位，后面都写成了 0",
    f"took it for a number, kept {DIGITS_KEPT} digits and wrote zeros for the rest",
)
_COUNTED: Final = Text(
    "这是表格软件内部的日期序号；请把这一列的格式设为日期 YYYY-MM-DD 再导出",
    "this is how a spreadsheet counts days; set the column's format to a date, YYYY-MM-DD, and export it again",
)
_WITH_TIME: Final = Text(
    "日期后面带有时间；请把这一列的格式设为日期 YYYY-MM-DD 再导出",
    "there is a time behind the day; set the column's format to a date, YYYY-MM-DD, and export it again",
)


def damage_of(cell: str, *, rounded: bool = False) -> Text | None:
    """The damage by a spreadsheet to a code or an id, and its remedy; None if nothing can be seen.

    `rounded`: the long numbers of this file were, as `all_rounded` says; alone, a number that ends in a zero proves nothing.
    """
    for mark, said in _MARKS:
        if mark.fullmatch(cell):
            return said
    found = _LONG_NUMBER.fullmatch(cell)
    if found is not None and (rounded or len(found[1]) >= SURELY_ROUNDED):
        return _ROUNDED
    return None


def damage_of_day(cell: str) -> Text | None:
    """The same for a cell that should hold a day."""
    if _DAY_NUMBER.fullmatch(cell):
        return _COUNTED
    if _MIDNIGHT.fullmatch(cell):
        return _WITH_TIME
    return next((said for mark, said in _MARKS if mark is not _DAY and mark.fullmatch(cell)), None)


def all_rounded(cells: Iterable[str]) -> bool:
    """Whether all numbers of more than 15 digits, and there are several, end in zeros from the 16th on: that is no chance."""
    long = [cell for cell in cells if _NUMBER.fullmatch(cell)]
    return len(long) > 1 and all(_LONG_NUMBER.fullmatch(cell) for cell in long)
