"""The page behind the `type` of a problem."""

from html import escape
from typing import Final

from fastapi import APIRouter, Response

from grab_service import problems
from grab_service.http.contract import Responses, answers
from grab_service.http.dependencies import TheLanguage
from grab_service.problems import Language, Problem, Text
from grab_service.refusal import RefusalError

router = APIRouter(tags=["members"])

_STATUS: Final = Text("状态码", "Status")
_AGAIN: Final = Text("可以稍后自动重试，等待 {seconds} 秒。", "A client may repeat the request after {seconds} s.")
_ALL: Final = Text("全部问题", "All problems")
_STYLE: Final = (
    "body{font:1rem/1.6 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}"
    "h1{font-size:1.6rem;line-height:1.25}code{font-size:.95em}a{color:#0b57a4}.lead{font-size:1.1rem}.fine{color:#555}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}a{color:#8ec5ff}.fine{color:#bbb}}"
)
_HEADERS: Final = {
    "cache-control": "public, max-age=300",
    "vary": "Accept-Language",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
}


def html_page(title: str, main: str, language: Language) -> Response:
    """A small page of our own."""
    html = (
        f'<!doctype html><html lang="{"zh-CN" if language == "zh" else "en"}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>{main}</main></body></html>"
    )
    return Response(html, headers={**_HEADERS, "content-language": language}, media_type="text/html")


def problem_page(problem: Problem, language: Language) -> Response:
    """The page of one problem."""
    title = problem.title.in_language(language)
    again = ""
    if problem.retry_after_s is not None:
        again = f"<p>{escape(_AGAIN.in_language(language).format(seconds=problem.retry_after_s))}</p>"
    main = (
        f"<h1>{escape(title)}</h1>"
        f'<p class="lead">{escape(problem.detail.in_language(language))}</p>'
        f"<p>{escape(problem.explanation.in_language(language))}</p>{again}"
        f'<p class="fine"><code>{escape(problem.slug)}</code> · {escape(_STATUS.in_language(language))} {problem.status}'
        f' · <a href="/problems">{escape(_ALL.in_language(language))}</a></p>'
    )
    return html_page(title, main, language)


def index_page(language: Language) -> Response:
    """The list of all problems."""
    title = _ALL.in_language(language)
    entries = "".join(
        f'<li><a href="{escape(problem.type)}">{escape(problem.title.in_language(language))}</a>'
        f' <span class="fine"><code>{escape(problem.slug)}</code> {problem.status}</span></li>'
        for problem in problems.CATALOGUE.values()
    )
    return html_page(title, f"<h1>{escape(title)}</h1><ul>{entries}</ul>", language)


HTML: Final[Responses] = {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}


@router.get("/problems", summary="All problems, for people", response_class=Response, responses=answers(ok=HTML))
async def index(language: TheLanguage) -> Response:
    """In Chinese, or in English with `Accept-Language: en`."""
    return index_page(language)


@router.get(
    "/problems/{slug}",
    summary="A problem, for people",
    response_class=Response,
    responses=answers("not-found", ok=HTML),
)
async def page(slug: str, language: TheLanguage) -> Response:
    """The event, and the advice."""
    problem = problems.CATALOGUE.get(slug)
    if problem is None:
        raise RefusalError("not-found")
    return problem_page(problem, language)
