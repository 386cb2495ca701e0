"""Bytes over TLS to a node in a process, and what comes back, with nothing in between to help."""

from __future__ import annotations

import json
import socket
import ssl
import time
from pathlib import Path
from typing import Any, NamedTuple

from pyccf.codec import cbor
from pyccf.crypto import certs, cosesign
from pyccf.crypto.keys import Curve, PrivateKey
from pyccf.shell.hardware import SystemEntropy
from support.process import NodeProcess, make_config
from support.tls import trusting

ANSWER_S = 60
"""An answer must come within this time."""
SILENCE_S = 0.3
"""For this long nothing may come where no answer is expected."""
TXID = "x-ms-ccf-transaction-id"
VERSION = "api-version=2024-07-01"


class Answer(NamedTuple):
    """One response, and whether the node closed the connection after it."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes
    closed: bool

    @property
    def code(self) -> str | None:
        """CCF's error code, None if the body is no error."""
        try:
            error: str = json.loads(self.body)["error"]["code"]
        except (ValueError, KeyError, TypeError):
            return None
        return error


class Wire:
    """One TLS connection."""

    def __init__(self, address: tuple[str, int], ca: Path, identity: Path | None = None) -> None:
        context = trusting(ca)
        if identity is not None:
            context.load_cert_chain(f"{identity}_cert.pem", f"{identity}_privk.pem")
        plain = socket.create_connection(address, timeout=ANSWER_S)
        self._tls = context.wrap_socket(plain, server_hostname=address[0])
        self._data = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *exc: object) -> None:
        self._tls.close()

    def send(self, data: bytes) -> None:
        """Send bytes; what the node no longer takes because it closed is lost."""
        try:
            self._tls.sendall(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            return

    def _more(self) -> bool:
        """Receive something; False when the node closed the connection."""
        try:
            piece = self._tls.recv(1 << 16)
        except (ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return False
        self._data += piece
        return bool(piece)

    def silent(self) -> bool:
        """Whether nothing comes for a while and the connection stays open."""
        self._tls.settimeout(SILENCE_S)
        try:
            self._tls.recv(1)
        except TimeoutError:
            return True
        finally:
            self._tls.settimeout(ANSWER_S)
        return False

    def answer(self, *, head: bool = False) -> Answer:
        """The next response; fails when the connection ends before it is complete."""
        while b"\r\n\r\n" not in self._data:
            assert self._more(), f"closed without an answer: {self._data!r}"
        raw, _, rest = self._data.partition(b"\r\n\r\n")
        line, *lines = raw.decode("latin-1").split("\r\n")
        version, status, reason = line.split(" ", 2)
        assert version == "HTTP/1.1"
        headers: dict[str, str] = {}
        for one in lines:
            name, colon, value = one.partition(": ")
            assert colon, f"malformed header line {one!r}"
            assert name not in headers
            headers[name] = value
        length = 0 if head else int(headers["content-length"])
        while len(rest) < length:
            self._data = b""
            assert self._more(), "closed in the middle of a body"
            rest += self._data
        self._data = rest[length:]
        return Answer(int(status), reason, headers, rest[:length], False)

    def closes(self) -> bool:
        """Whether the node ends the connection now."""
        return not self._data and not self._more()


def request(
    method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> bytes:
    """A well-formed request."""
    lines = [f"{method} {target} HTTP/1.1", "host: h", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Signer:
    """A person whose certificate and key lie in a folder under its name."""

    def __init__(self, folder: Path, name: str, curve: Curve = Curve.P384) -> None:
        self.path = folder / name
        cert, key = folder / f"{name}_cert.pem", folder / f"{name}_privk.pem"
        if not cert.exists():
            entropy = SystemEntropy()
            made = PrivateKey.generate(curve, entropy)
            now = int(time.time()) - 60
            cert.write_text(
                certs.self_signed(made, f"CN={name}", not_before=now, days=10, entropy=entropy)
            )
            key.write_text(made.pem())
        self.cert = cert.read_text()
        self.key = PrivateKey.from_pem(key.read_text())
        self.id = certs.fingerprint(self.cert)
        self._stamp = int(time.time())

    def header(self, kind: str | None = "proposal", **changes: object) -> dict[object, object]:
        """The protected header of a governance message; members changed, None to leave out."""
        self._stamp += 1
        made: dict[object, object] = {
            1: self.key.public.curve.cose_alg,
            4: self.id.encode(),
            "ccf.gov.msg.type": kind,
            "ccf.gov.msg.created_at": self._stamp,
        }
        names: dict[str, object] = {
            "alg": 1,
            "kid": 4,
            "created_at": "ccf.gov.msg.created_at",
            "proposal_id": "ccf.gov.msg.proposal_id",
        }
        for name, value in changes.items():
            made[names[name]] = value
        return {label: value for label, value in made.items() if value is not None}

    def sign(
        self,
        payload: object,
        header: dict[object, object] | None = None,
        *,
        detached: bool = False,
    ) -> bytes:
        """A signed body; a payload that is not bytes goes in as JSON."""
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return cosesign.sign1(
            self.key, encode_header(header or self.header()), raw, detached=detached
        )


def encode_header(header: dict[object, object]) -> bytes:
    return cbor.mapping((_item(label), _item(value)) for label, value in header.items())


def _item(value: object) -> bytes:
    if isinstance(value, int):
        return cbor.integer(value)
    if isinstance(value, bytes):
        return cbor.bstr(value)
    assert isinstance(value, str)
    return cbor.tstr(value)


class World:
    """An open service of one node in a process, its member, and a user."""

    def __init__(
        self, folder: Path, *arguments: str, actions: list[dict[str, Any]], **config: Any
    ) -> None:
        make_config(folder, **config)
        self.node = NodeProcess(folder, *arguments)
        self.folder = folder
        self.member = Signer(folder, "member0")
        self.user = Signer(folder, "user0")
        self.stranger = Signer(folder, "stranger")
        self.node.wait_ready()
        member = f"/gov/members/state-digests/{self.member.id}"
        digest = self._signed(f"{member}:update", b"", "state_digest")["stateDigest"]
        self._signed(f"{member}:ack", {"stateDigest": digest}, "ack", status=204)
        self.proposal = b""
        """The first proposal, as it was sent."""
        service = json.loads(self.get("/node/network").body)["service_certificate"]
        self.govern(
            *actions,
            {"name": "set_user", "args": {"cert": self.user.cert}},
            {"name": "transition_service_to_open", "args": {"next_service_identity": service}},
        )
        deadline = time.monotonic() + ANSWER_S
        while self.get("/node/ready/app").status != 204:
            assert time.monotonic() < deadline, "the service never opened"
        # A service that opens takes a snapshot, whose evidence is a transaction of its own.
        while not list((folder / "snapshots").glob("*.committed")):
            assert time.monotonic() < deadline, "no snapshot was taken"
            time.sleep(0.02)

    def _signed(self, path: str, payload: object, kind: str, status: int = 200) -> Any:
        body = self.member.sign(payload, self.member.header(kind))
        return self._post(path, body, status)

    def _post(self, path: str, body: bytes, status: int) -> Any:
        headers = {"content-type": "application/cose"}
        answer = self.exchange(request("POST", f"{path}?{VERSION}", body, headers))
        assert answer.status == status, answer
        return json.loads(answer.body) if answer.body else None

    def govern(self, *actions: dict[str, Any]) -> None:
        """Have the member propose and accept."""
        body = self.member.sign({"actions": list(actions)})
        self.proposal = self.proposal or body
        created = self._post("/gov/members/proposals:create", body, 200)
        assert created["proposalState"] == "Accepted", created

    def connect(self, interface: str = "main", identity: Path | None = None) -> Wire:
        """A new connection."""
        ca = self.folder / "service_cert.pem"
        return Wire(self.node.address(interface), ca, identity)

    def exchange(self, data: bytes, interface: str = "main") -> Answer:
        """The answer to some bytes on a connection of their own."""
        with self.connect(interface) as wire:
            wire.send(data)
            return wire.answer()

    def get(self, target: str) -> Answer:
        return self.exchange(request("GET", target))

    def settled(self, target: str) -> str:
        """Id of the last transaction once everything is committed; `target` reads a table."""
        deadline = time.monotonic() + ANSWER_S
        while True:
            answer = self.get(target)
            assert answer.status == 200, answer
            committed: str = json.loads(self.get("/node/commit").body)["transaction_id"]
            if committed == answer.headers[TXID]:
                return committed
            assert time.monotonic() < deadline, "the last transaction is never committed"
            time.sleep(0.02)
