"""How does the command line say that something went wrong?"""

import sys

from pydantic import ValidationError


def show_error(error: Exception) -> None:
    """One or a few lines on standard error: what is wrong, and how to mend it where that is known."""
    if isinstance(error, ValidationError):
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            print(f"grab: {name}: {problem['msg']}", file=sys.stderr)
        return
    print(f"grab: {str(error) or type(error).__name__}", file=sys.stderr)
