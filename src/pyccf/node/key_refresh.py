"""Keeping the keys of token issuers up to date: what is asked of them, what is believed.

The primary asks every issuer that is to be refreshed, again and again and whenever issuers change:
first for its OpenID description, then for the key set that this names, over HTTPS to servers that
the issuer's own CA bundle vouches for (spec: auth.md §8.4). What it learns it submits to
`POST /node/jwt_keys/refresh` as itself, so that the change is a transaction like any other.

An issuer is not trusted with more than its own keys: answers are small and JSON or refused, are
not followed elsewhere by redirections, and whatever goes wrong leaves the keys as they are. What
an issuer answered wrongly is submitted as a failure, so that it is counted; a server that could
not be reached, or whose certificate was refused, is only logged.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

import msgspec

from pyccf.codec.text import NESTING_MAX, dump_json, is_deep, load_json
from pyccf.crypto import certs
from pyccf.errors import PyccfError, RemoteError
from pyccf.http.message import Request
from pyccf.http.session import Session
from pyccf.kv.changes import MapChanges
from pyccf.node.forward import ANYWHERE
from pyccf.node.frontend import ForPrimary
from pyccf.node.outputs import Answer, Call, CallFailed
from pyccf.service import tables
from pyccf.types import Json, Millis, SeqNo

if TYPE_CHECKING:
    from pyccf.node.node import Node

DESCRIPTION = "/.well-known/openid-configuration"
SUBMIT = "/jwt_keys/refresh"
"""Where refreshed keys go, within /node."""
CALL_TIMEOUT: Millis = 10_000
ANSWER_MAX = 1024 * 1024
"""Bytes of an issuer's answer."""
URL_MAX = 2048
CONVERSATIONS_MAX = 8
"""Issuers that are asked at the same time."""
HTTPS_PORT = 443

_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}").fullmatch
_TARGET = re.compile(r"/[!-~]*").fullmatch


class Unusable(RemoteError):
    """An issuer's answer that makes no sense."""


class Get(msgspec.Struct, frozen=True):
    """What a conversation wants to be read next."""

    address: str
    """host:port."""
    host: str
    target: str


Conversation: TypeAlias = Generator[Get, Answer, Json]


def converse(issuer: str) -> Conversation:
    """Ask an issuer for its keys; gives the key set. Raises Unusable."""
    described = _object((yield locate(issuer.removesuffix("/") + DESCRIPTION)))
    where = described.get("jwks_uri")
    if not isinstance(where, str):
        raise Unusable("its description names no jwks_uri")
    return _object((yield locate(where)))


def locate(url: str) -> Get:
    """Where a URL is to be read. Raises Unusable for what is no plain https URL."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        raise Unusable(f"{_shown(url)} is not a URL") from None
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if (
        scheme != "https"
        or host is None
        or parts.username is not None
        or len(url) > URL_MAX
        or not _HOST(host)
        or not _TARGET(target)
    ):
        raise Unusable(f"{_shown(url)} is not a plain https URL")
    shown = f"[{host}]" if ":" in host else host
    return Get(f"{shown}:{HTTPS_PORT if port is None else port}", shown, target)


def _shown(url: str) -> str:
    return url[:100].encode("ascii", "backslashreplace").decode()


def _object(answer: Answer) -> dict[str, Json]:
    if answer.status != 200:
        raise Unusable(f"it answered with status {answer.status}")
    try:
        value = load_json(answer.body)
    except ValueError:
        raise Unusable("its answer is not JSON") from None
    if not isinstance(value, dict):
        raise Unusable("its answer is not a JSON object")
    if is_deep(value):
        # It must be written again, where more is under way than here.
        raise Unusable(f"its answer is nested more than {NESTING_MAX} deep")
    return value


class KeyRefresh:
    """Asks the issuers as long as its node is primary."""

    def __init__(self, node: Node, interval: Millis, own_certificate: Callable[[], str]) -> None:
        """`own_certificate` is a certificate (PEM) of this node, to be known by."""
        self._node = node
        self._interval = interval
        self._own_certificate = own_certificate
        self._due: Millis | None = None
        self._changed = False
        """Issuers were written since the last look."""
        self._waiting: deque[str] = deque()
        self._under_way: set[str] = set()
        self._again: set[str] = set()
        """Those under way that were changed since they were begun with: to be asked once more."""
        self._filling = False
        node.store.on_write(tables.JWT_ISSUERS, self._issuers_written)

    def _issuers_written(self, seqno: SeqNo, changes: MapChanges) -> None:
        self._changed = True

    def tick(self, now: Millis) -> None:
        """Begin to ask if it is time."""
        if self._due is None:
            self._due = now + self._interval
        due = now >= self._due
        if due:
            self._due = now + self._interval
        changed, self._changed = self._changed, False
        if not self._node.consensus.can_replicate:
            self._waiting.clear()
            self._again.clear()
        elif due or changed:
            self._look(changed)

    def _look(self, changed: bool) -> None:
        """Ask every issuer that is to be refreshed; one that is being asked, again if issuers were
        changed."""
        try:
            issuers = self._issuers()
        except PyccfError as e:
            self._log("fail", f"the table of issuers cannot be read: {e.message}")
            return
        if changed:
            self._again |= self._under_way.intersection(issuers)
        busy = self._under_way.union(self._waiting)
        self._waiting.extend(issuer for issuer in issuers if issuer not in busy)
        self._fill()

    def _issuers(self) -> list[str]:
        tx = self._node.store.tx()
        try:
            return [
                issuer
                for issuer, row in tables.objects(tx, tables.JWT_ISSUERS)
                if row.get("auto_refresh") is True
            ]
        finally:
            tx.close()

    def _bundle(self, issuer: str) -> str:
        """The CA bundle by which an issuer's servers are known. Raises PyccfError."""
        tx = self._node.store.tx()
        try:
            row = tables.get_object(tx, tables.JWT_ISSUERS, issuer) or {}
            name = row.get("ca_cert_bundle_name")
            if not isinstance(name, str):
                raise Unusable("no CA bundle is named for it")
            bundle = tables.get_text(tx, tables.CA_CERT_BUNDLES, name)
        finally:
            tx.close()
        if bundle is None:
            raise Unusable(f"its CA bundle {name} does not exist")
        if not certs.split_pem(bundle):
            raise Unusable(f"its CA bundle {name} holds no certificate")
        return bundle

    def _fill(self) -> None:
        """Begin with as many as may be asked. One that fails at once calls this again: the round
        that is going on sees to the next."""
        if self._filling:
            return
        self._filling = True
        try:
            self._begin_waiting()
        finally:
            self._filling = False

    def _begin_waiting(self) -> None:
        while self._waiting and len(self._under_way) < CONVERSATIONS_MAX:
            issuer = self._waiting.popleft()
            self._under_way.add(issuer)
            try:
                bundle = self._bundle(issuer)
            except PyccfError as e:
                self._failed(issuer, e.message)
                self._end(issuer)
                continue
            self._advance(issuer, bundle, converse(issuer), None)

    # --- one conversation -----------------------------------------------------------------------

    def _advance(self, issuer: str, bundle: str, talk: Conversation, answer: Answer | None) -> None:
        """Let a conversation go on with an answer (None: let it begin)."""
        try:
            get = next(talk) if answer is None else talk.send(answer)
        except StopIteration as done:
            self._submit({"issuer": issuer, "jwks": done.value})
            self._end(issuer)
        except Unusable as e:
            self._failed(issuer, e.message)
            self._end(issuer)
        else:
            self._node.demand(
                Call(
                    get.address,
                    "GET",
                    get.target,
                    {"host": get.host, "accept": "application/json"},
                    b"",
                    bundle,
                    CALL_TIMEOUT,
                    lambda given: self._replied(issuer, bundle, talk, given),
                    anonymous=True,
                    answer_max=ANSWER_MAX,
                )
            )

    def _replied(
        self, issuer: str, bundle: str, talk: Conversation, answer: Answer | CallFailed
    ) -> None:
        if isinstance(answer, CallFailed):
            self._log("fail", f"keys of {_shown(issuer)} were not refreshed: {answer.reason}")
            self._end(issuer)
        elif not self._node.consensus.can_replicate:
            self._end(issuer)
        elif not self._is_current(issuer, bundle):
            self._log("info", f"{_shown(issuer)} was changed meanwhile: its answer does not count")
            self._again.add(issuer)
            self._end(issuer)
        else:
            self._advance(issuer, bundle, talk, answer)

    def _is_current(self, issuer: str, bundle: str) -> bool:
        """Whether an issuer's servers are still to be known by this bundle."""
        try:
            return self._bundle(issuer) == bundle
        except PyccfError:
            return False

    def _end(self, issuer: str) -> None:
        self._under_way.discard(issuer)
        if issuer in self._again:
            self._again.discard(issuer)
            self._waiting.append(issuer)
        if self._node.consensus.can_replicate:
            self._fill()

    def _failed(self, issuer: str, reason: str) -> None:
        """What an issuer gave is of no use: have that counted."""
        self._log("fail", f"keys of {_shown(issuer)} were not refreshed: {reason}")
        self._submit(False)

    def _submit(self, body: Json) -> None:
        """Do as this node's own request would, had it come over a connection."""
        session = Session(0, "", certs.pem_to_der(self._own_certificate()))
        headers = {"content-type": "application/json"}
        request = Request("POST", f"/node{SUBMIT}", headers, dump_json(body))
        try:
            outcome = self._node.node.execute(session, request, SUBMIT, ANYWHERE)
        except ForPrimary:
            # Another node leads by now, and asks for itself.
            return
        if outcome.status != 200 and body is not False:
            told = outcome.body.decode("utf-8", "replace")
            self._log("fail", f"refreshed keys were not taken: {told}")

    def _log(self, level: str, text: str) -> None:
        self._node.log(level, "", f"JWT key auto-refresh: {text}")
