"""Fetching a snapshot over HTTPS: the conversation of a node that wants to join with one.

The target is asked which snapshot is the newest, wherever it sends us is followed, and the bytes
are fetched in ranges. What arrives is judged before anything is done with it: the service must
vouch for it. Where it goes on with the ledger of other ones, it may be theirs: the node that serves
the snapshot says that it began with it, or is asked for the certificate of the service before. An
attempt that fails in any way is repeated, so many times; then, and when there is no snapshot, the
node goes on without (spec: node-lifecycle.md §8.4). Limits: the number of redirections, of
attempts, and the size of the snapshot, all of which is held in memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from pyccf.codec.text import load_json
from pyccf.errors import InvalidLedger, InvalidReceipt, RemoteError
from pyccf.ledger import snapshot
from pyccf.ledger.certchain import key_of
from pyccf.node.outputs import Answer, Call, CallFailed
from pyccf.node.restore import Restorable, judge, judge_by_itself

if TYPE_CHECKING:
    from pyccf.ledger.snapshot import SnapshotName
    from pyccf.types import Millis, SeqNo

PATH = "/node/snapshot"
PREVIOUS_PATH = "/node/service/previous_identity"
BEGAN_HEADER = "x-pyccf-began-with"
"""Of the answer with a snapshot: the digest (hexadecimal) of the one the node itself began with."""
RANGE = 4 * 1024 * 1024
"""Bytes asked for at once; the end of a range is exclusive."""
REDIRECTS_MAX = 20
CALL_TIMEOUT: Millis = 10_000

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})").fullmatch


class FetchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How hard to try."""

    attempts_max: int = 3
    retry_interval: Millis = 1000
    bytes_max: int = 10 * 1024**3


class Fetched(msgspec.Struct, frozen=True):
    """A snapshot that was fetched and judged."""

    name: str
    """Without `.committed`."""
    data: bytes
    restorable: Restorable


class Unusable(RemoteError):
    """What was answered is no snapshot of the service, or none that can be taken."""


class SnapshotFetch:
    """One node's attempts to get a snapshot."""

    def __init__(
        self,
        plan: FetchPlan,
        target: str,
        service_cert: Callable[[], str],
        since: SeqNo,
        ask: Callable[[Call], None],
        log: Callable[[str, str], None],
    ) -> None:
        """`target` is host:port; `since` the seqno that the snapshot must be newer than."""
        self._plan = plan
        self._target = target
        self._service_cert = service_cert
        self._query = f"?since={since}" if since else ""
        self._ask = ask
        self._log = log
        self._attempts = 0
        self._due: Millis = 0
        self._asking = False
        self._now: Millis = 0
        self._address = ""
        self._path = ""
        self._redirects = 0
        self._parts: list[bytes] = []
        self._have = 0
        self.over = False
        """Nothing more will be asked."""
        self.found: Fetched | None = None

    def tick(self, now: Millis) -> None:
        """Make the next attempt if it is time."""
        self._now = now
        if self.over or self._asking or now < self._due:
            return
        self._attempts += 1
        self._log(
            "info",
            f"Fetching snapshot from {self._target}"
            f" (attempt {self._attempts}/{self._plan.attempts_max})",
        )
        self._address, self._path = self._target, PATH + self._query
        self._redirects = 0
        self._parts, self._have = [], 0
        self._next()

    def _next(self) -> None:
        """Ask for the next range."""
        asked = {"range": f"bytes={self._have}-{self._have + RANGE}"}
        self._get(self._path, asked, self._range_arrived)

    def _get(self, path: str, headers: dict[str, str], arrived: Callable[[Answer], None]) -> None:
        def replied(answer: Answer | CallFailed) -> None:
            self._asking = False
            try:
                if isinstance(answer, CallFailed):
                    raise Unusable(f"{self._address}: {answer.reason}")
                arrived(answer)
            except (Unusable, InvalidLedger, InvalidReceipt) as e:
                self._failed(e.message)

        self._asking = True
        cert = self._service_cert()
        self._ask(Call(self._address, "GET", path, headers, b"", cert, CALL_TIMEOUT, replied))

    def _range_arrived(self, answer: Answer) -> None:
        match answer.status:
            case 308:
                self._redirected(answer.headers.get("location", ""))
            case 206:
                self._take(answer)
            case 404 if self._path.partition("?")[0] != PATH:
                raise Unusable(f"{self._address} does not have that snapshot any more")
            case 404:
                self._log("info", f"No snapshot to fetch from {self._address}")
                self._end()
            case _:
                raise Unusable(f"{self._address} answered {answer.status}")

    def _redirected(self, location: str) -> None:
        self._redirects += 1
        if self._redirects > REDIRECTS_MAX:
            raise Unusable(f"redirected more than {REDIRECTS_MAX} times")
        try:
            url = urlsplit(location)
            scheme, host, port = url.scheme, url.hostname, url.port
        except ValueError:
            scheme, host, port = "", None, None
        path = url.path + (f"?{url.query}" if url.query else "") if host else ""
        printable = path.isascii() and path.isprintable() and " " not in path
        if scheme != "https" or not host or not port or not printable:
            raise Unusable(f"{self._address} redirected to what is no address")
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._path = path or "/"
        self._next()

    def _take(self, answer: Answer) -> None:
        """A range arrived."""
        told = _CONTENT_RANGE(answer.headers.get("content-range", ""))
        start, end, total = (int(n) for n in told.groups()) if told else (0, 0, -1)
        if start != self._have or end - start != len(answer.body) or not start < end <= total:
            raise Unusable(f"{self._address} answered another range than it was asked for")
        if total > self._plan.bytes_max:
            raise Unusable(
                f"the snapshot has {total} bytes, more than the {self._plan.bytes_max} allowed"
                " by command.join.fetch_snapshot_max_size"
            )
        self._parts.append(answer.body)
        self._have = end
        if end < total:
            self._next()
            return
        name = snapshot.parse_name(self._path.partition("?")[0].rpartition("/")[2])
        if name is None:
            raise Unusable(f"{self._address} gave the snapshot a name that is none")
        data = b"".join(self._parts)
        try:
            self._found(name, data, judge(data, name, self._service_cert()))
        except InvalidReceipt as e:
            if answer.headers.get(BEGAN_HEADER) == snapshot.parse(data).digest.hex():
                self._found(name, data, judge_by_itself(data, name))
            else:
                self._ask_previous(name, data, e)

    def _ask_previous(self, name: SnapshotName, data: bytes, why: InvalidReceipt) -> None:
        """Another service signed it: was it the one that this service goes on with?"""

        def arrived(answer: Answer) -> None:
            pem = _previous_identity(answer)
            if pem is None:
                raise why
            self._found(name, data, judge(data, name, pem))

        self._get(PREVIOUS_PATH, {}, arrived)

    def _found(self, name: SnapshotName, data: bytes, restorable: Restorable) -> None:
        """Take a snapshot that was judged."""
        self.found = Fetched(snapshot.file_name(name.seqno, name.evidence), data, restorable)
        self._log("info", f"Fetched snapshot {self.found.name} ({len(data)} bytes)")
        self._end()

    def _failed(self, reason: str) -> None:
        self._log("fail", f"Fetching a snapshot failed: {reason}")
        self._parts = []
        self._due = self._now + self._plan.retry_interval
        if self._attempts >= self._plan.attempts_max:
            self._log(
                "fail",
                f"Exceeded maximum snapshot fetch retries ({self._plan.attempts_max}), giving up",
            )
            self._end()

    def _end(self) -> None:
        self.over = True
        self._parts = []


def _previous_identity(answer: Answer) -> str | None:
    """The certificate (PEM) of the service before, None if there was none, or it is none."""
    try:
        told = load_json(answer.body) if answer.status == 200 else None
        pem = told.get("previous_service_identity") if isinstance(told, dict) else None
        if not isinstance(pem, str):
            return None
        key_of(pem)
    except ValueError:
        return None
    return pem
