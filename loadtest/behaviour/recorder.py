"""The receipts of one locust process, written before a request is sent and after its answer.

The same receipts as the stampede's, so that the same verifier reads them.
"""

import os
import secrets
import time
from pathlib import Path
from urllib.parse import urlsplit

from loadtest import clock
from loadtest.receipts import SUFFIX, ReceiptBook, clock_line, header_line, one_line
from loadtest.service import Service, ServiceError


class Recorder:
    """The receipts of one process; not shared between processes. Builds its file when it is built.

    Args:
        folder: where the file goes; made if missing.
        url: of the service, whose clock is asked.
        campaign: its id.

    Raises:
        ServiceError: the service does not say what time it is.
    """

    def __init__(self, folder: Path, url: str, campaign: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._url = url
        self._anchor_ns = clock.anchor_ns()
        self._receipt_no = 0
        with Service(url) as service:
            server_clock = clock.synchronise(service.now_ms, self._anchor_ns)
        run = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}-{secrets.token_hex(3)}"
        facts = {"run": run, "campaign": campaign, "host": urlsplit(url).netloc, "anchor_ns": self._anchor_ns}
        self._book = ReceiptBook(folder / f"{run}{SUFFIX}")
        self._book.append([header_line(facts), clock_line(server_clock)])

    def asks(self, member: str, attempt: int, key: str | None) -> int:
        """A request is about to be sent; the number of its receipt.

        Raises:
            OSError: it could not be written, so nothing must be sent.
        """
        self._receipt_no += 1
        line = f"S\t{self._receipt_no}\t{member}\t{attempt}\t{self._now_us()}"
        self._book.append([(line if key is None else f"{line}\t{key}").encode("ascii") + b"\n"])
        return self._receipt_no

    def hears(self, receipt_no: int, status: int, code: str, body: bytes) -> None:
        """An answer came; `code` is that of a problem, `body` is kept where it is none."""
        kept = b"" if code else one_line(body)
        self._book.append([b"A\t%d\t%d\t%d\t%b\t%b\n" % (receipt_no, self._now_us(), status, code.encode("ascii"), kept)])

    def loses(self, receipt_no: int) -> None:
        """No answer came, and none will."""
        self._book.append([b"L\t%d\t%d\tconnection-lost\n" % (receipt_no, self._now_us())])

    def note_clock(self) -> None:
        """Write down how the clocks stand now: they may have drifted apart."""
        try:
            with Service(self._url) as service:
                self._book.append([clock_line(clock.synchronise(service.now_ms, self._anchor_ns))])
        except ServiceError:
            return  # what was known before must do

    def _now_us(self) -> int:
        return (time.monotonic_ns() + self._anchor_ns) // 1000
