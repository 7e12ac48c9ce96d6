"""The machine of a measurement, and what else runs on it."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from grab_service.embedded.binaries import dotted, find_valkey


def describe() -> dict[str, Any]:
    """Facts that a reader needs to place the figures: processor, cores, memory, versions, and load beforehand."""
    valkey = find_valkey()
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 1024**3, 1),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "uvicorn": version("uvicorn"),
        valkey.kind: dotted(valkey.version),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def busy_share(seconds: float = 1.0) -> float:
    """The share of all processors in use, over so long; 0 to 1."""
    return float(psutil.cpu_percent(interval=seconds)) / 100
