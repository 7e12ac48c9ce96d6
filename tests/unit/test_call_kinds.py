"""Every call has the bound of its kind."""

import pytest

from grab_service.server.call_kinds import CallKind, kind_of


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/livez", CallKind.PROBE),
        ("/v1/time", CallKind.POLLED),
        ("/v1/campaigns/mooncake/state", CallKind.POLLED),
        ("/v1/campaigns/mooncake/claims", CallKind.GRAB),
        ("/v1/campaigns/mooncake/eligibility", CallKind.ORDINARY),
        ("/v1/campaigns/mooncake", CallKind.ORDINARY),
        ("/v1/campaigns/mooncake/more/claims", CallKind.ORDINARY),
        ("/v1/campaigns//claims", CallKind.ORDINARY),
        ("/v1/ops/campaigns/mooncake/state", CallKind.ORDINARY),
        ("/v1/me/claims", CallKind.ORDINARY),
        ("/livez/", CallKind.ORDINARY),
        ("", CallKind.ORDINARY),
    ],
)
def test_a_call_is_of_the_kind_that_its_address_is_declared_to_be(path: str, kind: CallKind) -> None:
    assert kind_of(path) is kind
