"""Entity tags, by which a caller learns that its copy is still current."""

from hashlib import sha256


def version_etag(version: int) -> str:
    """The ETag of a version of a configuration."""
    return f'"{version}"'


def content_etag(body: bytes) -> str:
    """The ETag of an answer, by its bytes; weak, because the order of things or a space would say the same."""
    return f'W/"{sha256(body).hexdigest()[:20]}"'


def _listed(header: str) -> list[str]:
    return [tag.strip() for tag in header.split(",")]


def matches_weakly(if_none_match: str, etag: str) -> bool:
    """`If-None-Match` (RFC 9110): `*`, or one of the list is this tag, weak or strong."""
    plain = etag.removeprefix("W/")
    return if_none_match.strip() == "*" or any(tag.removeprefix("W/") == plain for tag in _listed(if_none_match))


def matches_version(if_match: str, etag: str) -> bool:
    """`If-Match`: `*`, or one of the list is the tag of this version.

    RFC 9110 wants no weak tag here, because bytes may differ under one. A tag of ours names a version, not bytes; a proxy that
    compresses makes it weak, and it still names the same one.
    """
    return matches_weakly(if_match, etag)
