"""Names the images of the compose file and the Dockerfile by digest, as the registry has them now: `make pin-images`.

A tag is moved, a digest is not: a build next year is the one that was tried. It needs a container engine; where there is none,
or only a client that cannot ask a registry, nothing is changed, and that is said.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

FILES: Final = ("docker-compose.yml", "deploy/Dockerfile")
"""In the checkout, from which `make` starts this."""

TIMEOUT_S: Final = 120
# An image that is built here has no digest before, and the second stage of a build is named by the first.
_IMAGE: Final = re.compile(
    r"^(?P<before>\s*image: |FROM )(?P<name>(?!grab-service)[\w./-]+:[\w.-]+)(?:@sha256:[0-9a-f]{64})?(?P<after>.*)$",
    re.MULTILINE,
)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_ASK: Final = {
    "docker": ("buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}"),
    "podman": ("image", "inspect", "--format", "{{.Digest}}"),
}
# Commands that succeed where the engine can be asked. Docker's client may be there without buildx, podman without its storage.
_ABLE: Final = {"docker": ("buildx", "version"), "podman": ("info",)}


def pinned(text: str, digest_of: Callable[[str], str]) -> str:
    """The text with each image named by tag and digest."""
    return _IMAGE.sub(lambda found: f"{found['before']}{found['name']}@{digest_of(found['name'])}{found['after']}", text)


def ask_engine(engine: str, name: str) -> str:
    """The digest that the registry has for a name.

    Raises:
        SystemExit: the engine does not tell.
    """
    if engine == "podman":
        subprocess.run([engine, "pull", "--quiet", name], check=False, timeout=TIMEOUT_S, stdout=subprocess.DEVNULL)
    said = subprocess.run([engine, *_ASK[engine], name], capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    found = _DIGEST.search(said.stdout)
    if found is None:
        sys.exit(f"{engine} tells no digest of {name}: {(said.stderr or said.stdout).strip()[:300]}\nNothing was changed.")
    return found[0]


def find_engine() -> str:
    """The first engine that can be asked.

    Raises:
        SystemExit: there is none; what is there, and what it says, is told.
    """
    told = []
    for engine, words in _ABLE.items():
        if shutil.which(engine) is None:
            told.append(f"{engine} is not installed")
            continue
        said = subprocess.run([engine, *words], capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
        if said.returncode == 0:
            return engine
        last = (said.stderr or said.stdout).strip().partition("\n")[0]
        told.append(f"`{engine} {' '.join(words)}` fails: {last[:200]}")
    sys.exit(
        f"There is no container engine here that can be asked for digests ({'; '.join(told)}). The images keep their tags."
    )


def main() -> None:
    """Pin all images, or say why not."""
    engine = find_engine()
    known: dict[str, str] = {}

    def digest_of(name: str) -> str:
        known[name] = known.get(name) or ask_engine(engine, name)
        return known[name]

    texts = {path: pinned(path.read_text(encoding="utf-8"), digest_of) for path in map(Path, FILES)}
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    for name, digest in known.items():
        sys.stdout.write(f"{name}@{digest}\n")


if __name__ == "__main__":
    main()
