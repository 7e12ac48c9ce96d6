"""Guards of texts that come in, and of what answers carry to browsers and to spreadsheets."""

from functools import partial
from typing import Final

from tests.mutants.mutant import Mutant

_in_headers = partial(Mutant, "grab_service/server/standing_headers.py")
_in_csv = partial(Mutant, "grab_service/http/safe_csv.py")
_OF_HEADERS: Final = "tests/integration/test_headers.py::test_"
_EDGES: Final = "tests/integration/test_api_edges.py::test_"
_UNSEEN: Final = "tests/unit/test_invisible.py::test_"
_PARTS: Final = "tests/unit/test_api_parts.py::test_"

MUTANTS: Final = (
    Mutant(
        "grab_service/service/serve.py",
        "headers_do_not_stand",
        "every answer carries the headers that browsers heed",
        "none does",
        "        headers=standing_headers(settings),\n",
        "",
        (f"{_OF_HEADERS}every_answer_carries_the_headers_that_browsers_heed_and_none_twice",),
    ),
    Mutant(
        "grab_service/vocabulary/request_id.py",
        "any_request_id",
        "an id that a request brings is short and plain, or replaced",
        "it is taken as it is",
        "if brought is not None and _USABLE.fullmatch(brought):",
        "if brought is not None:",
        (f"{_OF_HEADERS}every_answer_of_a_call_that_is_no_grab_has_the_id_of_its_request",),
    ),
    Mutant(
        "grab_service/http/outermost.py",
        "lines_without_a_request",
        "the log lines of a call name its request",
        "they do not",
        "with bound_contextvars(request_id=request_id.decode()):",
        "with bound_contextvars():",
        (f"{_EDGES}a_fault_is_found_in_the_log_by_the_id_that_its_caller_was_given",),
    ),
    _in_headers(
        "may_be_framed",
        "no page of others may show an answer in a frame of its own",
        "any page may",
        '        ("content-security-policy", "frame-ancestors \'none\'"),\n',
        "",
        (f"{_OF_HEADERS}every_answer_carries_the_headers_that_browsers_heed_and_none_twice",),
    ),
    _in_headers(
        "https_always",
        "browsers are bound to HTTPS only where somebody has set it",
        "always",
        "    if settings.hsts_s:\n",
        "    if True:\n",
        (f"{_OF_HEADERS}https_alone_is_asked_for_only_where_it_is_set",),
    ),
    _in_csv(
        "formula_behind_a_semicolon",
        "no formula begins where a spreadsheet splits a cell at `;`",
        "only the beginning of a cell is looked at",
        r"(^|[;\t\r\n])",
        "(^)",
        (f"{_PARTS}a_formula_is_made_harmless",),
    ),
    _in_csv(
        "formula_in_wide_signs",
        "full-width signs begin a formula, too",
        "they do not",
        "＝＋－＠",  # what it is about
        "",
        (f"{_PARTS}a_formula_is_made_harmless",),
    ),
    _in_csv(
        "semicolon_unquoted",
        "a cell with `;` in it is quoted",
        "it is not",
        "r'[\",;",
        "r'[\",",
        ("tests/integration/test_ops_records.py::test_the_file_is_safe_to_open_in_a_spreadsheet",),
    ),
    Mutant(
        "grab_service/http/etags.py",
        "weakened_version",
        "a version that a proxy has made a weak tag of still names the same draft",
        "the sender hears that somebody else changed it",
        "    return matches_weakly(if_match, etag)\n",
        '    return if_match.strip() == "*" or etag in _listed(if_match)\n',
        (f"{_PARTS}if_match_wants_exactly_this_version_however_a_proxy_has_weakened_it",),
    ),
    Mutant(
        "grab_service/server/cors.py",
        "any_origin",
        "pages of the origins that are set are granted their calls, and no others",
        "every page is",
        'self._preflights.get(asked.get(b"origin")) if',
        "next(iter(self._preflights.values())) if",
        (f"{_OF_HEADERS}a_page_of_an_origin_that_is_set_is_granted_its_calls_before_it_makes_them",),
    ),
    Mutant(
        "grab_service/server/lane.py",
        "grab_of_a_page_is_plain",
        "a grab that names its origin is answered so that the page can read it",
        "it is answered below ASGI, as any other",
        'GrabReader(ordinary=(b"origin",) if self.cors else ())',
        "GrabReader()",
        (f"{_OF_HEADERS}a_page_of_an_origin_that_is_set_can_read_every_answer_also_refusals",),
    ),
    Mutant(
        "grab_service/server/protocol.py",
        "refusals_hidden_from_pages",
        "pages can read refusals that are given below ASGI",
        "a browser keeps them to itself",
        'self.lane.cors.of(answer.of_request(incoming.header(HEADER)), incoming.header(b"origin"))',
        "answer.of_request(incoming.header(HEADER))",
        (f"{_OF_HEADERS}a_page_of_an_origin_that_is_set_can_read_every_answer_also_refusals",),
    ),
    _in_headers(
        "one_for_all_origins",
        "caches are told that answers differ by origin",
        "one may give to a page what was said to another",
        "    if settings.allowed_origins:\n",
        "    if False:\n",
        (f"{_OF_HEADERS}a_page_of_an_origin_that_is_set_can_read_every_answer_also_refusals",),
    ),
    Mutant(
        "grab_service/settings.py",
        "origin_of_all",
        "an origin is taken only as a browser writes it, and never `*`",
        "anything is taken",
        "            if not _ORIGIN.fullmatch(origin) or origin",
        "            if origin",
        (f"{_OF_HEADERS}what_no_browser_writes_as_an_origin_is_refused_at_the_start",),
    ),
    Mutant(
        "grab_service/http/fields.py",
        "unseen_in_a_title",
        "no text that people read has characters in it that nobody sees",
        "texts of ops are taken as they are",
        "    if unseen is not None:\n",
        "    if False:\n",
        (f"{_UNSEEN}what_nobody_sees_is_named_wherever_people_read",),
    ),
    Mutant(
        "grab_service/vocabulary/names.py",
        "unseen_in_a_name",
        "no name in a file has characters in it that nobody sees",
        "they are taken as they are",
        "    if unseen is not None:\n",
        "    if False:\n",
        (f"{_UNSEEN}what_nobody_sees_is_named_wherever_people_read",),
    ),
    Mutant(
        "grab_service/vocabulary/invisible.py",
        "form_of_nothing",
        "a selector or joiner of characters stands where there is something to choose or to join",
        "it may stand anywhere",
        "(?<=[{_EMOJI}\\ufe0f])\\u200d(?=[{_EMOJI}])",
        "[\\u200d\\ufe0f]",
        (f"{_UNSEEN}what_joins_and_chooses_is_seen_only_where_there_is_something_to_join_or_choose",),
    ),
    Mutant(
        "grab_service/vocabulary/json_text.py",
        "nested_without_end",
        "JSON that is nested more deeply than anything of ours is malformed",
        "it goes as deep as the parser",
        "    if openings > NESTING_MAX and not _is_shallow(value):\n",
        "    if False:\n",
        ("tests/integration/test_nesting.py::test_no_depth_of_a_body_is_a_fault_of_ours_wherever_json_is_taken",),
    ),
)
