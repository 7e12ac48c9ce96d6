"""How is the service served? uvicorn, one or several worker processes, the grab lane in front of FastAPI."""

import os
import resource
import signal
import sys

import uvicorn

from grab_service.api.app import build_app
from grab_service.api.process import Worker
from grab_service.grabpath.lane import ASGIApp, GrabLane
from grab_service.grabpath.protocol import GrabProtocol
from grab_service.logs import configure_logs
from grab_service.servers.launch import die_with
from grab_service.settings import Settings

GRACE_S = 10


def application() -> ASGIApp:
    """What one worker serves; uvicorn calls it in each worker process."""
    settings = Settings()
    configure_logs()
    if settings.workers > 1 and sys.platform == "linux":
        # uvicorn's supervisor ends its workers when it is asked to; if it is killed, the kernel does.
        die_with(os.getppid(), signal.SIGTERM)
    worker = Worker.build(settings)
    return GrabLane(build_app(worker), worker.path, worker.view.now_ms, worker.connections)


def serve(settings: Settings) -> None:
    """Serve until asked to stop. Every worker reads the settings from the environment again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:  # a connection is a file
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvicorn.run(
        "grab_service.api.serve:application",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop",
        http=GrabProtocol if settings.fast_lane else "httptools",
        ws="none",
        lifespan="on",
        backlog=settings.backlog,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=GRACE_S,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody is known by their address, and the middleware costs a tenth of a grab
        log_level="warning",
    )
