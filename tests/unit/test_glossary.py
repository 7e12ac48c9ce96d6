"""The glossary is complete: a name's words are ordinary English, standard terms of the field, or in docs/GLOSSARY.md."""

import ast
import re
from collections import defaultdict
from pathlib import Path
from typing import Final

from tests.unit.test_docs import ROOT, rows, text_of

GLOSSARY: Final = ROOT / "docs/GLOSSARY.md"
PACKAGES: Final = ("grab_service", "reconcile", "loadtest", "bench")

# A reader who never saw the project understands each of these words at once. Any other new word goes into the glossary.
_ORDINARY: Final = """
    accounts action address again alarm alive alone ambiguous and another answer answering app append arrivals as asker
    assertion attempt audit backlog bad because began behaviour bench benefit binaries binary block bodies body book
    bootstrap bounds break broken bulk by bytes call caller cannot change check child circumstances cli clock closed code
    command compared comparison config configuration connect connection context contract copy cors costs counter counters
    course crowd csv curve cycle damage data database days decision definition demo demonstration dependencies dev did dir
    direct disk docs drafts drained durability duration dying eligibility eligible embedded engine entry env error etags
    event examples excerpt expected explain explained explanation export external facts failure fast fastapi fault fenced
    field figure file filter finding flames flow forbidden force foreign forged found frame framing from fsync full
    generator goal grabbed grabpath granted grants growth hand headers health help history holders home housekeeping http id
    identifiers identity import impossible in indexes inexact invariant invisible json jwks keeps kept key kind known ladder
    language launch layout leader leading leads level lifecycle limit line listener lives load loaded loadtest locustfile
    login loop machine main maintenance meaning measure member merge metrics middleware migrate migrations moment moved my
    name needed new nginx no nodes not note nothing now of off old on only open operation order original outcome output own
    page paging parse parsed part passwords patch path peer people performance picture place plain plan plots point polling
    pool port postgres price probes process profile program progress protocol provision public publication publish published
    publishing quantiles queries question queue rate read reader readiness reading rebuild record recorded recorder recover
    redis ref refusal refused registered rehearsed rehearsing rejected rejection replicas replies reply report request
    result return returned rights role root route row rule run running safe sample sampler sampling saved scene schedule
    script second secret seen sender serve served server service session set settings setup shape shared short sign silent
    snapshot source sources span spec speed sql stack stale start state statement status steps still stock stopping store
    stored strict supervisor synthetic table taken target template terminal testbed text time timeline to token too
    unavailable undecided unfit unknown unreachable uploads use user validity valkey var variant verdict verifier verify
    verifying versions vocabulary wanted watch watched win with without worker writer written wrong
"""
ORDINARY: Final = frozenset(_ORDINARY.split())


def words_of(name: str) -> list[str]:
    """The words of a name in snake case or camel case, in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def names() -> dict[str, set[str]]:
    """The words in names of modules and public classes, each with the files where it is used."""
    found: dict[str, set[str]] = defaultdict(set)
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if path.parent.name == "versions":  # a step of the migrations is named after its change
                continue
            place = path.relative_to(ROOT)
            for part in place.with_suffix("").parts:
                for word in words_of(part.removeprefix("__init__").removeprefix("__main__")):
                    found[word].add(str(place))
            for node in ast.walk(ast.parse(text_of(path))):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    for word in words_of(node.name):
                        found[word].add(f"{place}: {node.name}")
    return found


def singulars(word: str) -> set[str]:
    return {word, word.removesuffix("s"), word.removesuffix("es")}


def terms(row: list[str]) -> list[str]:
    return row[0].split(", ")


def test_every_word_in_a_name_is_ordinary_or_in_the_glossary() -> None:
    in_glossary = {word for row in rows(text_of(GLOSSARY)) for term in terms(row) for word in term.split()}
    used = names()
    odd = {word: sorted(where)[:3] for word, where in used.items() if not singulars(word) & (ORDINARY | in_glossary)}
    assert not odd, "explain these in docs/GLOSSARY.md, or choose a standard term"
    assert not ORDINARY & in_glossary, "a word in the glossary need not be in the list"
    assert not ORDINARY - set().union(*map(singulars, used)), "no name has these words any more"


def test_every_term_is_found_in_the_file_that_its_row_names() -> None:
    for row in rows(text_of(GLOSSARY)):
        (link,) = re.findall(r"\]\(([^)]+)\)", row[2])
        text = str(link) + text_of((GLOSSARY.parent / Path(link)).resolve())
        assert any(term.replace(" ", "_") in text.lower() for term in terms(row)), row
