"""SQL conditions that select the members whom a campaign's rules admit.

The rules themselves are in `lua/rules/`; this looks ahead, for advice and for trials.
"""

from collections.abc import Iterator
from datetime import date

from sqlalchemy import ARRAY, ColumnElement, Text, cast

from grab_service.sql.tables import members
from grab_service.vocabulary.campaigns import Eligibility


def conditions_of(rules: Eligibility) -> Iterator[ColumnElement[bool]]:
    """Conditions on a row of members, all to be met; an unknown field of a member makes a condition null."""
    if rules.orgs:
        yield members.c.org_id.in_(rules.orgs)
    if rules.tags_any:
        yield members.c.tags.overlap(cast(list(rules.tags_any), ARRAY(Text)))
    if rules.birthday_months:
        yield members.c.birthday_month.in_(rules.birthday_months)
    if rules.joined_before is not None:
        yield members.c.joined_on < date.fromisoformat(rules.joined_before)
