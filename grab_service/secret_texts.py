"""Judgement of secrets: texts of examples and templates, and texts quickly guessed, are refused."""

import re
from typing import Final

DISTINCT_MIN: Final = 6
PERIOD_MAX: Final = 8
_UNEXPANDED: Final = re.compile(r".*\$[({][^)}]*[)}].*|\$[A-Za-z_][A-Za-z0-9_]*|%[A-Za-z_]+%|`.*`|<.*>|\{\{.*\}\}", re.DOTALL)
_NO_LETTER_OR_DIGIT: Final = re.compile(r"[\W_]+")
_OF_EXAMPLES: Final = (
    "changeit", "changeme", "changethis", "donotuse", "examplesecret", "insecure", "notasecret", "placeholder", "replaceme",
    "replacethis", "supersecret", "thisisasecret", "topsecret", "yourpassword", "yoursecret",
)  # fmt: skip
_OF_HABIT: Final = re.compile("password|passw0rd|qwerty|mysecret|secretkey")
_DIGITS: Final = re.compile("[0-9]")
OWN_MIN: Final = 6
"""Of a text with a word of habit in it, so many other letters must be left."""


def weakness(secret: str) -> str | None:
    """The reason why it cannot be a secret, in words that show none of it; None if it can.

    How long it has to be is for the caller to say.
    """
    if _UNEXPANDED.fullmatch(secret):
        return "it is a template that nobody has filled in"
    plain = _NO_LETTER_OR_DIGIT.sub("", secret.lower())
    own = _OF_HABIT.sub("", plain)
    if any(known in plain for known in _OF_EXAMPLES) or (own != plain and len(_DIGITS.sub("", own)) < OWN_MIN):
        return "it holds a text that everybody knows from examples"
    repeated = any(secret == (secret[:period] * len(secret))[: len(secret)] for period in range(1, PERIOD_MAX + 1))
    if repeated or len(set(secret)) < DISTINCT_MIN:
        return "it is a few characters repeated"
    return None
