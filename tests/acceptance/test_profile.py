"""`make profile` draws its pictures, and names the remedy where it may not."""

import asyncio
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from bench.flames import Flames
from bench.sampler import MEND, SamplerError, SamplingForbiddenError, flame_graph

pytestmark = pytest.mark.slow


@pytest.mark.alone  # everybody wins only if the process that is sampled keeps up
async def test_a_profile_of_a_small_rush_shows_the_grab_path_and_the_drain(tmp_path: Path) -> None:
    await _or_skip(tmp_path)
    command = (
        *(sys.executable, "-m", "bench.profiles", "--members", "3000", "--seconds", "0.5"),
        *("--pictures", str(tmp_path / "profile"), "--results", str(tmp_path / "bench")),
    )
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    found = orjson.loads((tmp_path / "bench" / "profile.json").read_bytes())["details"]
    assert set(found) == {"service-rush", "service-wins", "ledger-wins"}
    assert found["service-wins"]["won"] == found["service-wins"]["answers"]
    for name in found:
        picture = (tmp_path / "profile" / f"{name}.svg").read_text(encoding="utf-8")
        assert found[name]["title"] in picture
        assert str(tmp_path) not in picture, "it may be shown to others"
        files = {frame.file for stack, _ in Flames.read(tmp_path / "profile" / f"{name}.svg").stacks for frame in stack}
        assert ("reconcile/drain/drain.py" if name == "ledger-wins" else "grab_service/server/protocol.py") in files


async def test_a_process_that_is_gone_is_said(tmp_path: Path) -> None:
    gone = await asyncio.create_subprocess_exec("true")
    await gone.wait()
    with pytest.raises(SamplerError):
        async with flame_graph(gone.pid, tmp_path / "nothing.svg", "nothing"):
            pytest.fail("there is nothing to sample")


async def _or_skip(tmp_path: Path) -> None:
    """Where one process may not look into another there is nothing to try."""
    busy = await asyncio.create_subprocess_exec(sys.executable, "-c", "while True: pass")
    try:
        async with flame_graph(busy.pid, tmp_path / "busy.svg", "busy"):
            await asyncio.sleep(0.3)
    except SamplingForbiddenError:
        pytest.skip(MEND)
    finally:
        busy.kill()
        await busy.wait()
