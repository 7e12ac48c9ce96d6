"""Files taken over from others are as they published them, with their licences beside them."""

import hashlib
import json
from importlib.resources import files

from grab_service.http.docs_page import TYPES, VIEWER, file_of, page

HOME = files("grab_service.http") / VIEWER
OWN = {"start.js", "vendored.json"}


def test_every_file_of_the_viewer_is_ours_or_has_its_hash() -> None:
    vendored = json.loads((HOME / "vendored.json").read_text(encoding="utf-8"))
    found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in HOME.iterdir() if file.name not in OWN}
    assert found == vendored["sha256"]
    assert vendored["version"] in vendored["from"]


def test_the_licences_are_there_whole() -> None:
    licence = (HOME / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    assert "SmartBear" in (HOME / "NOTICE").read_text(encoding="utf-8")
    assert (HOME / "swagger-ui-bundle.js.LICENSE.txt").read_text(encoding="utf-8").count("@license") > 5


def test_the_page_finds_everything_beside_itself() -> None:
    html = bytes(page().body).decode()
    for name in TYPES:
        assert f'"{file_of(name).address}"' in html
        assert not file_of(name).address.startswith("/"), "a proxy may serve us under a prefix"
    assert "https:" not in html
    assert "http:" not in html
