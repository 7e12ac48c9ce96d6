"""The unions of members that this worker knows without a call of a script.

A pass names the union that the cell held for its member when the pass was made. The log names every member whose union changed
since. A worker does not know the changes before it began to read the log, so an older pass proves nothing to it.
"""

from collections import OrderedDict
from typing import Final

from grab_service.vocabulary.events import MembersPublished
from grab_service.vocabulary.passes import CLOCKS_APART_S, affiliation_in

CHANGES_MAX: Final = 50_000
"""Members whose change of union is remembered; some 8 MB."""

NOTHING_KNOWN: Final = float("inf")


class Affiliations:
    """Changes of unions as the log tells them. Times are Redis' clock, in Unix milliseconds."""

    def __init__(self) -> None:
        self.members_version = 0
        """All members' records up to this version are in the cell."""

        self._known_since_ms = NOTHING_KNOWN
        self._changed_at_ms: OrderedDict[str, int] = OrderedDict()

    def begin(self, members_version: int, now_ms: int) -> None:
        """Forget everything; every entry of the log after that moment will be applied."""
        self.members_version = members_version
        self._known_since_ms = now_ms
        self._changed_at_ms.clear()

    def apply(self, event: MembersPublished) -> None:
        """Take in one entry of the log."""
        self.members_version = max(self.members_version, event.members_version)
        if event.org_changed is None:  # of a release that names nobody
            self._known_since_ms = event.at_ms
            self._changed_at_ms.clear()
            return
        for member_id in event.org_changed:
            self._changed_at_ms[member_id] = event.at_ms
            self._changed_at_ms.move_to_end(member_id)
        while len(self._changed_at_ms) > CHANGES_MAX:
            _, self._known_since_ms = self._changed_at_ms.popitem(last=False)

    def org_of(self, token: bytes) -> str | None:
        """The union of the holder of a pass that `verify` has taken, as the cell holds it; None: not certain, ask Lua."""
        said = affiliation_in(token)
        if said is None:
            return None
        unchanged_since_ms = self._changed_at_ms.get(said.member_id, self._known_since_ms)
        # The clock of the process that made the pass may be ahead of Redis' clock.
        return said.org_id if (said.made_at_s - CLOCKS_APART_S) * 1000 > unchanged_since_ms else None
