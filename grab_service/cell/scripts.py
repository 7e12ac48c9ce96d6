"""Which scripts make up the rules of this release, and under which SHA does Redis know them?

Redis forgets its scripts when it restarts and when another replica takes over: that is the trip-wire. So nobody but the guard
loads them, and a fresh nonce is baked into each at every arming, which gives them other SHAs than in any life before.
"""

import hashlib
import secrets
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

NONCE_MARK: Final = "@nonce@"
GRAB: Final = "grab"


@dataclass(frozen=True, slots=True)
class ScriptSources:
    """The Lua files of this release by name, without `.lua`; `digest` tells releases apart."""

    by_name: dict[str, str]
    digest: str

    @classmethod
    def read(cls) -> "ScriptSources":
        """Read the files shipped in the package, or the checkout's `lua/` when run from there."""
        packaged = files("grab_service") / "lua"
        folder = packaged if packaged.is_dir() else Path(__file__).parents[2] / "lua"
        by_name = {
            entry.name.removesuffix(".lua"): entry.read_text(encoding="utf-8")
            for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
            if entry.name.endswith(".lua")
        }
        assert GRAB in by_name, f"no scripts in {folder}"
        assert all(source.count(NONCE_MARK) == 1 for source in by_name.values()), "a script without its nonce"
        whole = hashlib.sha256("\0".join(f"{name}\0{source}" for name, source in by_name.items()).encode())
        return cls(by_name, whole.hexdigest()[:12])

    def bake(self, nonce: str) -> dict[str, str]:
        """The sources with the nonce in them, in the order in which to load them: the grab comes last."""
        names = sorted(self.by_name, key=lambda name: (name == GRAB, name))
        return {name: self.by_name[name].replace(NONCE_MARK, nonce) for name in names}

    def table_field(self, name: str) -> str:
        """The field of the cell's table of scripts that holds the SHA of a script of this release."""
        return f"{self.digest}:{name}"


def new_nonce() -> str:
    """A nonce never used before, for one arming."""
    return secrets.token_hex(8)


def sha_of(source: str) -> str:
    """The name Redis gives to a script."""
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
