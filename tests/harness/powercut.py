"""The part of Valkey's log that a power cut would leave now.

A killed process leaves what it wrote in the page cache, so kill -9 says nothing about durability. Here a small library is
loaded into Valkey that notes how much of each file was synced; after the kill, the rest is cut off.
"""

import shutil
import struct
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("fsync_shim.c")
NO_COMPILER: Final = "no C compiler (cc) to build tests/harness/fsync_shim.c: `make faults` installs one where it may"

_LENGTH: Final = struct.Struct("=q")


@cache
def compiler() -> str | None:
    """The C compiler of this machine, if it has one."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def build_shim(folder: Path) -> Path:
    """Compile the library into `folder`.

    Raises:
        RuntimeError: it cannot be compiled.
    """
    path = folder / "fsync_shim.so"
    command = compiler()
    if command is None:
        raise RuntimeError(NO_COMPILER)
    made = subprocess.run(
        [command, "-shared", "-fPIC", "-O2", "-o", str(path), str(SOURCE), "-ldl"], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        raise RuntimeError(f"{command} cannot build {SOURCE}: {made.stderr}")
    return path


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk under one Valkey, as the library sees it: the synced lengths, and the behaviour of the next syncs."""

    shim: Path
    notes: Path

    @property
    def env(self) -> dict[str, str]:
        """The environment that Valkey has to be started with."""
        self.notes.mkdir(parents=True, exist_ok=True)
        return {"LD_PRELOAD": str(self.shim), "FSYNC_SHIM_DIR": str(self.notes)}

    def behave(self, *, delay_ms: int = 0, fail: bool = False) -> None:
        """Set the behaviour of syncs from now on."""
        new = self.notes / "control.new"
        new.write_text(f"{delay_ms} {int(fail)}\n", encoding="ascii")
        new.replace(self.notes / "control")

    def synced_bytes(self, file: Path) -> int:
        """The synced length of a file."""
        noted = self.notes / f"{file.name}.synced"
        return int(_LENGTH.unpack(noted.read_bytes())[0]) if noted.exists() else 0

    def cut(self, data_dir: Path) -> int:
        """Throw away what was written to the logs under `data_dir` and never synced; how many bytes that was.

        Call it when Valkey is dead. Base files are left: they get their name only after they were synced.
        """
        lost = 0
        for file in data_dir.glob("appendonlydir/*.incr.aof"):
            size, synced = file.stat().st_size, self.synced_bytes(file)
            if synced < size:
                with file.open("r+b") as log:
                    log.truncate(synced)
                lost += size - synced
        return lost
