"""Replaying recorded exchanges of the original against a node of ours.

A recorded request is made again for our service: ids, transaction ids and certificates become ours,
signed bodies are signed anew with our people's keys, and the bytes go through the real parser. What
the recording calls volatile is left out of the comparison and, where it is a text, remembered:
later requests that quote it quote our value instead.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pyccf.apps.js.registry import JsApp
from pyccf.codec import cbor, cose
from pyccf.constitutions import text
from pyccf.crypto import certs, cosesign
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey
from pyccf.http.h1 import ParseFailure, Parser
from pyccf.http.limits import HttpLimits
from pyccf.http.session import Session
from pyccf.node.create import Parts
from pyccf.node.frontend import InterfaceRules
from pyccf.shell.install import LoadedApp, install_endpoints
from support.node import INTERFACE, STARTED, Reply, Service

MASK = "~"
PERSON_DAYS = 90
DAY_S = 86_400

LIMITS = {
    INTERFACE: HttpLimits(),
    "plain": HttpLimits(),
    "small_limits": HttpLimits(max_body_size=1000, max_header_size=1000, max_headers_count=10),
}
"""Interfaces of the recorded node that a replay can stand in for."""

PEOPLE: dict[str, tuple[Curve, int]] = {
    "user0": (Curve.P384, -1),
    "user1": (Curve.P384, -1),
    "p256": (Curve.P256, -1),
    "p521": (Curve.P521, -1),
    "expired": (Curve.P384, -PERSON_DAYS - 10),
    "future": (Curve.P384, 10),
    "stranger": (Curve.P384, -1),
    "member3": (Curve.P384, -1),
    "member4": (Curve.P384, -1),
}
"""Clients beside the first members: curve, and the day on which the certificate begins."""
USERS = ("user0", "user1", "p256", "p521", "expired", "future")

RECORDED_HOST_DATA = "3ffea9f4681abd257506263e77a31cacfcbcd253b276349c4c81e706b43c0eec"
"""Digest of the program that was recorded."""
OUR_HOST_DATA = "ab" * 32

_STEP = re.compile(r"\.([A-Za-z0-9_-]+)|\[(\*|\d+)\]|\['([^']*)'\]")
_TOKEN = re.compile(
    r"(?<![0-9A-Za-z])[0-9a-f]{64}(?![0-9A-Za-z])"
    r"|(?<![0-9.])\d+\.\d+(?![0-9.])"
    r"|-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----(?:\n|\\n)?",
    re.DOTALL,
)
"""What a later request may quote of an earlier answer: ids and digests, transactions, PEM."""
_TRACE = re.compile(
    r"(?:Trace: )?\s*(?:    at [^\n]*"
    r"\((?:native|public:ccf\.gov\.constitution\[0\](?::\d+)*)\)\n?)+"
)
"""Lines of a stack trace within the constitution, whose text is our own."""
_ID = re.compile(r"[0-9a-f]{64}")
_VARYING = re.compile(r"[0-9a-f]{64}|\d+")


def load(folder: Path, name: str) -> list[dict[str, Any]]:
    """The exchanges of one file in order."""
    lines = (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


class Client(NamedTuple):
    """Who speaks: a key with its certificate."""

    key: PrivateKey
    cert: str

    @property
    def id(self) -> str:
        return certs.fingerprint(self.cert)


def make_client(name: str, curve: Curve, begins: int, now: int = STARTED) -> Client:
    """A self-signed certificate that begins so many days after the service."""
    entropy = SeededEntropy(f"client {name}")
    key = PrivateKey.generate(curve, entropy)
    not_before = now + begins * DAY_S
    cert = certs.self_signed(
        key, f"CN={name}", not_before=not_before, days=PERSON_DAYS, ca=False, entropy=entropy
    )
    return Client(_forgetful(key), cert)


def _forgetful(key: PrivateKey) -> PrivateKey:
    """The same key, never signing the same way twice: like the recorded people's."""
    return PrivateKey.from_pem(key.pem())


def make_service(*, constitution: str | None = None, members: int = 3) -> Service:
    """A new service that runs JavaScript, with the recorded one's interfaces."""
    app = JsApp()

    def install(parts: Parts) -> list[Any]:
        entropy = SeededEntropy("operations")
        install_endpoints(parts, LoadedApp(None, app), entropy, dict, dict)
        return []

    made = Service(
        app=app,
        install=install,
        constitution=text("test", "virtual") if constitution is None else constitution,
        members=members,
    )
    for name in LIMITS:
        made.node.interfaces.setdefault(name, InterfaceRules())
    return made


def _steps(path: str) -> list[str]:
    return [a or b or c for a, b, c in _STEP.findall(path.removeprefix("$"))]


def _places(value: Any, steps: list[str]) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything a volatile path names."""
    if not steps:
        return
    head, rest = steps[0], steps[1:]
    keys: list[Any]
    if isinstance(value, list):
        keys = list(range(len(value))) if head == "*" else [int(head)] if head.isdigit() else []
    elif isinstance(value, dict):
        keys = list(value) if head == "*" else [head] if head in value else []
    else:
        return
    for key in keys:
        if rest:
            yield from _places(value[key], rest)
        else:
            yield value, key


def has_place(value: Any, path: str) -> bool:
    """Whether a volatile path names anything in a body."""
    return next(_places(value, _steps(path.partition(" (")[0])), None) is not None


class Answer(NamedTuple):
    """What came back: None when nothing did."""

    reply: Reply | None
    reason: str
    closed: bool


class Replay:
    """One service of ours, spoken to as the recorded one was."""

    def __init__(self, service: Service, symbols: dict[str, str]) -> None:
        self.service = service
        self.symbols = symbols
        self.known: dict[str, str] = {}
        """Recorded text → ours."""
        self.clients = {
            name: make_client(name, curve, begins) for name, (curve, begins) in PEOPLE.items()
        }
        for i, member in enumerate(service.members):
            self.clients[f"member{i}"] = Client(_forgetful(member.key), member.cert)
        for name, client in self.clients.items():
            if f"{name}_id" in symbols:
                self.known[symbols[f"{name}_id"]] = client.id
        for name in ("node0_id", "node1_id"):
            # Requests that ask for some node of the three ask for ours.
            if name in symbols:
                self.known[symbols[name]] = service.node.node_id
        self.known[RECORDED_HOST_DATA] = OUR_HOST_DATA
        self._bodies: dict[str, bytes] = {}
        """Recorded signed body → ours; the same again is the same bytes again."""
        self.payloads: dict[str, Callable[[Replay], str]] = {}
        """Payloads that the recording only names by digest, by name of their exchange."""
        self.literals: dict[str, str] = {}
        """Recorded text of any form → ours, in signed payloads."""
        self.signers: dict[str, str] = {}
        """Who signed bodies of which the recording does not say it."""

    # --- texts ----------------------------------------------------------------------------------

    def ours(self, text: str) -> str:
        """Recorded text with every value that is ours by now."""
        return _TOKEN.sub(lambda found: self._token(found[0]), text)

    def _token(self, token: str) -> str:
        mine = self.known.get(token)
        if mine is not None:
            return mine
        if token.startswith("-----"):
            escaped = token.endswith("\\n")
            plain = token.replace("\\n", "\n")
            mine = self.known.get(plain)
            if mine is None:
                mine = self._certificate(plain)
            if mine is not None:
                return mine.replace("\n", "\\n") if escaped else mine
        return token

    def _certificate(self, pem: str) -> str | None:
        """Our certificate in place of a recorded person's, known by its fingerprint."""
        try:
            ident = certs.fingerprint(pem)
        except ValueError:
            return None  # bytes of something else that look like one
        for name, client in self.clients.items():
            if self.symbols.get(f"{name}_id") == ident:
                self.known[pem] = client.cert
                return client.cert
        return None

    def learn(self, recorded: str, mine: str) -> None:
        """From now on, quote `mine` where the recording quotes `recorded`."""
        self.known[recorded] = mine

    # --- requests -------------------------------------------------------------------------------

    def _signed(self, exchange: dict[str, Any]) -> bytes:
        """The signed body, structure and faults as recorded, ids and signature ours."""
        asked = exchange["request"]
        told = asked.get("cose") or self._told(exchange)
        kid = told["protected"].get("4", "")
        signer = self.clients[told["signer"]]
        if re.fullmatch(r"bstr:[0-9a-f]{64}", kid) and kid[5:] not in self.known:
            self.learn(kid[5:], signer.id)
        if "body_base64" not in asked:
            pairs = [_header(label, self._valued(v)) for label, v in told["protected"].items()]
            protected = cbor.mapping(pairs)
            payload = self.payloads[exchange["name"]](self).encode()
            return cosesign.sign1(signer.key, protected, payload, detached=False)
        given = asked["body_base64"]
        if given not in self._bodies:
            self._bodies[given] = self._again(base64.b64decode(given), told, signer)
        return self._bodies[given]

    def _told(self, exchange: dict[str, Any]) -> dict[str, Any]:
        """What the recording leaves out of a body that another tool signed."""
        envelope = cose.parse_sign1(base64.b64decode(exchange["request"]["body_base64"]))
        assert envelope.payload is not None
        assert envelope.kid is not None
        return {
            "signer": self.signers[exchange["name"]],
            "protected": {"4": f"bstr:{envelope.kid.decode()}"},
            "payload": envelope.payload.decode(),
        }

    def _again(self, recorded: bytes, told: dict[str, Any], signer: Client) -> bytes:
        """A recorded envelope with our ids, signed by our signer."""
        try:
            envelope = cose.parse_sign1(recorded, tagged_required=False)
        except cose.CoseError:
            return self._replaced(recorded)
        tag, head = (b"\xd2", recorded[1:]) if recorded[:1] == b"\xd2" else (b"", recorded)
        assert head[:1] == b"\x84", "an array of four"
        text = told["payload"]
        for theirs, mine in self.literals.items():
            text = text.replace(theirs, mine)
        payload = self._replaced(text.encode())
        protected = self._protected(envelope.protected)
        signature = signer.key.sign_raw(cose.sig_structure(protected, payload))
        if told.get("bad_signature"):
            signature = signature[:-1] + bytes([signature[-1] ^ 1])
        # The unprotected header lies between the protected one and payload or its absence.
        start = 1 + len(cbor.bstr(envelope.protected))
        carried = cbor.NULL if envelope.payload is None else cbor.bstr(envelope.payload)
        tail = carried + cbor.bstr(envelope.signature)
        assert head.endswith(tail)
        unprotected = head[start : len(head) - len(tail)]
        ours = cbor.NULL if envelope.payload is None else cbor.bstr(payload)
        return tag + b"\x84" + cbor.bstr(protected) + unprotected + ours + cbor.bstr(signature)

    def _protected(self, raw: bytes) -> bytes:
        """A protected header; ids are as long as those they replace."""
        text = raw.decode("latin-1")
        return _ID.sub(lambda id: self.known.get(id[0], id[0]), text).encode("latin-1")

    def _replaced(self, raw: bytes) -> bytes:
        return self.ours(raw.decode("latin-1")).encode("latin-1")

    def _valued(self, value: Any) -> Any:
        return self.ours(value) if isinstance(value, str) else value

    def body(self, exchange: dict[str, Any]) -> bytes:
        """The body of the request of an exchange, made for our service."""
        asked = exchange["request"]
        if "cose" in asked or exchange["name"] in self.signers:
            return self._signed(exchange)
        if "body_base64" in asked:
            return base64.b64decode(asked["body_base64"])
        if "body_sha256" in asked:
            return bytes(asked["body_length"])
        text: str = asked.get("body", "")
        return text.encode()

    def message(self, exchange: dict[str, Any]) -> bytes:
        """The bytes of the request of an exchange, made for our service."""
        asked = exchange["request"]
        if "raw_base64" in asked:
            return self._replaced(base64.b64decode(asked["raw_base64"]))
        body = self.body(exchange)
        lines = [f"{asked['method']} {self.ours(asked['path'])} HTTP/1.1".encode()]
        for name, value in asked["headers"]:
            if name.lower() == "content-length":
                value = str(len(body))
            encoding = "latin-1" if exchange["name"] == "header latin1 bytes" else "utf-8"
            lines.append(f"{name}: {self.ours(value)}".encode(encoding))
        return b"\r\n".join(lines) + b"\r\n\r\n" + body

    def connect(self, exchange: dict[str, Any]) -> Session:
        """A new connection as the recorded client made it."""
        session = self.service.session()
        session.interface = exchange["interface"]
        client = exchange["request"].get("client", "none")
        if client != "none" and exchange["interface"] != "plain":
            session.peer_cert = certs.pem_to_der(self.clients[client].cert)
        return session

    def send(self, exchange: dict[str, Any]) -> Answer:
        """Our answer to an exchange."""
        session = self.connect(exchange)
        parser = Parser(LIMITS[exchange["interface"]])
        data = self.message(exchange)
        raw: list[bytes] = []
        session.deferrer = lambda: raw.append
        try:
            requests = parser.feed(data)
        except ParseFailure as failure:
            return _answer(failure.encode(), True)
        for request in requests:
            sent = self.service.node.handle(session, request)
            if sent is not None:
                raw.append(sent)
            self.service.pump()
        assert len(raw) == len(requests) <= 1, "one request, one reply"
        return _answer(raw[0], session.close_after) if raw else Answer(None, "", False)

    def govern(self, *actions: dict[str, Any]) -> None:
        """Have the members propose and accept something that was not recorded."""
        path = "/gov/members/proposals"
        version = "?api-version=2024-07-01"
        created = self.sign("member0", "proposal", {"actions": list(actions)})
        reply = self.post(f"{path}:create{version}", created)
        proposal = reply["proposalId"]
        for name in ("member0", "member1"):
            if reply["proposalState"] == "Accepted":
                break
            vote = {"ballot": "export function vote () { return true }"}
            signed = self.sign(name, "ballot", vote, proposal)
            member = self.clients[name].id
            reply = self.post(f"{path}/{proposal}/ballots/{member}:submit{version}", signed)
        assert reply["proposalState"] == "Accepted"

    def sign(self, name: str, kind: str, payload: Any, proposal: str = "") -> bytes:
        """A governance message of a member; no payload is no bytes."""
        signer = self.clients[name]
        pairs = [
            _header("1", signer.key.public.curve.cose_alg),
            _header("4", f"bstr:{signer.id}"),
            _header("ccf.gov.msg.type", kind),
            _header("ccf.gov.msg.created_at", STARTED),
        ]
        if proposal:
            pairs.append(_header("ccf.gov.msg.proposal_id", proposal))
        protected = cbor.mapping(pairs)
        raw = b"" if payload is None else json.dumps(payload).encode()
        return cosesign.sign1(signer.key, protected, raw, detached=False)

    def post(self, target: str, body: bytes, status: int = 200) -> Any:
        """The JSON answer to a signed body (None: there is none)."""
        headers = {"content-type": "application/cose"}
        reply = self.service.call("POST", target, body, headers=headers)
        assert reply.status == status, reply.body
        return reply.json if reply.body else None

    def play(self, exchange: dict[str, Any]) -> tuple[Answer, list[str]]:
        """Our answer to an exchange, and how it differs from the recorded one."""
        answer = self.send(exchange)
        return answer, self.differences(exchange, answer)

    # --- comparison -----------------------------------------------------------------------------

    def differences(self, exchange: dict[str, Any], answer: Answer) -> list[str]:
        """What differs and may not; learns what may.

        Each begins with what it is about: status, reason, closed, header NAME or body.
        """
        wanted = exchange["response"]
        reply = answer.reply
        if reply is None or wanted["status"] is None:
            ours = None if reply is None else reply.status
            return [] if ours == wanted["status"] else [f"status {ours}, not {wanted['status']}"]
        if reply.status != wanted["status"]:
            return [f"status {reply.status}, not {wanted['status']}: {reply.body[:1500]!r}"]
        found: list[str] = []
        if answer.reason != wanted.get("reason", answer.reason):
            found.append(f"reason {answer.reason}, not {wanted['reason']}")
        if wanted.get("connection_closed", answer.closed) != answer.closed:
            found.append(f"closed {answer.closed}")
        found += self._header_differences(exchange, reply)
        if "body_sha256" in wanted:
            return found
        return found + self._body_differences(exchange, reply)

    def _header_differences(self, exchange: dict[str, Any], reply: Reply) -> list[str]:
        found: list[str] = []
        wanted: dict[str, str] = exchange["response"]["headers"]
        loose = {v.removeprefix("response.headers.") for v in exchange["volatile"]}
        loose.add("content-length")
        for name in sorted(set(wanted) | set(reply.headers)):
            here, there = reply.headers.get(name), wanted.get(name)
            if here is None or there is None:
                found.append(f"header {name}: {here!r}, not {there!r}")
            elif name == "x-ms-ccf-transaction-id":
                self.learn(there, here)
            elif here != self.ours(there) and name not in loose:
                found.append(f"header {name}: {here!r}, not {there!r}")
        return found

    def _body_differences(self, exchange: dict[str, Any], reply: Reply) -> list[str]:
        wanted = exchange["response"]
        volatile: list[str] = exchange["volatile"]
        if "response.body" in volatile or "response.body_base64" in volatile:
            return []
        if "body" in wanted:
            recorded = wanted["body"].encode()
        else:
            recorded = base64.b64decode(wanted.get("body_base64", ""))
        try:
            there, here = json.loads(recorded), json.loads(reply.body)
        except ValueError:
            ours = self._replaced(recorded)
            return [] if ours == reply.body else [f"body {reply.body!r}, not {ours!r}"]
        rules = [
            v.removeprefix("response.body ") for v in volatile if v.startswith("response.body ")
        ]
        there, here = self._one_node(there), self._one_node(here)
        for rule in rules:
            self._mask(rule, there, here)
        there, here = _traceless(there), _traceless(here)
        there = json.loads(self.ours(json.dumps(there, ensure_ascii=False)))
        if _unordered(there) != _unordered(here):
            return [f"body {json.dumps(here)[:1500]}, not {json.dumps(there)[:1500]}"]
        if (
            there == here
            and not rules
            and b"rpc" not in reply.body
            and b"    at " not in reply.body
        ):
            # Nothing may differ, so the texts are the same too, order of members included.
            ours = self.ours(recorded.decode()).encode()
            if ours != reply.body:
                return [f"body as text: {reply.body[:700]!r}, not {ours[:700]!r}"]
        return []

    def _one_node(self, value: Any) -> Any:
        """Of a network of three, the first node; of its interfaces, the main one; no addresses."""
        if isinstance(value, list):
            return [self._one_node(v) for v in value if not self._other_node(v)]
        if not isinstance(value, dict):
            return value
        kept: dict[str, Any] = {}
        for key, member in value.items():
            if key in ("rpc_interfaces", "rpcInterfaces") and INTERFACE in member:
                main = member[INTERFACE]
                kept[key] = {INTERFACE: {k: v for k, v in main.items() if "ddress" not in k}}
            else:
                kept[key] = self._one_node(member)
        return kept

    def _other_node(self, value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        named = value.get("node_id") or value.get("nodeId")
        first = (None, self.symbols.get("node0_id"), self.service.node.node_id)
        return named not in first

    def _mask(self, rule: str, there: Any, here: Any) -> None:
        # How long a path in the tree is depends on where the transaction lies.
        path, _, kind = rule.replace(".proof[*].left", ".proof").partition(" (")
        steps = _steps(path)
        if kind.startswith("present"):
            for side in (there, here):
                for container, key in list(_places(side, steps)):
                    del container[key]
            return
        for side in (there, here):
            for container, key in list(_places(side, steps)):
                if kind.startswith("keys") and isinstance(container[key], dict):
                    container[key] = sorted(map(str, container[key].values()))
                elif kind.startswith("length"):
                    container[key] = MASK
        if kind:
            return
        if "*" not in steps:
            for (c1, k1), (c2, k2) in zip(
                _places(there, steps), _places(here, steps), strict=False
            ):
                if isinstance(c1[k1], str) and isinstance(c2[k2], str):
                    self.learn(c1[k1], c2[k2])
        for side in (there, here):
            for container, key in list(_places(side, steps)):
                value = container[key]
                if steps[-1] == "message" and isinstance(value, str):
                    # Only what counts or names may vary in a sentence.
                    container[key] = _VARYING.sub(MASK, self.ours(value))
                else:
                    container[key] = MASK


def _header(label: str, value: Any) -> tuple[bytes, bytes]:
    """A member of a protected header as the recording writes it down."""
    key = cbor.integer(int(label)) if label.lstrip("-").isdigit() else cbor.tstr(label)
    if isinstance(value, str):
        if value.startswith("bstr:"):
            return key, cbor.bstr(value.removeprefix("bstr:").encode())
        return key, cbor.tstr(value)
    return key, cbor.integer(value)


def _answer(data: bytes, closed: bool) -> Answer:
    line = data.partition(b"\r\n")[0].decode()
    return Answer(Reply(data), line.split(" ", 2)[2], closed)


def _traceless(value: Any) -> Any:
    """Without the lines of a stack trace that tell where the constitution threw."""
    if isinstance(value, str):
        return _TRACE.sub(" ", value)
    if isinstance(value, dict):
        return {key: _traceless(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_traceless(v) for v in value]
    return value


def _unordered(value: Any) -> Any:
    """Lists of objects or of texts compare as sets: their order is the original's hash order."""
    if isinstance(value, dict):
        return {key: _unordered(v) for key, v in value.items()}
    if isinstance(value, list):
        made = [_unordered(v) for v in value]
        if made and all(isinstance(v, (dict, str)) for v in made):
            return sorted(made, key=lambda v: json.dumps(v, sort_keys=True))
        return made
    return value
