"""The parser of plain grabs.

Nearly every grab comes whole in one read: a request line, headers, no body. Such a one is recognised here, by the parser that
reads everything else, too: one for all connections, and with next to no Python in between. The headers go straight into a dict,
and the meaning of their names is worked out once for each set of names that clients send. Anything odd is left to the
ordinary way; here nothing is refused.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

import httptools

from grab_service.problems import choose_language
from grab_service.server.framing import PLAIN, frame_of
from grab_service.vocabulary.identifiers import CAMPAIGN_ID_MAX
from grab_service.vocabulary.request_id import HEADER

PLAIN_MAX_BYTES: Final = 8 * 1024
SHAPES_MAX: Final = 512
LANGUAGES_MAX: Final = 512
HOSTS_MAX: Final = 64

START: Final = b"POST /v1/campaigns/"
_END: Final = b"/claims HTTP/1.1\r\n"
_HEAD_END: Final = b"\r\n\r\n"
_ID_AT: Final = len(START)
_ID_END: Final = _ID_AT + CAMPAIGN_ID_MAX + len(_END)
_KEPT: Final = frozenset({b"keep-alive", b"Keep-Alive"})
_NOT_PLAIN: Final = frozenset({b"content-encoding", b"transfer-encoding", b"expect", b"upgrade", b"proxy-connection"})
_PADDING: Final = b" \t"


PlainGrab = tuple[str, bytes | None, bytes, str, bytes | None]
"""campaign_id, token (None without an `Authorization: Bearer`), idempotency_key, language, the request id that it brought."""


class _NotPlainError(Exception):
    """It has a header that changes how a request is read."""


class _Shape(NamedTuple):
    """Spelling of the headers that matter in one set of names; None: not among them."""

    authorization: bytes | None
    idempotency_key: bytes | None
    accept_language: bytes | None
    content_length: bytes | None
    connection: bytes | None
    host: bytes
    request_id: bytes | None


class GrabReader:
    """Reads the plain grabs of one worker."""

    def __init__(self, *, ordinary: Iterable[bytes] = ()) -> None:
        """`ordinary`: headers, in lower case, with which a grab is not plain."""
        self._not_plain = _NOT_PLAIN.union(ordinary)
        self._head: dict[bytes, bytes] = {}
        self._shapes: dict[tuple[bytes, ...], _Shape] = {}
        self._languages: dict[bytes, str] = {}
        self._hosts: set[bytes] = set()
        # What the parser calls for each header: no Python runs.
        self.on_header = self._head.__setitem__
        self._feed = httptools.HttpRequestParser(self).feed_data

    def read(self, data: bytes) -> PlainGrab | None:
        """The grab that these bytes are, no more and no less, if they begin with `START`; None if they are anything else."""
        end = data.find(_END, _ID_AT, _ID_END)
        length_bytes = len(data)
        if end < 0 or length_bytes > PLAIN_MAX_BYTES or data.find(_HEAD_END) != length_bytes - 4:
            return None
        head = self._head
        head.clear()
        try:
            self._feed(data)
            names = tuple(head)
            shape = self._shapes.get(names) or self._learn(names)
            authorization, key, accept_language, content_length, connection, host, request_id = shape
            # A name that stands twice is one in the dict.
            if (
                len(names) == data.count(b"\n") - 2
                and (content_length is None or head[content_length] == b"0")
                and (connection is None or head[connection] in _KEPT)
                and (head[host] in self._hosts or self._frames(head))
            ):
                token = None if authorization is None else bearer_token(head[authorization])
                language = "zh"
                if accept_language is not None:
                    wish = head[accept_language]
                    language = self._languages.get(wish) or self._choose(wish)
                return (
                    data[_ID_AT:end].decode("latin-1"),
                    token,
                    b"" if key is None else head[key].strip(_PADDING),
                    language,
                    None if request_id is None else head[request_id].strip(_PADDING),
                )
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, _NotPlainError):
            pass
        # The parser may be in the middle of a body, or have given up.
        self._feed = httptools.HttpRequestParser(self).feed_data
        return None

    def _learn(self, names: tuple[bytes, ...]) -> _Shape:
        spelled = {name.lower(): name for name in names}
        if len(spelled) != len(names) or not spelled.keys().isdisjoint(self._not_plain) or not self._frames(self._head):
            raise _NotPlainError
        if len(self._shapes) >= SHAPES_MAX:
            self._shapes.clear()
        shape = self._shapes[names] = _Shape(
            spelled.get(b"authorization"),
            spelled.get(b"idempotency-key"),
            spelled.get(b"accept-language"),
            spelled.get(b"content-length"),
            spelled.get(b"connection"),
            spelled[b"host"],
            spelled.get(HEADER),
        )
        return shape

    def _frames(self, head: dict[bytes, bytes]) -> bool:
        """Whether the request is framed as a plain one is. That depends on names, and on the values that `read` compares."""
        headers = [(name.lower(), value.strip(_PADDING)) for name, value in head.items()]
        plain = frame_of(b"POST", "1.1", headers) == PLAIN
        if plain:
            if len(self._hosts) >= HOSTS_MAX:
                self._hosts.clear()
            self._hosts.update(value for name, value in head.items() if name.lower() == b"host")
        return plain

    def _choose(self, accept_language: bytes) -> str:
        if len(self._languages) >= LANGUAGES_MAX:
            self._languages.clear()
        language = self._languages[accept_language] = choose_language(accept_language)
        return language


def bearer_token(authorization: bytes) -> bytes | None:
    """The token of an `Authorization` header; None if it is none, or of another scheme."""
    if authorization.startswith(b"Bearer "):
        return authorization[7:].strip()
    scheme, _, token = authorization.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else None
