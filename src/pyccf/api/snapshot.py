"""GET and HEAD /node/snapshot: the newest snapshot, and the bytes of one (spec: http-api.md §9.9).

A backup sends to the primary, which has the newest; who has one sends on to its name. There, ranges
are served as the original serves them: the end of a range is exclusive, in the request and in the
answer, and so do its fetchers read them. The answer is always 206. A large answer is streamed from
the disk piece by piece; where that cannot be done, it is shorter than what was asked for, which
`content-range` tells. Of the snapshot that the node began with it says so, by its digest: who joins
a service that is being recovered may believe nobody else.
"""

from __future__ import annotations

import re
from typing import Protocol

from pyccf.api import primary
from pyccf.api.primary import HasConsensus
from pyccf.apps.context import JSON_TYPE, AnswerFollows, Context
from pyccf.apps.router import Endpoint, Forwarding, Mode, Redirection
from pyccf.errors import RpcError, StorageError
from pyccf.http.message import error_body, query_parameters
from pyccf.http.session import Flow, Session
from pyccf.ledger.snapshot import parse_name
from pyccf.node.fetch_snapshot import BEGAN_HEADER
from pyccf.service import nodes
from pyccf.types import NodeId, SeqNo

NAME_HEADER = "x-ms-ccf-snapshot-name"
PART_MAX = 1024 * 1024
"""Bytes of an answer that is given in one message: each client that does not read holds as many."""
PIECE = 256 * 1024
"""Bytes read at once for an answer that is streamed."""
NUMBER_MAX = (1 << 64) - 1

_DIGITS = re.compile(r"[0-9]+")


class Snapshots(Protocol):
    """The committed snapshots that lie on this node's disk."""

    def newest(self, since: SeqNo = 0) -> str | None:
        """Name of the newest one that is after `since`."""
        ...

    def size(self, name: str) -> int | None:
        """Its size; None when there is none of that name."""
        ...

    def read(self, name: str, start: int, end: int) -> bytes:
        """Its bytes start..end-1. Raises StorageError."""
        ...


class NodeFacts(HasConsensus, Protocol):
    """What these endpoints ask of the node."""

    node_id: NodeId
    startup_seqno: SeqNo
    began_with: bytes


class _Streaming:
    """A large answer under way."""

    endless = False

    def __init__(
        self, session: Session, snapshots: Snapshots, name: str, start: int, end: int
    ) -> None:
        self._snapshots = snapshots
        self._name = name
        self._at = start
        self._end = end
        self._flow: Flow = session.stream(self)

    def begin(self, status: int, headers: dict[str, str]) -> None:
        self._flow.begin(status, headers)
        self.room()

    def room(self) -> None:
        """Push until the client has enough for now."""
        while self._at < self._end:
            start, self._at = self._at, min(self._at + PIECE, self._end)
            try:
                piece = self._snapshots.read(self._name, start, self._at)
            except StorageError:
                # Pruned meanwhile, or damaged: the client notices that the rest is missing.
                self._at = self._end
                self._flow.fail()
                return
            if not self._flow.push(piece):
                return
        self._flow.end()

    def gone(self) -> None:
        """Nobody listens: nothing is held open."""
        self._at = self._end


def endpoints(node: NodeFacts, snapshots: Snapshots) -> list[Endpoint]:
    """The endpoints of one node."""

    def newest(ctx: Context) -> None:
        text = query_parameters(ctx.request.query).get("since", "")
        since = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
        if not node.consensus.can_replicate and node.consensus.primary is not None:
            query = f"?since={since}" if since else ""
            ctx.headers["location"] = primary.location(node, ctx, f"/node/snapshot{query}")
            _refuse(
                ctx,
                308,
                "NodeCannotHandleRequest",
                "Node is not primary; redirecting for preferable snapshot",
            )
            return
        name = snapshots.newest(since)
        if name is None:
            _refuse(
                ctx,
                404,
                "ResourceNotFound",
                f"This node has no committed snapshots since {since}",
            )
            return
        address = nodes.published_address(ctx.tx, node.node_id, ctx.session.interface)
        if address is None:
            raise RpcError(500, "InternalError", "This node is not known by the service yet")
        ctx.headers["location"] = f"https://{address}/node/snapshot/{name}"
        ctx.empty(308)

    def whole(ctx: Context) -> None:
        name = ctx.params["snapshot_name"]
        size = snapshots.size(name)
        if size is None:
            _refuse(
                ctx,
                404,
                "ResourceNotFound",
                f"This node does not have a snapshot named {name}",
            )
            return
        ctx.headers["accept-ranges"] = "bytes"
        ctx.headers[NAME_HEADER] = name
        found = parse_name(name)
        if found is not None and found.seqno == node.startup_seqno:
            ctx.headers[BEGAN_HEADER] = node.began_with.hex()
        if ctx.request.method == "HEAD":
            ctx.status = 200
            ctx.headers["content-length"] = str(size)
            return
        header = ctx.request.headers.get("range")
        try:
            start, end = (0, size) if header is None else parse_range(header, size)
        except ValueError as e:
            _refuse(ctx, 400, "InvalidHeaderValue", str(e))
            return
        if end - start > PART_MAX and not ctx.session.can_stream:
            end = start + PART_MAX
        ctx.status = 206
        ctx.headers["content-type"] = "application/octet-stream"
        ctx.headers["content-range"] = f"bytes {start}-{end}/{size}"
        if end - start > PART_MAX:
            _Streaming(ctx.session, snapshots, name, start, end).begin(206, ctx.headers)
            raise AnswerFollows
        try:
            ctx.body = snapshots.read(name, start, end)
        except StorageError as e:
            ctx.services.log("fail", "", e.message)
            raise RpcError(500, "InternalError", f"Snapshot {name} cannot be read") from None

    return [
        Endpoint(
            verb=verb,
            path=path,
            execute=execute,
            mode=mode,
            forwarding=Forwarding.NEVER,
            redirection=Redirection.NONE,
            hidden=True,
        )
        for path, execute, mode in (
            ("/snapshot", newest, Mode.READONLY),
            ("/snapshot/{snapshot_name}", whole, Mode.COMMAND),
        )
        for verb in ("GET", "HEAD")
    ]


def _refuse(ctx: Context, status: int, code: str, message: str) -> None:
    """An error that keeps the headers that were set; HEAD is told no length."""
    ctx.status = status
    ctx.headers["content-type"] = JSON_TYPE
    if ctx.request.method != "HEAD":
        ctx.body = error_body(code, message)


def parse_range(header: str, size: int) -> tuple[int, int]:
    """Start and exclusive end of a `range` header. Raises ValueError with what is wrong.

    What follows the digits of a number is passed over, as the original does; a suffix longer than
    the file, which it does not guard against, is all of the file.
    """
    unit, _, rest = header.partition("=")
    if unit != "bytes":
        raise ValueError("Only 'bytes' is supported as a Range header unit")
    if "," in rest:
        raise ValueError("Multiple ranges are not supported")
    ends = rest.split("-")
    if len(ends) != 2:
        raise ValueError(f"Invalid format, cannot parse range in {header}")
    first, last = ends
    if first:
        start = _number(first)
        if start is None:
            raise ValueError(f"Unable to parse start of range value {first} in {header}")
        if start > size:
            raise ValueError(f"Start of range {start} is larger than total file size {size}")
        if not last:
            return start, size
        end = _number(last)
        if end is None:
            raise ValueError(f"Unable to parse end of range value {last} in {header}")
        if end < start:
            raise ValueError(f"Invalid range: Start ({start}) and end ({end}) out of order")
        return start, min(end, size)
    if not last:
        raise ValueError("Invalid range: Must contain range-start or range-end")
    offset = _number(last)
    if offset is None:
        raise ValueError(f"Unable to parse end of range offset value {last} in {header}")
    return size - min(offset, size), size


def _number(text: str) -> int | None:
    match = _DIGITS.match(text)
    if match is None or len(match[0]) > 20:
        return None
    number = int(match[0])
    return number if number <= NUMBER_MAX else None
