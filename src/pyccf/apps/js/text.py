"""Texts of scripts on their way into answers."""

from __future__ import annotations


def sendable(text: str) -> str:
    """Text without lone surrogates, which no answer can carry (spec: http-api.md §6)."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
