"""Source maps on their way into a bundle: inline in the module they belong to, and lean.

What a build leaves beside a module (`logging.js.map`) is put into the comment that names it, so
that it travels in the module's own text: every service takes that for a comment, ours also reads
it. The sources' texts are left out; a ledger need not keep them. A map file is never a module.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from urllib.parse import unquote

from pyccf.apps.js.traces import MARK
from pyccf.codec.text import dump_json, load_json
from pyccf.errors import LocalError

_MARK = MARK.decode()
_DATA = "data:application/json;base64,"
_SUFFIX = ".map"

Modules = list[dict[str, str]]


def with_maps(modules: Sequence[dict[str, str]], *, keep: bool = True) -> Modules:
    """Modules with their maps inline; without any if not `keep`.

    Raises LocalError for a map that is not JSON.
    """
    texts = {module["name"]: module["module"] for module in modules}
    maps = {name for name in texts if _belongs(name, texts)}
    return [
        {"name": name, "module": _told(name, text, texts, keep)}
        for name, text in texts.items()
        if name not in maps
    ]


def _belongs(name: str, texts: dict[str, str]) -> bool:
    """Whether a file is the map of a module, by its name or because a module names it."""
    if not name.endswith(_SUFFIX):
        return False
    return name.removesuffix(_SUFFIX) in texts or any(
        _beside(other, url) == name for other, text in texts.items() if (url := _url(text))
    )


def _url(text: str) -> str | None:
    """What the comment at the end of a module says, if there is one."""
    at = text.rfind(_MARK)
    if at < 0:
        return None
    url = text[at + len(_MARK) :].strip()
    return None if not url or any(c.isspace() for c in url) else url


def _beside(name: str, url: str) -> str:
    folder, slash, _ = name.rpartition("/")
    return folder + slash + unquote(url).removeprefix("./")


def _told(name: str, text: str, texts: dict[str, str], keep: bool) -> str:
    url = _url(text)
    beside = name + _SUFFIX
    if url is None:
        if keep and beside in texts:
            return f"{text.rstrip()}\n{_inline(beside, texts[beside])}"
        return text
    body = text[: text.rfind(_MARK)]
    if not keep:
        return body
    if url.startswith("data:"):
        head, comma, data = url.partition(",")
        if not comma or "base64" not in head:
            return text
        try:
            return body + _inline(name, base64.b64decode(data, validate=True).decode())
        except (binascii.Error, UnicodeDecodeError):
            return text
    named = _beside(name, url)
    found = named if named in texts else beside
    return body + _inline(found, texts[found]) if found in texts else text


def _inline(name: str, raw: str) -> str:
    try:
        value = load_json(raw)
    except ValueError as e:
        raise LocalError(f"The source map {name} is not JSON: {e}") from None
    if not isinstance(value, dict):
        raise LocalError(f"The source map {name} is not a JSON object")
    value.pop("sourcesContent", None)
    return f"{_MARK}{_DATA}{base64.b64encode(dump_json(value)).decode()}\n"
