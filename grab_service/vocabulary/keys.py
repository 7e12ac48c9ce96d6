"""The keys of a cell in Redis.

Every key of a cell carries the same hash tag, so that one script may touch any of them on a single Redis and on a cluster.
The header of each Lua command says what its keys hold.
"""

from dataclasses import dataclass
from typing import Final

DEFAULT_CELL: Final = "district"


@dataclass(frozen=True, slots=True)
class CampaignKeys:
    """The keys of one campaign: its facts and counters, who holds what, what came back, the pool of codes."""

    campaign: str
    claims: str
    bindings: str
    free: str
    returns: str
    codes: str


@dataclass(frozen=True, slots=True)
class CellKeys:
    """The keys of one cell, `grab:{<cell>}:…`."""

    cell: str
    log: str
    members: str
    campaigns: str
    scripts: str
    server: str
    hold: str
    counts: str
    workers: str
    prefix: str

    @classmethod
    def of(cls, name: str) -> "CellKeys":
        """The keys of the cell of this name (letters, digits, `-` and `_`)."""
        assert name.replace("-", "").replace("_", "").isalnum(), f"not a cell name: {name!r}"
        prefix = f"grab:{{{name}}}:"
        return cls(
            cell=prefix + "cell",
            log=prefix + "log",
            members=prefix + "members",
            campaigns=prefix + "campaigns",
            scripts=prefix + "scripts",
            server=prefix + "server",
            hold=prefix + "hold",
            counts=prefix + "counts",
            workers=prefix + "workers",
            prefix=prefix,
        )

    def of_campaign(self, campaign_id: str) -> CampaignKeys:
        """The keys of one campaign of this cell."""
        base = f"{self.prefix}campaign:{campaign_id}"
        return CampaignKeys(
            campaign=base,
            claims=base + ":claims",
            bindings=base + ":bindings",
            free=base + ":free",
            returns=base + ":returns",
            codes=base + ":codes",
        )
