"""All problems of callers, in both languages.

Problem details after RFC 9457. Every slug has one status, a title, a sentence for the member, a page for people (at its
`type`) and, where repeating helps, a time to wait. No answer of the service uses a slug that is not listed here.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from grab_service.problems.language import Language, choose_language
from grab_service.problems.of_grabs import OF_GRABS
from grab_service.problems.of_ops import OF_OPS
from grab_service.problems.of_requests import OF_REQUESTS
from grab_service.problems.problem import Problem, Text, Variant

__all__ = ["CATALOGUE", "RESERVED", "Language", "Problem", "Text", "Variant", "body", "choose_language"]

CATALOGUE: Mapping[str, Problem] = MappingProxyType({problem.slug: problem for problem in (*OF_REQUESTS, *OF_GRABS, *OF_OPS)})
assert len(CATALOGUE) == len(OF_REQUESTS) + len(OF_GRABS) + len(OF_OPS), "a slug stands twice"

RESERVED = frozenset({"type", "title", "status", "detail", "code"})


def body(slug: str, lang: str, /, **extra: object) -> dict[str, Any]:
    """The body of a problem answer, ready to be written as JSON.

    Args:
        slug: one of the catalogue.
        lang: `zh` or `en`; anything else is Chinese.
        extra: members that come after the fixed ones; a detail sentence may name them. None is written as null.

    Raises:
        KeyError: the catalogue has no such slug; a bug of the caller.
        ValueError: an extra member would replace a fixed one; a bug of the caller.
    """
    problem = CATALOGUE[slug]
    if not RESERVED.isdisjoint(extra):
        raise ValueError(f"a problem's own members cannot be replaced: {sorted(RESERVED & extra.keys())}")
    return {
        "type": problem.type,
        "title": problem.title.in_language(lang),
        "status": problem.status,
        "detail": problem.detail_for(lang, extra),
        "code": problem.slug,
        **extra,
    }
