"""Service and ledger as children of one command, configured as on a machine of their own."""

import asyncio
import contextlib
import secrets
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import httpx

import grab_service
from grab_service.cell.rights import Login
from grab_service.embedded.child import Child, ChildSpec
from grab_service.embedded.ports import is_free, port_taken
from grab_service.embedded.stack import Addresses, Stack
from grab_service.embedded.steps import client_of
from grab_service.settings import SECRET_FIELDS, Settings, variable_of
from grab_service.sql.grants import OWNER

READY_TIMEOUT_S: Final = 90.0
POLL_S: Final = 0.05
MODULE: Final = "grab_service.cli.main"
STOPS: Final = ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0))


def grab() -> tuple[str, ...]:
    """The command by which users start `grab`: the script beside the Python that runs; the module where there is no script."""
    script = Path(sys.executable).with_name("grab")
    with contextlib.suppress(OSError):
        said = script.read_text(encoding="utf-8", errors="replace")
        if MODULE in said and "__main__" in said:  # not another program of that name, nor one whose workers would run it again
            return (str(script),)
    return (sys.executable, "-m", MODULE)


def remembered_secret(var_dir: Path, kind: str) -> str:
    """The secret that signs passes, or tokens of ops, made at the first run and kept readable for its owner alone."""
    path = var_dir / f"{kind}-secret"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32), encoding="ascii")
    return path.read_text(encoding="ascii").strip()


class Program:
    """`grab` with these arguments as a child process; its log is `<var>/logs/<name>.log`."""

    def __init__(self, name: str, arguments: tuple[str, ...], var_dir: Path, env: Mapping[str, str]) -> None:
        home = var_dir / "run" / name
        home.mkdir(parents=True, exist_ok=True)
        (var_dir / "logs").mkdir(parents=True, exist_ok=True)
        checkout = str(Path(grab_service.__file__).parents[1])
        self._child = Child(
            ChildSpec(
                name=name,
                argv=(*grab(), *arguments),
                data_dir=home,
                log_path=var_dir / "logs" / f"{name}.log",
                pid_path=home / "pid",
                stops=STOPS,
                death_signal=signal.SIGTERM,
                env={"PYTHONPATH": checkout, **env},
            )
        )

    @property
    def name(self) -> str:
        return self._child.spec.name

    @property
    def log_path(self) -> Path:
        return self._child.spec.log_path

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def exit_status(self) -> int | None:
        """As the system reports it, negative for a signal; None while it runs."""
        return self._child.exit_status

    @property
    def running(self) -> bool:
        return self._child.running

    async def start(self) -> None:
        """Start it, after an earlier one that is still alive has been ended."""
        await self._child.settle_previous()
        self._child.start()

    async def stop(self) -> None:
        """End it, kindly first."""
        await self._child.stop()

    async def kill(self) -> None:
        """End it as a crash would."""
        await self._child.kill()

    def said(self) -> str:
        """The end of its log."""
        return self._child.said()

    def not_started(self, why: str) -> Exception:
        """The error for a start that failed."""
        return self._child.not_started(why)


def environment_of(settings: Settings, addresses: Addresses) -> dict[str, str]:
    """The settings as the environment that a child reads them from, with the addresses of its own and no others."""
    loading = {} if settings.loading_file is None else {"GRAB_LOADING_FILE": str(settings.loading_file)}
    secrets, ops_secrets = (
        ",".join(f"{kid}:{secret.get_secret_value()}" for kid, secret in keys.items())
        for keys in (settings.secrets, settings.ops_secrets)
    )
    given = {
        "REDIS_URL": addresses.redis_url,
        "DATABASE_URL": addresses.database_url,
        "GRAB_GUARD_REDIS_URL": addresses.guard_redis_url,
        "GRAB_CELL": settings.cell,
        "GRAB_SECRETS": secrets,
        "GRAB_OPS_SECRETS": ops_secrets,
        "GRAB_DEV": "1" if settings.dev else "0",
        "GRAB_HOST": settings.host,
        "GRAB_PORT": str(settings.port),
        "GRAB_WORKERS": str(settings.workers),
        "GRAB_DURABILITY": settings.durability.value,
        "GRAB_SIGNING_KEYS_FILE": "" if settings.signing_keys_file is None else str(settings.signing_keys_file.absolute()),
        "GRAB_REPLICAS_MIN": str(settings.replicas_min),
        **loading,
    }
    # A value from a file is handed on as a variable, and a child takes only one of the two.
    return given | {f"{name}_FILE": "" for name in map(variable_of, ((field,) for field in SECRET_FIELDS)) if name in given}


def environments_of(settings: Settings, stack: Stack) -> dict[str, dict[str, str]]:
    """The environment of each who works with these servers: the API, the ledger, and whom the tables belong to."""
    api, ledger = (environment_of(settings, stack.addresses_of(one)) for one in (Login.API, Login.LEDGER))
    return {Login.API: api, Login.LEDGER: ledger, OWNER: ledger | {"DATABASE_URL": stack.migration_url}}


class Programs:
    """The API and the ledger, each as its own user: `async with Programs(settings, stack, var_dir) as programs: …`."""

    def __init__(self, settings: Settings, stack: Stack, var_dir: Path) -> None:
        self._settings = settings
        environments = environments_of(settings, stack)
        self.api = Program("api", ("serve",), var_dir, environments[Login.API])
        self.ledger = Program("ledger", ("reconcile",), var_dir, environments[Login.LEDGER])
        self.url = f"http://{settings.host}:{settings.port}"

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start both and wait until the service says that it is ready.

        Raises:
            ServerError: the port is taken, or one of them does not come up.
        """
        if not is_free(self._settings.port):
            raise port_taken("the service", self._settings.port)
        await self.ledger.start()
        await self.api.start()
        await self.wait_ready("aof_policy", "data")

    async def stop(self) -> None:
        """End both; the ledger last, so that it drains what the service still granted."""
        for program in (self.api, self.ledger):
            if program.running:
                await program.stop()

    async def wait_ready(self, *excluded: str) -> None:
        """Wait until `/readyz` answers 200, these checks left out.

        Raises:
            ServerError: one of both ended, or it takes too long.
        """
        said = "nothing"
        async with client_of(self.url, timeout_s=2) as client, asyncio.timeout(READY_TIMEOUT_S):
            try:
                while True:
                    for program in (self.ledger, self.api):
                        if not program.running:
                            raise program.not_started("ended at once")
                    try:
                        answer = await client.get("/readyz", params={"exclude": excluded})
                    except httpx.TransportError as error:
                        said = repr(error)
                    else:
                        if answer.status_code == 200:
                            return
                        said = answer.text
                    await asyncio.sleep(POLL_S)
            except asyncio.CancelledError:
                raise self.api.not_started(f"is not ready after {READY_TIMEOUT_S:.0f} s; /readyz says {said}") from None
