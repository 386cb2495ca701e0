"""What commands print: tables and lines for a person, or one JSON document for a script."""

from __future__ import annotations

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
            sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
            sys.stdout.flush()

    def result_list(self, name: str, values: Iterable[object]) -> None:
        """One line of JSON with a list under a name, written piece by piece as values come."""
        assert self.as_json, "lists for a person are written otherwise"
        sys.stdout.write(f'{{"{name}":[')
        separator = ""
        for value in values:
            sys.stdout.write(separator + msgspec.json.encode(value).decode())
            separator = ","
        sys.stdout.write("]}\n")
        sys.stdout.flush()

    def line(self, text: str = "") -> None:
        """One line for a person, as it is; nothing with --json."""
        if not self.as_json:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

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
            table.add_row(*(Text(cell, no_wrap=True) for cell in row))
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
            self.line(f"{name + ':':<{width + 1}}  {value}")


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
