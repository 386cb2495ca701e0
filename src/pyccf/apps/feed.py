"""Change feeds: committed writes to one table, told to a client as they happen.

An application declares an endpoint as a feed; its policies and its handler decide who may listen,
the node does the rest (`node.feeds`). Beyond CCF, which has nothing of the kind.

In JavaScript, in the metadata of an endpoint in mode "readonly" with forwarding "never" (CCF
ignores this member and answers what the function returns):

    "feed": {"map": "public:records", "format": "json"}

The function runs as always; if its answer is a success the client gets the feed instead of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from enum import Enum

import msgspec

from pyccf.apps.context import AnswerFollows, Caller
from pyccf.codec.text import b64
from pyccf.errors import LocalError
from pyccf.kv.maps import Access, AccessContext, access
from pyccf.types import Json, TxID


class Format(Enum):
    """How keys and values are told; what does not fit is told as {"base64": ...}."""

    JSON = "json"
    TEXT = "text"
    BASE64 = "base64"


class FeedSpec(msgspec.Struct, frozen=True):
    """What is told: writes to `map`, of those keys that `keys` holds for (all without)."""

    map: str
    format: Format = Format.BASE64
    keys: Callable[[bytes], bool] | None = None


class OpenFeed(AnswerFollows):
    """A handler lets its caller listen."""

    def __init__(self, spec: FeedSpec) -> None:
        super().__init__(spec.map)
        self.spec = spec
        self.caller: Caller | None = None
        """Who wants to listen; noted by the frontend."""


def check_map(name: str) -> None:
    """Raise LocalError unless an application may read a table."""
    if not access(name, AccessContext.APP_RO) & Access.READ:
        raise LocalError(f"An application cannot read the table {name}.")


def parse(value: Json) -> FeedSpec | None:
    """The feed in an endpoint's metadata; None if it is none. ValueError for what is wrong."""
    if value is None:
        return None
    if not isinstance(value, dict) or not value.keys() <= {"map", "format"}:
        raise ValueError('feed is not an object of "map" and "format"')
    name, form = value.get("map"), value.get("format", Format.BASE64.value)
    if not isinstance(name, str) or not name:
        raise ValueError("feed names no map")
    try:
        check_map(name)
        return FeedSpec(name, Format(form))
    except LocalError as e:
        raise ValueError(e.message) from None
    except ValueError:
        known = ", ".join(f.value for f in Format)
        raise ValueError(f"feed has the format {form!r}; known are {known}") from None


def event(spec: FeedSpec, txid: TxID, rows: Mapping[bytes, bytes | None]) -> bytes:
    """What is told of one transaction, b"" for nothing: a server-sent event with its id."""
    wanted = sorted(rows) if spec.keys is None else [k for k in sorted(rows) if spec.keys(k)]
    if not wanted:
        return b""
    writes: list[str] = []
    for key in wanted:
        value = rows[key]
        told = '"removed":true' if value is None else f'"value":{_shown(value, spec.format)}'
        writes.append(f'{{"key":{_shown(key, spec.format)},{told}}}')
    data = f'{{"transaction_id":"{txid}","writes":[{",".join(writes)}]}}'
    return f"id: {txid}\ndata: {data}\n\n".encode()


def _shown(data: bytes, form: Format) -> str:
    """As JSON in one line: a line feed would end the event's data.

    Each value by itself: one that is nested too deeply must not keep the others from being told.
    """
    if form is Format.BASE64:
        return _dump(b64(data))
    try:
        text = data.decode()
        if form is Format.TEXT:
            return _dump(text)
        return _dump(json.loads(text, parse_constant=_refused, parse_float=_finite))
    except (ValueError, RecursionError):
        return _dump({"base64": b64(data)})


def _dump(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large a number")
    return value


def _refused(constant: str) -> Json:
    raise ValueError(f"{constant} is not JSON")
