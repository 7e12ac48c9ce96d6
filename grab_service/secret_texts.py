"""Is a text fit to be a secret? What comes out of examples and templates, and what is quickly guessed, is not."""

import re
from typing import Final

DISTINCT_MIN: Final = 6
PERIOD_MAX: Final = 8
_UNEXPANDED: Final = re.compile(r".*\$[({][^)}]*[)}].*|\$[A-Za-z_][A-Za-z0-9_]*|%[A-Za-z_]+%|`.*`|<.*>|\{\{.*\}\}", re.DOTALL)
_NO_LETTER_OR_DIGIT: Final = re.compile(r"[\W_]+")
_KNOWN: Final = (
    "changeit", "changeme", "changethis", "donotuse", "examplesecret", "insecure", "mysecret", "notasecret", "passw0rd",
    "password", "placeholder", "qwerty", "replaceme", "replacethis", "secretkey", "supersecret", "thisisasecret", "todo",
    "topsecret", "yourkey", "yourpassword", "yoursecret",
)  # fmt: skip


def weakness(secret: str) -> str | None:
    """Why it cannot be a secret, in words that show none of it; None if it can.

    How long it has to be is for the caller to say.
    """
    if _UNEXPANDED.fullmatch(secret):
        return "it is a template that nobody has filled in"
    plain = _NO_LETTER_OR_DIGIT.sub("", secret.lower())
    if any(known in plain for known in _KNOWN):
        return "it holds a text that everybody knows from examples"
    repeated = any(secret == (secret[:period] * len(secret))[: len(secret)] for period in range(1, PERIOD_MAX + 1))
    if repeated or len(set(secret)) < DISTINCT_MIN:
        return "it is a few characters repeated"
    return None
