"""One PostgreSQL for all workers of a run.

To make one and to bring its template to the newest tables takes as long as dozens of tests. The process that all workers
belong to starts it when the first of them asks, and ends it with the run; however that process ends, the server dies with it.
A worker gets a database of its own for every test, as it would on a server of its own.
"""

import asyncio
import logging
import shutil
import threading
import time
from pathlib import Path
from typing import Any, Final

import pytest
import structlog

from grab_service.embedded.postgres import PostgresServer
from grab_service.sql.grants import OWNER
from tests.harness.places import quick_dir

TEMPLATE: Final = "grab_template"
LOOK_S: Final = 0.05
START_TIMEOUT_S: Final = 180.0


def server_in(home: Path, port: int | None = None) -> PostgresServer:
    """The server whose data are there, for who starts it and for who only uses it."""
    return PostgresServer(home / "postgres", port=port, durable=False, database=TEMPLATE)


def fill_template(server: PostgresServer) -> None:
    """Make the tables of which every test gets a copy."""
    # Only those who ask for a database need the migrations to be importable.
    from reconcile.migrate import upgrade

    upgrade(server.url_as(OWNER, TEMPLATE))


def join(shared: Path) -> PostgresServer:
    """The server of the run, for one of its workers; waits until it is ready."""
    (shared / "wanted").touch()
    until_s = time.monotonic() + START_TIMEOUT_S
    while not (shared / "ready").exists():
        if (shared / "failed").exists():
            pytest.fail((shared / "failed").read_text(encoding="utf-8"), pytrace=False)
        assert time.monotonic() < until_s, "the run's PostgreSQL did not start in time"
        time.sleep(LOOK_S)
    return server_in(shared, int((shared / "postgres" / "port").read_text(encoding="ascii")))


class Host:
    """In the process that all workers belong to: the directory that they share, and the server in it."""

    def __init__(self) -> None:
        self._dir = quick_dir()
        self._end = threading.Event()
        # This process shows how the tests go, and nothing else.
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
        # A server dies with the thread that started it, so this one stays until the end.
        self._thread = threading.Thread(target=self._serve, name="postgres of the tests", daemon=True)
        self._thread.start()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a new worker where to ask."""
        node.workerinput["shared_dir"] = str(self._dir)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """The process that gives the workers their tests."""
        from tests.harness.schedule import InGroups  # where xdist is

        return InGroups(config, log, self._dir)

    def pytest_unconfigure(self) -> None:
        """End the server when all workers have ended."""
        self._end.set()
        self._thread.join()
        shutil.rmtree(self._dir, ignore_errors=True)

    def _serve(self) -> None:
        while not (self._dir / "wanted").exists():
            if self._end.wait(LOOK_S):
                return
        server = server_in(self._dir)
        try:
            asyncio.run(server.start())
            fill_template(server)
        except Exception as problem:  # noqa: BLE001 -- said by the worker that asked
            (self._dir / "failed").write_text(repr(problem), encoding="utf-8")
        else:
            (self._dir / "ready").touch()
        self._end.wait()
        asyncio.run(server.stop())


def pytest_configure(config: pytest.Config) -> None:
    """Be the host where there are workers, and this is none of them."""
    if not hasattr(config, "workerinput") and config.getoption("dist", "no") != "no":
        config.pluginmanager.register(Host(), "host-of-shared-servers")
