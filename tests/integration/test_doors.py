"""The service starts in every way that users have: script of a checkout, script of an installed wheel, module.

Each is a small environment of its own that sees the packages of ours, so that nothing but the door differs.
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import httpx
import pytest

from grab_service.cell.rights import Login
from grab_service.embedded import bootstrap
from grab_service.embedded.ports import free_port
from tests.harness.backend import backend
from tests.harness.command_line import SECRET, command_line_as
from tests.harness.warm_commands import CHECKOUT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("doors")]  # the wheel is built once

PATIENCE_S = 60.0


def environment(home: Path) -> Path:
    """An environment without our own project; the Python in it."""
    python = home / "bin" / "python"
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", home], check=True)
    (site,) = home.glob("lib/python3*/site-packages")
    (site / "packages_of_ours.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that the wheel is installed into; the Python in it."""
    home = tmp_path_factory.mktemp("with-the-wheel")
    python = environment(home)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(home / "dist")]
    subprocess.run(build, cwd=CHECKOUT, check=True, capture_output=True)
    (built,) = (home / "dist").glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index", str(built)]
    subprocess.run(pip, check=True, env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    return python


async def test_the_script_of_a_checkout_serves(tmp_path: Path, valkey_url: str, database_url: str, cell_name: str) -> None:
    python = environment(tmp_path / "an environment")
    bootstrap._point_to_checkout(python.parents[1], python)
    await serves_until_told_to_stop((str(python.with_name("grab")),), tmp_path, valkey_url, database_url, cell_name)


@pytest.mark.parametrize("door", ["script", "module"])
async def test_an_installed_wheel_serves(
    tmp_path: Path, valkey_url: str, database_url: str, cell_name: str, wheel: Path, door: str
) -> None:
    argv = (str(wheel.with_name("grab")),) if door == "script" else (str(wheel), "-m", "grab_service.cli.main")
    await serves_until_told_to_stop(argv, tmp_path, valkey_url, database_url, cell_name)


async def serves_until_told_to_stop(
    argv: tuple[str, ...], home: Path, valkey_url: str, database_url: str, cell_name: str
) -> None:
    async with backend(valkey_url, database_url, cell_name) as built:
        await built.begin()
        await built.arm()  # a service opens its door at once where the cell is open
    port = free_port()
    given = {"GRAB_SECRETS": SECRET, "GRAB_DRAIN_S": "0"}
    async with command_line_as(Login.API, valkey_url, database_url, cell_name, home, **given) as shell:
        env = {name: value for name, value in shell.env.items() if name != "PYTHONPATH"}
        process = await asyncio.create_subprocess_exec(
            *argv,
            "serve",
            "--port",
            str(port),
            cwd=home,
            env=env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(PATIENCE_S):
                while process.returncode is None:
                    try:
                        answer = await client.get(f"http://127.0.0.1:{port}/livez")
                        break
                    except httpx.TransportError:
                        await asyncio.sleep(0.1)
                else:
                    said, _ = await process.communicate()
                    pytest.fail(f"it ended with status {process.returncode}: {said.decode()[-1500:]}")
                assert answer.status_code == 200
                # The files that the page loads are installed.
                page = await client.get(f"http://127.0.0.1:{port}/docs")
                for part in re.findall(r'"(docs/[^"]+)"', page.text):
                    assert (await client.get(f"http://127.0.0.1:{port}/{part}")).status_code == 200, part
            process.send_signal(signal.SIGTERM)
            said, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, said.decode()
