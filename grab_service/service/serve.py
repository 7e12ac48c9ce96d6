"""Serving: uvicorn, one or several worker processes, the grab lane in front of FastAPI."""

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Final

import structlog
import uvicorn

from grab_service.logs import configure_logs
from grab_service.server.lane import ASGIApp
from grab_service.server.listener import listen
from grab_service.server.opening import Opening
from grab_service.server.probes import MULTIPROCESS
from grab_service.server.protocol import GrabProtocol
from grab_service.server.standing_headers import standing_headers
from grab_service.server.supervisor import Supervisor
from grab_service.server.worker import Worker
from grab_service.service.app import build_app
from grab_service.settings import Settings

GRACE_S: Final = 8
"""Least time of a worker that ends to answer open requests, after the drain time."""

PAST_DEADLINE_S: Final = 1
"""Grabs that wait for their record are answered at their deadline, which comes before the end."""

FILES_KEPT: Final = 256
"""Files that a worker needs for everything but its connections."""

log = structlog.get_logger()


def application(opening: Opening | None = None) -> ASGIApp:
    """What one worker serves; called in each worker process."""
    settings = Settings()
    configure_logs()
    worker = Worker.build(within_open_files(settings), opening)
    return worker.lane(build_app(worker))


def within_open_files(settings: Settings) -> Settings:
    """The same, with no more connections than this process may open: one that is turned away is accepted to be told so."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = max(1, soft - FILES_KEPT)
    if soft == resource.RLIM_INFINITY or settings.connections_max <= possible:
        return settings
    log.warning("connections_limited", wanted=settings.connections_max, possible=possible, open_files=soft)
    return settings.model_copy(update={"connections_max": possible})


def serve(settings: Settings) -> None:
    """Serve until asked to stop. Every worker reads the settings from the environment again."""
    configure_logs()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:  # a connection is a file
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if not settings.pass_keys().ops_hmacs:
        log.warning("ops_calls_refused", why="GRAB_OPS_SECRETS is not set")
    config = configured(settings, "grab_service.service.serve:application")
    with counting_together(settings.workers):
        status = Supervisor(config, listen(config, settings.probes_port), leave_s=_leave_s(settings)).run()
    if status:
        sys.exit(status)


@contextmanager
def counting_together(workers: int) -> Iterator[None]:
    """Give several workers a place to count together, unless the environment names one."""
    if workers == 1 or MULTIPROCESS in os.environ:
        yield
        return
    with TemporaryDirectory(prefix="grab-figures-") as folder:
        os.environ[MULTIPROCESS] = folder
        try:
            yield
        finally:
            del os.environ[MULTIPROCESS]


def _leave_s(settings: Settings) -> float:
    return settings.drain_s + max(GRACE_S, settings.grab_deadline_s + PAST_DEADLINE_S)


def configured(settings: Settings, application: ASGIApp | str) -> uvicorn.Config:
    """The configuration of uvicorn for the application, or for the product of the factory of this name."""
    return uvicorn.Config(
        application,
        factory=isinstance(application, str),
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop",
        http=GrabProtocol,
        ws="none",
        lifespan="on",
        backlog=settings.backlog,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=round(_leave_s(settings)),
        access_log=False,
        server_header=False,
        headers=standing_headers(settings),
        proxy_headers=False,  # nobody is known by their address, and the middleware costs a tenth of a grab
        log_level="error",  # a warning for every request that is none is a way to fill the log
    )
