"""Reading scripts that a person gave for governance: they compile, or file and line are named.

Ballots and constitutions. What is wrong is told before anything is signed or sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pyccf import constitutions
from pyccf.cli.reading import read_text
from pyccf.constitutions.folder import Parts, join, locate, parts
from pyccf.errors import LocalError


def read_ballot(file: str) -> str:
    """The text of a ballot, "-" for standard input. Raises LocalError."""
    text = read_text(file)
    problem = _problem(file, text)
    if problem is not None:
        raise LocalError(f"{problem[1]}: {problem[0]}", hint="A ballot exports vote().")
    return text


def read_constitution(places: list[str]) -> str:
    """The constitution in files, or in folders as `constitutions.folder` reads them."""
    files: Parts = []
    for place in places:
        folder = Path(place)
        files += parts(folder) if folder.is_dir() else [(folder, read_text(place))]
    return checked(files)


def sandbox_constitution(places: Sequence[str] = ()) -> Parts:
    """The parts of the constitution of a sandbox; they compile as a whole. Raises LocalError.

    Folders are whole constitutions, in place of the one that accepts everything; files are further
    parts and come last.
    """
    folders = [Path(place) for place in places if Path(place).is_dir()]
    files = [(Path(place), read_text(place)) for place in places if not Path(place).is_dir()]
    whole = [part for folder in folders for part in parts(folder)]
    if not folders:
        whole = [(Path(name), text) for name, text in constitutions.sample("sandbox", "virtual")]
    if places:
        checked(whole + files)
    return whole + files


def checked(files: Parts) -> str:
    """The script of all parts of a constitution. Raises LocalError if it does not compile.

    Of a whole that does not compile each file is tried alone: what one leaves open is noticed in
    the next.
    """
    text = join(files)
    if (problem := _problem("constitution", text)) is not None:
        alone = (_problem(str(path), part) for path, part in files)
        message, where = next((found for found in alone if found is not None), problem)
        if where.startswith("constitution:"):
            where = locate(files, int(where.removeprefix("constitution:")))
        raise LocalError(f"{where}: {message}", hint="No service would take this constitution.")
    return text


def _problem(name: str, text: str) -> tuple[str, str] | None:
    """Why a script does not compile, and where; None if it does."""
    from pyccf.appdev import check

    try:
        check.compile_script("script", text)
    except check.NoScript as error:
        return error.message, name if error.line is None else f"{name}:{error.line}"
    return None
