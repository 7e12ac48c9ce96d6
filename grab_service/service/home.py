"""The landing page at `/`: the name of the service, and links."""

from html import escape
from typing import Final

from fastapi import APIRouter, Request, Response

from grab_service import __version__
from grab_service.http.answers import json_answer
from grab_service.http.contract import answers
from grab_service.http.dependencies import TheLanguage
from grab_service.http.problem_pages import HTML, html_page
from grab_service.http.shapes import Signpost
from grab_service.problems import Text

router = APIRouter(tags=["machines"])

_LEAD: Final = Text(
    "工会会员限量福利的抢领引擎。这里是给程序调用的接口。",
    "An engine for the minute in which everybody taps at once. This is its interface for programs.",
)
_WAYS: Final = (
    ("docs", "/docs", Text("接口说明，可以试用", "the calls, to try out")),
    ("openapi", "/openapi.json", Text("接口说明，给程序用", "the calls, for programs")),
    ("ready", "/readyz", Text("现在能否工作", "whether it can do its work now")),
    ("problems", "/problems", Text("全部问题", "all problems")),
)


@router.get("/", summary="What is this?", response_model=Signpost, responses=answers(ok=HTML))
async def home(request: Request, language: TheLanguage) -> Response:
    """A page for browsers, JSON for programs."""
    if "text/html" in request.headers.get("accept", ""):
        ways = "".join(
            f'<li><a href="{path}"><code>{path}</code></a> {escape(text.in_language(language))}</li>' for _, path, text in _WAYS
        )
        lead = f'<p class="lead">{escape(_LEAD.in_language(language))}</p>'
        response = html_page("grab-service", f"<h1>grab-service</h1>{lead}<ul>{ways}</ul>", language)
    else:
        ways_by_name = {name: path for name, path, _ in _WAYS}
        response = json_answer({"name": "grab-service", "version": __version__, **ways_by_name})
    response.headers["vary"] = "Accept, Accept-Language"
    return response
