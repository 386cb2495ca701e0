"""Log records as lines of text or JSON, one per call, flushed.

Promises: the forms of the original (spec: config-and-cli.md §5), so that what searches its logs
finds ours; nothing below the chosen level is formatted; a record is one write. A log that cannot be
written (the reader of the pipe went away) does not stop a node: records are dropped and counted in
`LogSink.lost`. No text can pass for another record: in the form of text, lines after the first are
indented, and other control characters are shown escaped. Refuses nothing; keeps no secrets because
none may be handed to it.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import BinaryIO

import msgspec

PREAMBLE_WIDTH = 45
"""Width of level, tag and place; a longer file name loses its beginning."""

CONTINUATION = "\n    "
"""How a text goes on in its next line; records begin at the left edge."""

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
"""What ends lines for some readers, or moves the cursor of a terminal."""

_encode = msgspec.json.Encoder().encode


class Level(IntEnum):
    """How much a record matters. FAIL is what others call a warning or an error."""

    TRACE = 0
    DEBUG = 1
    INFO = 2
    FAIL = 3
    FATAL = 4

    @classmethod
    def parse(cls, text: str) -> Level:
        """A level by its name in any case, or by its number. Raises ValueError."""
        for level in cls:
            if text.lower() == level.name.lower() or text == str(level.value):
                return level
        raise ValueError(f"{text!r} is not a log level: {', '.join(NAMES)} or 0 to 4")


NAMES = tuple(level.name.lower() for level in Level)
_BY_NAME = {level.name.lower(): level for level in Level}


def timestamp(unix_seconds: float) -> str:
    """UTC with microseconds: 2026-01-31T12:00:00.000001Z."""
    whole, micros = divmod(round(unix_seconds * 1_000_000), 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{micros:06d}Z"


def text_record(
    when: str,
    thread: str,
    level: Level,
    tag: str,
    file: str,
    line: int,
    text: str,
    about: Mapping[str, str],
) -> str:
    """A record as a line of text, without its line feed (spec: config-and-cli.md §5.1).

    What it is about stands in brackets after the first line of the text; others are indented.
    """
    if about:
        first, feed, rest = text.partition("\n")
        text = f"{first} [{' '.join(about.values())}]{feed}{rest}"
    mark = f"[{level.name.lower():<5}]{f'[{tag}]' if tag else ''} "
    place = f"{file}:{line} " if file else ""
    room = max(0, PREAMBLE_WIDTH - len(mark))
    preamble = mark + place[max(0, len(place) - room) :]
    whole = f"{when}        {thread:<3} {preamble:<{PREAMBLE_WIDTH}}| {text}"
    return _CONTROL.sub(_escaped, whole).replace("\n", CONTINUATION)


def _encodable(text: str) -> str:
    """Lone surrogates, which scripts can make, are shown escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def json_record(
    when: str,
    thread: str,
    level: Level,
    tag: str,
    file: str,
    line: int,
    text: str,
    about: Mapping[str, str],
) -> str:
    """A record as one line of JSON, all values strings (spec: config-and-cli.md §5.2).

    What it is about has keys of its own.
    """
    record = {
        "h_ts": when,
        "thread_id": thread,
        "level": level.name.lower(),
        "tag": tag,
        "file": file,
        "number": str(line),
        "msg": text,
        **about,
    }
    return _encode(record).decode()


class LogSink:
    """Where log records go: a binary stream, in one of two forms, from one level up."""

    def __init__(
        self,
        stream: BinaryIO | None = None,
        *,
        level: Level | str = Level.INFO,
        json: bool = False,
        now: Callable[[], float] = time.time,
        thread: str = "0",
    ) -> None:
        """`level` may be its name or number as text (ValueError if neither). Default stream:
        standard output.
        """
        self.level = Level.parse(level) if isinstance(level, str) else level
        self.json = json
        self.lost = 0
        """Records that could not be written."""
        self._stream = sys.stdout.buffer if stream is None else stream
        self._now = now
        self._thread = thread

    def enabled(self, level: Level) -> bool:
        """Whether a record of this level would be written."""
        return level >= self.level

    def log(
        self,
        level: Level | str,
        tag: str,
        text: str,
        file: str = "",
        line: int = 0,
        about: Mapping[str, str] | None = None,
    ) -> None:
        """Write one record. `level` may be its name: trace, debug, info, fail, fatal."""
        grade = _BY_NAME[level] if isinstance(level, str) else level
        if grade < self.level:
            return
        form = json_record if self.json else text_record
        shown = {name: _encodable(value) for name, value in (about or {}).items()}
        when = timestamp(self._now())
        record = form(when, self._thread, grade, tag, file, line, _encodable(text), shown)
        try:
            self._stream.write(record.encode() + b"\n")
            self._stream.flush()
        except (OSError, ValueError):  # ValueError: the stream is closed
            self.lost += 1

    def trace(self, text: str, tag: str = "", file: str = "", line: int = 0) -> None:
        """One record of level TRACE."""
        self.log(Level.TRACE, tag, text, file, line)

    def debug(self, text: str, tag: str = "", file: str = "", line: int = 0) -> None:
        """One record of level DEBUG."""
        self.log(Level.DEBUG, tag, text, file, line)

    def info(self, text: str, tag: str = "", file: str = "", line: int = 0) -> None:
        """One record of level INFO."""
        self.log(Level.INFO, tag, text, file, line)

    def fail(self, text: str, tag: str = "", file: str = "", line: int = 0) -> None:
        """One record of level FAIL."""
        self.log(Level.FAIL, tag, text, file, line)

    def fatal(self, text: str, tag: str = "", file: str = "", line: int = 0) -> None:
        """One record of level FATAL."""
        self.log(Level.FATAL, tag, text, file, line)
