"""Reading what a person gave: files, standard input, JSON. Errors name the file or the option."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pyccf.codec.text import load_json
from pyccf.errors import LocalError
from pyccf.types import Json


def read_bytes(file: str) -> bytes:
    """Content of a file, or of standard input for "-". Raises LocalError."""
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise LocalError(f"Could not read {file}: {error.strerror}") from error


def read_text(file: str) -> str:
    """The same as text. Raises LocalError."""
    try:
        return read_bytes(file).decode("utf-8")
    except UnicodeDecodeError as error:
        raise LocalError(f"{file} is not UTF-8 text") from error


def parse_json(text: str | bytes, where: str) -> Json:
    """JSON that a person gave; `where` is how it was given. Raises LocalError."""
    try:
        return load_json(text)
    except ValueError as error:
        raise LocalError(f"{where} is not JSON: {error}") from error


def write_bytes(file: str, data: bytes, *, secret: bool = False) -> None:
    """Write a file, or standard output for "-". Raises LocalError.

    A new file that holds a secret can be read by its owner alone.
    """
    try:
        if file == "-":
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            handle = os.open(
                file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if secret else 0o666
            )
            with os.fdopen(handle, "wb") as opened:
                opened.write(data)
    except OSError as error:
        raise LocalError(f"Could not write {file}: {error.strerror}") from error
