"""Validation of single fields from outside.

Types for pydantic models; `http.field_errors` has the words for the kinds of errors that they raise.
"""

from typing import Annotated, Final, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from grab_service.vocabulary.days import parse_day
from grab_service.vocabulary.identifiers import is_actor, is_member_id, is_org_id, is_tag
from grab_service.vocabulary.invisible import unseen_in
from grab_service.vocabulary.names import ORG_NAME_MAX, PERSON_NAME_MAX, NameRefusedError, tidy_name, tidy_tags
from grab_service.vocabulary.times import parse_rfc3339, rfc3339

REASON_MAX: Final = 500
MOMENT_BOUND_MS: Final = parse_rfc3339("2200-01-01T00:00:00Z")
"""No campaign opens, closes or is valid beyond it; times computed from these can still be written."""

T = TypeVar("T")


def _moment(text: str) -> str:
    try:
        moment_ms = parse_rfc3339(text)
    except ValueError as error:
        raise PydanticCustomError("not_a_time", "a time with its offset is needed, such as 2026-09-20T04:00:00Z") from error
    if moment_ms >= MOMENT_BOUND_MS:
        raise PydanticCustomError("too_late", "a time before the year 2200 is needed")
    return rfc3339(moment_ms)


def _line(text: str) -> str:
    return _seen(text, "")


def _text(text: str) -> str:
    return _seen(text, "\n\r")


def _seen(text: str, but: str) -> str:
    unseen = unseen_in(text, but=but)
    if unseen is not None:
        raise PydanticCustomError("unseen", "{character} is not allowed", {"character": unseen})
    return text


def _whole(value: object) -> object:
    # In JSON 3000.0 is as whole a number as 3000.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _day(text: str) -> str:
    try:
        return parse_day(text).isoformat()
    except ValueError as error:
        raise PydanticCustomError("not_a_day", "a day is needed, such as 2020-01-31") from error


def _org_id(text: str) -> str:
    if not is_org_id(text):
        raise PydanticCustomError("not_an_org_id", "1 to 32 of A-Z a-z 0-9 _ - are needed")
    return text


def _member_id(text: str) -> str:
    if not is_member_id(text):
        raise PydanticCustomError("not_a_member_id", "1 to 64 of A-Z a-z 0-9 _ : - are needed")
    return text


def _actor(text: str) -> str:
    if not is_actor(text):
        raise PydanticCustomError("not_an_actor", "1 to 64 letters or digits of any script, or _ : @ . + -, are needed")
    return text


def _tag(text: str) -> str:
    if not is_tag(text):
        raise PydanticCustomError("not_a_tag", "1 to 32 letters, digits, Chinese characters, _ or - are needed")
    return text


def _tidy(text: str, length_max: int) -> str:
    try:
        return tidy_name(text, length_max)
    except NameRefusedError as refused:
        raise _as_custom(refused) from refused


def _tags(tags: list[str]) -> list[str]:
    try:
        return list(tidy_tags(tags))
    except NameRefusedError as refused:
        raise _as_custom(refused) from refused


def _as_custom(refused: NameRefusedError) -> PydanticCustomError:
    """With the kinds that `api.field_errors` has words for."""
    match refused.kind:
        case "empty":
            return PydanticCustomError("string_too_short", "too short", {"min_length": 1})
        case "too_long":
            return PydanticCustomError("string_too_long", "too long", {"max_length": refused.what})
        case "too_many":
            return PydanticCustomError("too_long", "too many", {"max_length": refused.what})
        case "unseen":
            return PydanticCustomError("unseen", "{character} is not allowed", {"character": refused.what})
        case _:
            return PydanticCustomError("not_a_tag", "no tag")


_NAME_SCHEMA: Final = Field(json_schema_extra={"pattern": "^[^\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f-\\u009f]+$"})


def distinct(values: list[T]) -> list[T]:
    """The values, none of which stands twice."""
    if len(set(values)) != len(values):
        raise PydanticCustomError("repeated", "the same value stands twice")
    return values


Moment = Annotated[
    str,
    AfterValidator(_moment),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-09-20T04:00:00Z"]}),
]
"""RFC 3339 with an offset; kept in UTC to the millisecond."""
Day = Annotated[str, AfterValidator(_day), WithJsonSchema({"type": "string", "format": "date", "examples": ["2020-01-31"]})]
Line = Annotated[str, AfterValidator(_line), Field(json_schema_extra={"pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$"})]
"""Text without line breaks, all of which can be seen."""
Lines = Annotated[
    str,
    AfterValidator(_text),
    Field(json_schema_extra={"pattern": "^[^\\u0000-\\u0009\\u000b\\u000c\\u000e-\\u001f\\u007f-\\u009f]*$"}),
]
"""Text with line breaks, all else of which can be seen."""
Reason = Annotated[Lines, Field(min_length=1, max_length=REASON_MAX)]
"""Reason of a change, for the log of ops."""
OrgId = Annotated[str, AfterValidator(_org_id), Field(json_schema_extra={"pattern": "^[A-Za-z0-9_-]{1,32}$"})]
MemberIdText = Annotated[str, AfterValidator(_member_id), Field(json_schema_extra={"pattern": "^[A-Za-z0-9_:-]{1,64}$"})]
Actor = Annotated[str, AfterValidator(_actor), Field(json_schema_extra={"pattern": "^[^\\s/,;<>'\\\"]{1,64}$"})]
"""Letters and digits of any script, for which JSON Schema has no word."""
Tag = Annotated[str, AfterValidator(_tag), Field(json_schema_extra={"pattern": "^[A-Za-z0-9_\\-\\u4e00-\\u9fff]{1,32}$"})]
PersonName = Annotated[str, AfterValidator(lambda text: _tidy(text, PERSON_NAME_MAX)), _NAME_SCHEMA]
"""As `people.names` has it: blanks are tidied, all else must be visible."""
OrgName = Annotated[str, AfterValidator(lambda text: _tidy(text, ORG_NAME_MAX)), _NAME_SCHEMA]
ProfileTags = Annotated[list[Annotated[str, AfterValidator(lambda tag: _tag(tag.strip()))]], AfterValidator(_tags)]
"""The tags of one member."""
Whole = Annotated[int, BeforeValidator(_whole)]
