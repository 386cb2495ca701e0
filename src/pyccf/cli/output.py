"""What commands print: tables and lines for a person, or one JSON document for a script.

What is printed may come from a ledger, a service or a folder that somebody hostile filled: control
characters, which could write over other lines or give orders to a terminal, are shown escaped.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from rich.console import Console

TABLE_WIDTH_MAX = 1000
ID_SHOWN = 16
"""Characters of an identifier that a table shows; --json shows all."""


_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""All but tabs and line feeds; with bytes of file names that are no UTF-8."""


def harmless(text: str) -> str:
    """A text without control characters, for a terminal."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def word(text: str) -> str:
    """The same for a name within a line: line feeds and tabs are shown escaped, too."""
    return harmless(text).replace("\n", "\\n").replace("\t", "\\t")


class Output:
    """Standard output of one command."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._console: Console | None = None

    @property
    def console(self) -> Console:
        """Where tables and progress bars for a person go."""
        if self._console is None:
            from rich.console import Console

            self._console = Console(highlight=False, soft_wrap=True)
        return self._console

    def result(self, value: object) -> None:
        """The result of the command as one line of JSON; nothing without --json."""
        if self.as_json:
            sys.stdout.write(_json(value) + "\n")
            sys.stdout.flush()

    def result_list(self, name: str, values: Iterable[object]) -> None:
        """One line of JSON with a list under a name, written piece by piece as values come."""
        assert self.as_json, "lists for a person are written otherwise"
        sys.stdout.write(f'{{"{name}":[')
        separator = ""
        for value in values:
            sys.stdout.write(separator + _json(value))
            separator = ","
        sys.stdout.write("]}\n")
        sys.stdout.flush()

    def line(self, text: str = "") -> None:
        """One line for a person; nothing with --json."""
        if not self.as_json:
            sys.stdout.write(harmless(text) + "\n")
            sys.stdout.flush()

    def body(self, data: bytes) -> None:
        """What a service answered: to a terminal as a text, else as it is; nothing with --json."""
        if self.as_json:
            return
        if sys.stdout.isatty():
            self.line(data.decode("utf-8", "replace").replace("\r\n", "\n"))
            return
        sys.stdout.flush()
        sys.stdout.buffer.write(data + b"\n")
        sys.stdout.buffer.flush()

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> None:
        """A table for a person, or the line `empty` if there are no rows."""
        if self.as_json:
            return
        collected = [list(row) for row in rows]
        if not collected:
            self.line(empty)
            return
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        table = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
        for row in collected:
            table.add_row(*(Text(word(cell), no_wrap=True) for cell in row))
        # Identifiers must come out whole, to be copied, however narrow the terminal is.
        wide = self.console.options.update(max_width=TABLE_WIDTH_MAX)
        needed = self.console.measure(table, options=wide).maximum
        self.console.width = max(self.console.width, needed)
        self.console.print(table)

    def fields(self, rows: Iterable[tuple[str, str]]) -> None:
        """Named values for a person, one per line."""
        collected = list(rows)
        width = max((len(name) for name, _ in collected), default=0)
        for name, value in collected:
            self.line(f"{name + ':':<{width + 1}}  {word(value)}")


def _json(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        # The name of a file that is no UTF-8.
        return msgspec.json.encode(_encodable(msgspec.to_builtins(value))).decode()


def _encodable(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encodable(item) for item in value]
    return value


def short(identifier: str) -> str:
    """An identifier cut for a table."""
    return identifier if len(identifier) <= ID_SHOWN else identifier[:ID_SHOWN] + "…"


def pyccf_line(*arguments: str) -> str:
    """A command line for this very program, whether or not its folder is searched by the shell."""
    script = Path(sys.executable).with_name("pyccf")
    if shutil.which("pyccf") == str(script):
        words = ["pyccf"]
    elif script.is_file():
        words = [str(script)]
    else:
        words = [sys.executable, "-m", "pyccf.cli.main"]
    return shlex.join([*words, *arguments])
