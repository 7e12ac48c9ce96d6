"""Synthetic members are always the same, plausible, and no real person's."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from itertools import islice

import pytest

from grab_service.files.synthetic import (
    MEMBERS_MAX,
    MODEL_WORKER,
    MODEL_WORKERS,
    ORGS_MAX,
    generate,
    generate_orgs,
)
from grab_service.vocabulary.identifiers import is_member_id, is_org_id, is_tag
from grab_service.vocabulary.members import Member, MemberStatus, member_record


@pytest.fixture(scope="module")
def district() -> list[Member]:
    return list(generate())


def digest(members: list[Member]) -> str:
    lines = (f"{member_record(member, None, 1)}|{member.name}|{member.person_id}\n" for member in members)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def test_the_same_seed_gives_the_same_members_on_every_machine() -> None:
    assert digest(list(generate(seed=7, members=2000, orgs=50))) == "c967bf4857f3459b"


def test_the_hash_seed_of_python_has_no_say() -> None:
    program = (
        "from grab_service.files.synthetic import generate\n"
        "print([(m.member_id, m.org_id, m.name, m.tags) for m in generate(3, 300, 20)])"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1


def test_another_seed_gives_others() -> None:
    assert list(generate(1, 100, 10)) != list(generate(2, 100, 10))


def test_a_district_has_110_000_members_in_588_unions_and_none_is_empty(district: list[Member]) -> None:
    assert len(district) == len({member.member_id for member in district}) == 110_000
    orgs = [org.org_id for org in generate_orgs()]
    assert (orgs[0], orgs[-1], len(set(orgs))) == ("org-001", "org-588", 588)
    assert {member.org_id for member in district} == set(orgs)


def test_sizes_of_unions_are_skewed(district: list[Member]) -> None:
    sizes = sorted(Counter(member.org_id for member in district).values())
    assert sizes[len(sizes) // 2] < 110_000 / 588 < sizes[-1] / 5


def test_forty_are_model_workers(district: list[Member]) -> None:
    assert sum(MODEL_WORKER in member.tags for member in district) == MODEL_WORKERS == 40
    assert len({member.org_id for member in district if MODEL_WORKER in member.tags}) > 10


def test_every_name_and_id_passes_the_checks_of_an_import(district: list[Member]) -> None:
    for member in district[::50]:
        assert is_member_id(member.member_id)
        assert member.person_id is not None
        assert is_member_id(member.person_id)
        assert is_org_id(member.org_id)
        assert all(map(is_tag, member.tags))
        assert 2 <= len(member.name) <= 4
        assert all("\u4e00" <= letter <= "\u9fff" for letter in member.name)
        assert member.joined_on is not None


def test_everybody_is_active_and_every_month_has_birthdays(district: list[Member]) -> None:
    assert {member.status for member in district} == {MemberStatus.ACTIVE}
    months = Counter(member.birthday_month for member in district)
    assert set(months) == set(range(1, 13))
    assert min(months.values()) > 8_000


def test_some_persons_belong_to_two_unions_and_are_the_same_person(district: list[Member]) -> None:
    persons: dict[str | None, list[Member]] = {}
    for member in district:
        persons.setdefault(member.person_id, []).append(member)
    twice = [memberships for memberships in persons.values() if len(memberships) > 1]
    assert len(twice) > 300
    for one, other in twice:
        assert (one.name, one.birthday_month) == (other.name, other.birthday_month)
        assert one.org_id != other.org_id


def test_unions_have_names_of_their_own() -> None:
    for count in (588, ORGS_MAX):
        names = [org.name for org in generate_orgs(count)]
        assert len(set(names)) == count
        assert all(name.endswith("工会") for name in names)


def test_members_stream(district: list[Member]) -> None:
    assert [member.member_id for member in islice(generate(), 3)] == ["m-000001", "m-000002", "m-000003"]
    assert district[:3] == list(islice(generate(), 3))


@pytest.mark.parametrize(("members", "orgs"), [(1, 1), (3, 588), (40, 1)])
def test_small_districts_work_too(members: int, orgs: int) -> None:
    assert len(list(generate(5, members, orgs))) == members


@pytest.mark.parametrize(("members", "orgs"), [(0, 1), (1, 0), (MEMBERS_MAX + 1, 1), (1, ORGS_MAX + 1)])
def test_sizes_are_bounded(members: int, orgs: int) -> None:
    with pytest.raises(ValueError, match="between 1 and"):
        next(generate(5, members, orgs))
