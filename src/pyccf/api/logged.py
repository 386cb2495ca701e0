"""What of a refusal goes into the log: callers cause it at will, so one line, a short one."""

from __future__ import annotations

LOGGED_MAX = 1024
"""How many characters of it; it may quote the request."""


def one_line(text: str) -> str:
    """The beginning of a text, its line breaks written as in source code."""
    return text[:LOGGED_MAX].replace("\n", "\\n")
