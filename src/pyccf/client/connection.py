"""What a client asks of a service and how it takes the answers, whoever sends them (`steps`).

Promises: a node must show a certificate endorsed by the service certificate given; redirects to
other nodes of the same service are followed with method, body and headers kept (at most
`REDIRECTS_MAX`), but never from https to anything else; proxies and other settings from the
environment are not used. A reply is returned whatever its status; `Reply.check` raises.

Several addresses may be given. The first that answers is kept until it no longer does; then the
next is asked. What is not a read is never sent a second time once a node may have executed it: that
is the error `Unanswered`. With patience (`patience_s`), requests that the service could not take
for the moment, and did not execute, are sent again (`client.retry` says which).

Our extension of the protocol (docs: "answer when committed"): `wait="commit"` or `wait="receipt"`
asks the service to answer only once the transaction is committed, or with its receipt besides.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar, cast

import httpx2
import msgspec

from pyccf import __version__
from pyccf.client.errors import (
    ServiceError,
    Unanswered,
    UnexpectedAnswer,
    Unreachable,
    Untrusted,
    service_error,
)
from pyccf.client.retry import READS, Pause, may_try_again
from pyccf.client.signing import Identity
from pyccf.client.steps import Hands, Rest, Send, Steps, conversation, fetch, send
from pyccf.codec.text import dump_json, load_json, unb64
from pyccf.errors import LocalError
from pyccf.types import Json, TxID

Wait: TypeAlias = Literal["commit", "receipt"]

REDIRECTS_MAX = 5
TIMEOUT_S = 10.0
"""Default patience with one request."""
WAIT_MARGIN_S = 5.0
"""How much longer than the service's own patience we wait for its answer."""

TXID_HEADER = "x-ms-ccf-transaction-id"
WAIT_HEADER = "x-pyccf-wait"
WAIT_TIMEOUT_HEADER = "x-pyccf-wait-timeout-ms"
RECEIPT_HEADER = "x-pyccf-receipt"
ADDRESS = "It looks like https://host:port."

_REDIRECTS = frozenset({301, 302, 307, 308})
_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)

T = TypeVar("T")


class Reply(msgspec.Struct, frozen=True):
    """An HTTP response: status, headers (names in lower case) and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def txid(self) -> TxID | None:
        """The transaction that was executed, or None if none was."""
        text = self.headers.get(TXID_HEADER)
        return None if text is None else TxID.parse(text)

    @property
    def receipt(self) -> dict[str, Json] | None:
        """The receipt that came with the answer, if one was asked for."""
        text = self.headers.get(RECEIPT_HEADER)
        if text is None:
            return None
        try:
            value = load_json(unb64(text))
        except ValueError as error:
            raise UnexpectedAnswer(f"The receipt in the answer cannot be read: {error}") from error
        if not isinstance(value, dict):
            raise UnexpectedAnswer("The receipt in the answer is not a JSON object")
        return value

    def json(self) -> Json:
        """The body as JSON; None if it is empty. Raises UnexpectedAnswer."""
        if not self.body:
            return None
        try:
            return load_json(self.body)
        except ValueError as error:
            raise UnexpectedAnswer(f"The answer is not JSON: {error}") from error

    def text(self) -> str:
        """The body as UTF-8 text."""
        return self.body.decode("utf-8", "replace")

    def check(self) -> Reply:
        """This reply if its status is below 400; otherwise raises ServiceError."""
        if self.status >= 400:
            raise service_error(self.status, self.body, self.txid)
        return self

    def decode(self, kind: type[T]) -> T:
        """The body of a successful reply as a `kind`. Raises ServiceError, UnexpectedAnswer."""
        self.check()
        try:
            return decoder(kind).decode(self.body)
        except msgspec.DecodeError as error:
            raise UnexpectedAnswer(
                f"The answer is not a {getattr(kind, '__name__', kind)}: {error}",
                hint="Is this the address of a CCF node?",
            ) from error


_learning = threading.Lock()
_decoders: dict[object, object] = {}


def decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    """What reads JSON as a `kind`.

    msgspec learns a type when it first meets it; a second thread that meets it meanwhile would read
    what is half made, and end the process.
    """
    with _learning:
        found = _decoders.get(kind)
        if found is None:
            found = _decoders[kind] = msgspec.json.Decoder(kind)
    return cast("msgspec.json.Decoder[T]", found)


class Connection(Hands):
    """Requests to one service."""

    def __init__(
        self,
        url: str | Sequence[str],
        service_cert: str | Path,
        *,
        cert: str | Path | None = None,
        key: str | Path | None = None,
        token: str | Callable[[], str | Awaitable[str]] | None = None,
        timeout_s: float = TIMEOUT_S,
        patience_s: float = 0.0,
        transport: httpx2.MockTransport | None = None,
        unix_time: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`url` is the address of a node, or several in the order in which to ask them.

        `service_cert`, `cert` and `key` are paths of PEM files; the service certificate may also be
        given as PEM text. `token` is a bearer token (JWT) to send with each request, or what gives
        one that is still good; for AsyncClient it may be a coroutine function. `timeout_s` bounds
        one exchange; for `patience_s` in all, a request that was not executed is sent again. Raises
        LocalError for files that cannot be used. `transport` and the clocks are for tests.
        """
        given = (url,) if isinstance(url, str) else tuple(url)
        if not given:
            raise LocalError("A client needs the address of at least one node")
        if (cert is None) != (key is None):
            raise LocalError("A certificate and its key must be given together")
        self.urls = tuple(_address(one) for one in given)
        self._asked = 0
        self.service_cert_pem = _pem(service_cert)
        self.identity = None if cert is None or key is None else Identity.load(cert, key)
        self._token = token
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._unix_time = unix_time
        self._monotonic = monotonic
        self._settings = {
            "verify": _tls(self.service_cert_pem, self.identity),
            "transport": transport,
            "timeout": timeout_s,
            "trust_env": False,
            "headers": {"user-agent": f"pyccf/{__version__}"},
        }

    @property
    def url(self) -> str:
        """Address of the node that is asked now."""
        return self.urls[self._asked]

    def _request(
        self,
        method: str,
        path: str,
        *,
        json: Json = None,
        content: bytes | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        wait: Wait | None = None,
        wait_timeout_ms: int | None = None,
    ) -> Steps[Reply]:
        """Send one request and return the reply, whatever its status.

        `json` is sent as JSON, `content` as it is. With `wait` the answer comes once the
        transaction is committed; past `wait_timeout_ms` (by default the client's own patience) it
        is 504 CommitTimeout. Raises Unreachable (no node was reached), Unanswered (a node was, and
        may have executed the request), Untrusted, and LocalError for what HTTP does not allow.
        """
        sent = dict(headers or {})
        if self._token is not None:
            token = self._token
            if not isinstance(token, str):
                token = yield from fetch(token)
            sent.setdefault("authorization", f"Bearer {token}")
        if not all(name.isascii() and value.isascii() for name, value in sent.items()):
            raise _not_allowed()
        timeout_s = self._timeout_s
        if json is not None:
            content = dump_json(json)
            sent.setdefault("content-type", "application/json")
        if wait is not None:
            sent[WAIT_HEADER] = wait
            patience_ms = int(timeout_s * 1000) if wait_timeout_ms is None else wait_timeout_ms
            sent[WAIT_TIMEOUT_HEADER] = str(patience_ms)
            timeout_s = patience_ms / 1000 + WAIT_MARGIN_S
        pause = self._pause(self._patience_s)
        while True:
            refusal: Unreachable | None = None
            try:
                reply = yield from self._ask(method, path, params, content, sent, timeout_s)
                if not _not_now(reply):
                    return reply
            except Unanswered:
                raise
            except Unreachable as error:
                refusal = error
            seconds = pause.next_s()
            if seconds is None:
                if refusal is not None:
                    raise refusal
                return reply
            yield Rest(seconds)
            self._asked = (self._asked + 1) % len(self.urls)

    def _get(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Steps[Reply]:
        """GET; the reply whatever its status."""
        return self._request("GET", path, params=params, headers=headers)

    def _post(
        self,
        path: str,
        *,
        json: Json = None,
        content: bytes | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        wait: Wait | None = None,
        wait_timeout_ms: int | None = None,
    ) -> Steps[Reply]:
        """POST; the reply whatever its status."""
        return self._request(
            "POST",
            path,
            json=json,
            content=content,
            params=params,
            headers=headers,
            wait=wait,
            wait_timeout_ms=wait_timeout_ms,
        )

    request = conversation(_request)
    get = conversation(_get)
    post = conversation(_post)

    def _pause(self, timeout_s: float) -> Pause:
        return Pause(self._monotonic, timeout_s)

    def _ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        content: bytes | None,
        headers: Mapping[str, str],
        timeout_s: float,
    ) -> Steps[Reply]:
        """Ask each address at most once, the one that answered last first."""
        first = self._asked
        for at in range(1 if path.startswith("https://") else len(self.urls)):
            node = (first + at) % len(self.urls)
            try:
                url = httpx2.URL(self.urls[node]).join(path)
            except (httpx2.InvalidURL, UnicodeEncodeError) as error:
                raise LocalError(f"{path} is no path: {error}", hint="It begins with /.") from None
            if params:
                url = url.copy_merge_params(dict(params))
            try:
                reply = yield from self._follow(method, url, content, headers, timeout_s)
            except Unanswered:
                raise
            except Unreachable as error:
                refusal = error
            else:
                self._asked = node
                return reply
        raise refusal

    def _follow(
        self,
        method: str,
        url: httpx2.URL,
        content: bytes | None,
        headers: Mapping[str, str],
        timeout_s: float,
    ) -> Steps[Reply]:
        """One request, wherever redirects lead it."""
        for _ in range(REDIRECTS_MAX + 1):
            response = yield from self._send(method, url, content, headers, timeout_s)
            target = response.headers.get("location")
            if response.status_code not in _REDIRECTS or target is None:
                return Reply(response.status_code, dict(response.headers.items()), response.content)
            try:
                following = url.join(target)
            except httpx2.InvalidURL as error:
                raise UnexpectedAnswer(f"{url} redirects to no address: {error}") from None
            if url.scheme == "https" and following.scheme != "https":
                raise UnexpectedAnswer(f"{url} redirects away from TLS, to {following}")
            url = following
        raise UnexpectedAnswer(f"More than {REDIRECTS_MAX} redirects, the last to {url}")

    def _send(
        self,
        method: str,
        url: httpx2.URL,
        content: bytes | None,
        headers: Mapping[str, str],
        timeout_s: float,
    ) -> Steps[httpx2.Response]:
        attempts = 2 if method in READS else 1
        while True:
            attempts -= 1
            try:
                return (yield from send(Send(method, url, content, headers, timeout_s)))
            except (httpx2.ReadError, httpx2.RemoteProtocolError) as error:
                # A kept connection may have been closed by the node since its last use.
                if attempts == 0:
                    raise _failure(method, url, error) from error
            except httpx2.LocalProtocolError:
                # Not chained: what it quotes may be a secret.
                raise _not_allowed() from None
            except httpx2.RequestError as error:
                raise _failure(method, url, error) from error


def _not_allowed() -> LocalError:
    return LocalError(
        "The request cannot be sent: a header holds what HTTP does not allow",
        hint="Is a letter of a token or a header not ASCII, or a line break or blank at its end?",
    )


def _not_now(reply: Reply) -> bool:
    """Whether the service could not take a request for the moment, and did nothing."""
    if reply.status != 503:
        return False
    error: ServiceError = service_error(reply.status, reply.body)
    return may_try_again(reply.status, error.code, error.text, TXID_HEADER in reply.headers)


def _address(url: str) -> str:
    """The address of a node, judged before anything is sent there. Raises LocalError."""
    made = url if "://" in url else f"https://{url}"
    try:
        host = httpx2.URL(made).host
    except httpx2.InvalidURL as error:
        raise LocalError(f"{url} is no address of a node: {error}", hint=ADDRESS) from None
    if not host:
        raise LocalError(f"{url} is no address of a node: it names no host", hint=ADDRESS)
    return made


def _failure(method: str, url: httpx2.URL, error: Exception) -> Untrusted | Unreachable:
    where = f"{url.scheme}://{url.netloc.decode('ascii')}"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Untrusted(
                f"The node at {where} cannot be trusted: {cause.verify_message}",
                hint="Is this the certificate of the service that the node belongs to?",
            )
        cause = cause.__cause__ or cause.__context__
    if method not in READS and not isinstance(error, _NEVER_SENT):
        return Unanswered(
            f"No answer came from {where}, and the request may have been executed",
            hint="See whether it took effect before you send it again.",
        )
    if isinstance(error, httpx2.TimeoutException):
        return Unreachable(
            f"No answer from {where} in time", hint="The node may be overloaded or hanging."
        )
    return Unreachable(f"Could not reach {where}: {error}", hint="Is the node running there?")


def _tls(service_cert_pem: str, identity: Identity | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=service_cert_pem)
    except (ssl.SSLError, ValueError) as error:
        raise LocalError(
            f"The service certificate cannot be used: {error}",
            hint="Give the PEM file that the node wrote as service_cert.pem.",
        ) from error
    if identity is not None:
        context.load_cert_chain(identity.cert_path, identity.key_path)
    return context


def _pem(source: str | Path) -> str:
    if isinstance(source, str) and "-----BEGIN" in source:
        return source
    try:
        return Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise LocalError(
            f"Could not read the service certificate {source}: {error.strerror}",
            hint="Give the path of the service_cert.pem that the node wrote.",
        ) from error
    except UnicodeDecodeError as error:
        raise LocalError(f"The service certificate {source} is not a PEM file") from error
