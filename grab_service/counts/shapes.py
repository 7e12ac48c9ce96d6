"""Shapes of the answers to ops, for OpenAPI only: answers are built as plain JSON."""

from pydantic import Field

from grab_service.http.shapes import Shape, Time


class ReportSecond(Shape):
    """What happened in one second."""

    second: Time = Field(description="when it began")
    won: int = Field(description="claims granted in it, by the cell's clock, those given back later included")
    opened: int = Field(description="pages of the campaign that members opened")
    refused: dict[str, int] = Field(description="grabs that got nothing, by `code`; those that were shed are not among them")
    shed: int = Field(description="grabs that heard `overloaded`")


class ReportOrg(Shape):
    """A union, by the members' union of now."""

    org_id: str
    name: str
    audience: int = Field(description="active members whom the rules of eligibility admit now")
    granted: int = Field(description="claims of its members, those given back later included")


class Report(Shape):
    """What happened in a campaign, as far as it is on record."""

    campaign_id: str
    seconds: list[ReportSecond] = Field(description="those in which anything happened")
    by_org: list[ReportOrg] = Field(description="most claims first")
    refused: dict[str, int] = Field(description="the same as in `seconds`, over the whole campaign")
    exact: list[str] = Field(description="fields that are exact")
    lower_bound: list[str] = Field(
        description="fields that may be too low: a worker that is killed takes its last second along"
    )
