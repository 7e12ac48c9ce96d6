"""Validation errors by field, in words for people."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from grab_service.problems import Language, Text
from grab_service.vocabulary.invisible import words_for

ERRORS_MAX: Final = 50
"""Further errors are not listed: a caller with so many to mend asks again anyway."""

_PLACES: Final = frozenset({"body", "query", "path", "header"})

# By the type of error of pydantic, and of ours in `campaigns.definition`; the texts in braces come with the error.
_REASONS: Final[Mapping[str, Text]] = {
    "missing": Text("必填", "is required"),
    "extra_forbidden": Text("没有这个字段", "there is no such field"),
    "string_type": Text("应为文字", "a string is needed"),
    "string_unicode": Text("应为有效的 Unicode 文字", "valid Unicode is needed"),
    "int_type": Text("应为整数", "a whole number is needed"),
    "int_parsing": Text("应为整数", "a whole number is needed"),
    "int_from_float": Text("应为整数", "a whole number is needed"),
    "bool_type": Text("应为 true 或 false", "true or false is needed"),
    "list_type": Text("应为列表", "a list is needed"),
    "dict_type": Text("应为对象", "an object is needed"),
    "model_type": Text("应为对象", "an object is needed"),
    "model_attributes_type": Text("应为对象", "an object is needed"),
    "literal_error": Text("应为以下之一：{choices}", "one of {choices} is needed"),
    "enum": Text("应为以下之一：{choices}", "one of {choices} is needed"),
    "greater_than_equal": Text("不能小于 {ge}", "at least {ge} is needed"),
    "less_than_equal": Text("不能大于 {le}", "at most {le} is allowed"),
    "string_too_short": Text("至少 {min_length} 个字符", "at least {min_length} characters are needed"),
    "string_too_long": Text("最多 {max_length} 个字符", "at most {max_length} characters are allowed"),
    "too_short": Text("至少 {min_length} 项", "at least {min_length} entries are needed"),
    "too_long": Text("最多 {max_length} 项", "at most {max_length} entries are allowed"),
    "not_a_time": Text(
        "应为带时区的时间，例如 2026-09-20T04:00:00Z", "a time with its offset is needed, such as 2026-09-20T04:00:00Z"
    ),
    "too_late": Text("时间应早于 2200 年", "a time before the year 2200 is needed"),
    "not_a_day": Text("应为日期，例如 2020-01-31", "a day is needed, such as 2020-01-31"),
    "unseen": words_for("{character}"),
    "unsupported": Text("本版本不支持 {value}", "this release does not support {value}"),
    "repeated": Text("有重复的值", "the same value stands twice"),
    "not_an_org_id": Text("工会编号应为 1 到 32 个 A-Z a-z 0-9 _ -", "1 to 32 of A-Z a-z 0-9 _ - are needed"),
    "not_a_tag": Text(
        "标签应为 1 到 32 个字母、数字、汉字、_ 或 -", "1 to 32 letters, digits, Chinese characters, _ or - are needed"
    ),
    "ends_before_it_begins": Text("应晚于 valid_from", "it must lie after valid_from"),
    "not_in_order": Text(
        "批次应按时间先后排列，时间不能相同", "releases must stand in order of time, no two at the same moment"
    ),
    "too_many_units": Text("总数最多 {max} 份", "at most {max} units in all"),
    "another_moment": Text(
        "和旁边的时间不是同一时刻，请一起修改或删去",
        "it is another moment than the time beside it; change both, or leave this out",
    ),
    "read_only": Text("只读字段，不能修改", "it is read-only; leave it out, or send it back as it was"),
    "closes_before_it_opens": Text("应晚于第一批的时间", "it must lie after the first release"),
    "not_a_member_id": Text("会员编号应为 1 到 64 个 A-Z a-z 0-9 _ : -", "1 to 64 of A-Z a-z 0-9 _ : - are needed"),
    "not_an_actor": Text(
        "应为 1 到 64 个文字、字母、数字或 _ : @ . + -", "1 to 64 letters or digits of any script, or _ : @ . + -, are needed"
    ),
    "not_a_cursor": Text("不是本列表给出的 cursor", "it is no cursor that this list gave out"),
}


NOT_USABLE: Final = Text("这个值不能用", "this value cannot be used")
"""For errors that no field of ours can have now: the words of pydantic are for programmers."""

_QUOTED: Final = re.compile("'([^']*)'")


def reason_of(error: Mapping[str, Any], language: Language) -> str:
    """The words for one error of pydantic."""
    words = _REASONS.get(error["type"], NOT_USABLE)
    about = dict(error.get("ctx", {}))
    about["choices"] = ("、" if language == "zh" else ", ").join(_QUOTED.findall(str(about.get("expected", ""))))
    return words.in_language(language).format_map(about)


def field_of(location: Sequence[str | int]) -> str:
    """`releases.0.opens_at`; '' for the whole."""
    path = location[1:] if location and location[0] in _PLACES else location
    return ".".join(str(part) for part in path)


def field_errors(errors: Sequence[Mapping[str, Any]], language: Language) -> list[dict[str, str]]:
    """`{field, reason}` for each error of pydantic, as the problem `validation` lists them."""
    return [{"field": field_of(error["loc"]), "reason": reason_of(error, language)} for error in errors[:ERRORS_MAX]]


def field_error(field: str, kind: str, language: Language) -> list[dict[str, str]]:
    """The same for one field that was checked by hand."""
    return [{"field": field, "reason": _REASONS[kind].in_language(language)}]
