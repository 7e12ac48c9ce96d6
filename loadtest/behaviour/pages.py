"""The table "Server truth" in locust's web page, its HTML report and its CSV files."""

import html
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, request
from locust.runners import STATE_RUNNING
from locust.web import WebUI

from loadtest.verifier.verdict import as_csv

TAB = "server-truth"
TITLE = "Server truth"
COLUMNS = (("what", "What"), ("clients", "By the clients"), ("service", "By the service"))

Rows = Iterable[tuple[str, str, str]]


def add_to(web_ui: WebUI, rows: Callable[[], Rows], busy: Callable[[], bool], settle: Callable[[], None]) -> None:
    """Add a tab to locust's page, and the same table as a page and a file of its own.

    Args:
        web_ui: locust's.
        rows: asked at every look.
        busy: whether there will be more to see without a run being started.
        settle: waits until a run that is over is judged.
    """
    web_ui.template_args["extended_tabs"] = [{"title": TITLE, "key": TAB}]
    web_ui.template_args["extended_tables"] = [
        {"key": TAB, "structure": [{"key": key, "title": title} for key, title in COLUMNS]}
    ]
    web_ui.template_args["extended_csv_files"] = [{"href": "./server-truth/csv", "title": f"Download {TITLE.lower()} CSV"}]
    assert web_ui.app is not None
    pages = Blueprint("server_truth", __name__)

    @pages.route("/server-truth")
    def page() -> str:
        return page_of(rows())

    @pages.route("/server-truth/csv")
    def file() -> Response:
        headers = {"Content-Disposition": "attachment; filename=server-truth.csv"}
        return Response(as_csv(rows()), mimetype="text/csv", headers=headers)

    def wait_for_the_verdict() -> None:
        if request.path.endswith("/swarm"):
            settle()

    def add_to_answers(response: Response) -> Response:
        if request.path.endswith("/stats/requests") and response.is_json:
            still_busy = busy()  # before the rows are read: the verdict may come in between
            data = [dict(zip(("what", "clients", "service"), row, strict=True)) for row in rows()]
            document: dict[str, Any] = {**(response.json or {}), "extended_stats": [{"key": TAB, "data": data}]}
            # The page asks for as long as it is told that a run goes on, and never again: not before the verdict is shown.
            if still_busy:
                document["state"] = STATE_RUNNING
            response.set_data(json.dumps(document))
        elif request.path.endswith("/stats/report") and response.mimetype == "text/html":
            response.set_data(_with_table(response.get_data(as_text=True), rows()))
        return response

    web_ui.app.register_blueprint(pages)
    web_ui.app.before_request(wait_for_the_verdict)
    web_ui.app.after_request(add_to_answers)


def page_of(rows: Rows) -> str:
    """A page that looks again every few seconds."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="3">'
        f"<title>{TITLE}</title><style>body {{ font-family: sans-serif }} td, th {{ padding: 2px 12px; text-align: right }}"
        f" td:first-child {{ text-align: left }}</style></head><body>{table_of(rows)}</body></html>"
    )


def table_of(rows: Rows) -> str:
    """The table as HTML."""
    head = "".join(f"<th>{html.escape(title)}</th>" for _, title in COLUMNS)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<h2>{TITLE}</h2><table id="{TAB}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def add_to_report(path: Path, rows: Rows) -> None:
    """Add the table to an HTML report that locust has written."""
    path.write_text(_with_table(path.read_text(encoding="utf-8"), rows), encoding="utf-8")


def _with_table(report: str, rows: Rows) -> str:
    section = f'<section style="font-family: sans-serif; margin: 2em">{table_of(rows)}</section>'
    before, body, after = report.rpartition("</body>")
    return f"{before}{section}{body}{after}" if body else report + section
