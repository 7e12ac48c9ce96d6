"""The appliers: the change of each event of the log in Postgres. One file an event; a new event needs a line here, too.

An applier runs in the transaction that moves the cursor, in the order of the log. None: the event changes no row but claims:
`reconcile/drain/rows.py` writes those of many entries in one COPY.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from grab_service.vocabulary.events import (
    EVENTS,
    CodesLoaded,
    EpochBegan,
    Granted,
    MadeGood,
    MembersPublished,
    Published,
    Returned,
    StateSet,
    StockSet,
)
from reconcile.drain.appliers import epoch_began, made_good, published, returned, state_set, stock_set

Applier = Callable[[AsyncConnection, Any], Awaitable[None]]

APPLIERS: Final[Mapping[str, Applier | None]] = {
    Granted.TYPE: None,
    MadeGood.TYPE: made_good.apply,
    Published.TYPE: published.apply,
    StateSet.TYPE: state_set.apply,
    StockSet.TYPE: stock_set.apply,
    Returned.TYPE: returned.apply,
    CodesLoaded.TYPE: None,
    MembersPublished.TYPE: None,
    EpochBegan.TYPE: epoch_began.apply,
}
assert APPLIERS.keys() == EVENTS.keys(), "an event without an applier"
