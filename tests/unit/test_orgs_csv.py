"""An import takes the unions of a file, and names the rows that are none."""

import io

import pytest

from grab_service.files.csv_rows import Rejection
from grab_service.files.orgs_csv import OrgRow, parse_orgs, write_orgs
from grab_service.files.synthetic import generate_orgs
from grab_service.vocabulary.members import Org


def test_what_is_written_is_read_back_equal() -> None:
    orgs = list(generate_orgs())
    stream = io.StringIO(newline="")
    write_orgs(stream, orgs)
    assert list(parse_orgs(stream.getvalue().encode())) == [OrgRow(row, org) for row, org in enumerate(orgs, start=2)]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ("org 1,甲工会", "org_id"),
        (",甲工会", "org_id"),
        ("org-2,", "name"),
        ("org-2," + "工" * 101, "name"),
        ("org-2,甲\u200b工会", "name"),
        ("org-1,又一个工会", "org_id"),
        ("org-2", None),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_taken(row: str, field: str | None) -> None:
    found = list(parse_orgs(f"org_id,name\norg-1,第一\u3000工会\n{row}\norg-3,第三工会\n".encode()))
    assert [(item.row, item.field) for item in found if isinstance(item, Rejection)] == [(3, field)]
    assert [item.org for item in found if isinstance(item, OrgRow)] == [
        Org("org-1", "第一 工会"),
        Org("org-3", "第三工会"),
    ]
