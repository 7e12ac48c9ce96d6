"""The programs under tools/, loaded from their files as nobody imports them."""

import importlib.util
from pathlib import Path
from types import ModuleType


def verify_chain() -> ModuleType:
    """The verifier of the chain."""
    path = Path(__file__).parents[2] / "tools" / "verify_chain.py"
    spec = importlib.util.spec_from_file_location("verify_chain", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
