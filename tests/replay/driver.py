"""Plays recorded exchanges on a network of ours, in their order.

What a recording says in words is followed: `setup` tells which nodes were suspended or led, names
tell which exchanges shared a connection, ports tell which node was asked. Before an exchange all
nodes have committed what was written before it, as the recorder waited for it, too; exchanges that
raced with that are recognised by their names and notes.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509

from pyccf.codec.text import unb64
from pyccf.crypto.keys import Curve
from replay import http2, joiners
from replay.nodes import MAIN, Nodes
from replay.recording import Exchange, Recording, moment
from replay.wire import ANSWER_TIMEOUT_S, SILENCE_S, Line, NoAnswer
from support.documents import wordless
from support.node import Reply
from support.transcripts import (
    DAY_S,
    OUR_HOST_DATA,
    PEOPLE,
    Answer,
    Client,
    Replay,
    _answer,
    make_client,
)

SHARE_BYTES = 44
SHARES_MAX = 255
"""What is longer or shorter, or numbered higher, is no share of anything."""
DRIFT = 20
"""Transaction ids this near to a known one are understood as relative to it."""
POLL_S = 0.1
NODES_CHANGE_S = 3.0
QUOTED = "in object: "
"""What follows in a message is the request's own text."""

_SHARED = re.compile(
    r"^(?:session [A-Z]\b|session after redirect|sticky|keep-alive|HTTP/2 session)"
)
_HELD_OPEN = re.compile(r"^cap: session")
_PIPELINED = re.compile(r"request (\d+) of (\d+)")
_UNCOMMITTED = re.compile(r"right after|just after|historical pending")
_RACES = re.compile(r"pending|right after|just after|at once|local read|\(races\)", re.IGNORECASE)
_OF_NODES = re.compile(r"/node/network/(removable_)?nodes")
_SESSION_NUMBER = re.compile(r"on session \d+")
_LIBRARY = re.compile(r"\[json\.exception|OSSL:|OpenSSL error")
_LISTED = "Multiple potential matches"
_SNAPSHOT = re.compile(r"snapshot_\d+_\d+(?:\.committed)?")
_BEGUN_PEM = re.compile(
    r"-----BEGIN CERTIFICATE-----(?:\n|\\n)(?:[A-Za-z0-9+/=]|\n|\\n)*?(?=(?:\n|\\n)(?:Trace:| ))"
)
_SEQNO = re.compile(r"((?:from_seqno|to_seqno)=)(\d+)(?!\d)")
_TXID = re.compile(r"(\d+)\.(\d+)")


def people(names: Iterable[str], now: int) -> dict[str, Client]:
    """Everybody who speaks in a recording, with certificates that count from now."""
    usual = (Curve.P384, -1)
    return {
        name: make_client(name, *PEOPLE.get(name, usual), now) for name in sorted({*PEOPLE, *names})
    }


class _Us:
    """What the in-memory replay asks of its service, answered by the first node."""

    def __init__(self, replay: LiveReplay, nodes: Nodes) -> None:
        self._replay = replay
        self.node_id = nodes.id(0)
        self.node = self
        self.members: list[Client] = []

    def call(self, method: str, target: str, body: bytes, **more: Any) -> Reply:
        return self._replay.request(method, target, body, more.get("headers", {}))


class LiveReplay(Replay):
    """One network of processes, spoken to as the recorded one was."""

    def __init__(self, recording: Recording, nodes: Nodes, clients: dict[str, Client]) -> None:
        self.recording = recording
        self.nodes = nodes
        self.lead = 0
        self.lines: dict[str, Line] = {}
        self.speakers: dict[str, http2.Speaker] = {}
        self.folder = Path(tempfile.mkdtemp(dir=nodes.folder))
        self.shares: dict[str, str] = {}
        """Recovery shares of members, by name."""
        self.seqnos: dict[int, int] = {}
        """Recorded sequence number → ours."""
        self.written = 0
        self.now = recording.began()
        us = _Us(self, nodes)
        us.members = [clients[name] for name in recording.founders()]
        super().__init__(us, recording.symbols)  # type: ignore[arg-type]
        self.clients.update(clients)
        for name, client in clients.items():
            if f"{name}_id" in self.symbols:
                self.known[self.symbols[f"{name}_id"]] = client.id
            (self.folder / f"{name}.pem").write_text(client.key.pem() + client.cert)
        for number, recorded in enumerate(recording.node_ids()):
            self.known[recorded] = nodes.id(number)
        theirs = recording.host_data()
        if theirs is not None:
            self.known[theirs] = self._host_data()
        for node_id in recording.strangers():
            # Of a service whose ids nobody wrote down: some node of it.
            self.known.setdefault(node_id, nodes.id(0))
        self.joiners = joiners.Joiners(recording, self.known, self.clients, self.symbols)

    def _host_data(self) -> str:
        policy = json.loads(self.nodes.ask(0, "/gov/service/join-policy?api-version=2024-07-01")[1])
        found: list[str] = policy.get("virtual", {}).get("hostData", [OUR_HOST_DATA])
        return found[0]

    # --- which node, which connection -----------------------------------------------------------

    def _number(self, exchange: Exchange) -> int:
        for name, value in exchange["request"].get("headers", []):
            if name in ("host", ":authority"):
                port = value.rpartition(":")[2]
                number = self.nodes.number_at(int(port)) if port.isdigit() else None
                if number is not None:
                    return number
        if exchange["node"] == "primary":
            return self.lead
        return next(n for n in sorted(self.nodes.running) if n != self.lead)

    def _open(self, exchange: Exchange, **more: Any) -> Line:
        client = exchange["request"].get("client", "none")
        cert = None if client == "none" else self.folder / f"{client}.pem"
        plain = exchange["protocol"] == "HTTP/1.1 plaintext"
        address = self.nodes.address(self._number(exchange), exchange["interface"])
        return Line(address, plain=plain, cert=None if plain else cert, **more)

    def _line(self, exchange: Exchange) -> tuple[Line, bool]:
        """The connection of an exchange, and whether it stays for others."""
        name = exchange["name"]
        shared = _SHARED.match(name)
        key = shared[0] if shared else name if _HELD_OPEN.match(name) else ""
        if not key:
            return self._open(exchange), False
        if key not in self.lines:
            self.lines[key] = self._open(exchange)
        return self.lines[key], True

    def hang_up(self) -> None:
        """Close what was kept open."""
        for line in self.lines.values():
            line.close()
        self.lines.clear()

    # --- exchanges ------------------------------------------------------------------------------

    def body(self, exchange: Exchange) -> bytes:
        made = super().body(self._with_share(self.joiners.translated(exchange)))
        for recorded, mine in self.nodes.moved.items():
            made = made.replace(recorded.encode(), mine.encode())
        return made

    def _with_share(self, exchange: Exchange) -> Exchange:
        """The exchange with our recovery share, if it hands in one that was not made up."""
        told = exchange["request"].get("cose")
        if told is None or not exchange["request"]["path"].partition("?")[0].endswith(":recover"):
            return exchange
        try:
            payload = json.loads(told["payload"])
            share = unb64(payload["share"])
        except (ValueError, KeyError, TypeError):
            return exchange
        signer = told["signer"]
        if len(share) != SHARE_BYTES or int.from_bytes(share[:4], "little") > SHARES_MAX:
            return exchange
        if signer not in self.shares:
            self.shares[signer] = self.nodes.share(signer, self.clients[signer].id)
        payload["share"] = self.shares[signer]
        cose = {**told, "payload": json.dumps(payload)}
        return {**exchange, "request": {**exchange["request"], "cose": cose}}

    def send(self, exchange: Exchange) -> Answer:
        if exchange["protocol"].startswith("HTTP/2"):
            return http2.exchange(self, exchange)
        try:
            line, kept = self._line(exchange)
        except (OSError, ssl.SSLError):
            return Answer(None, "", True)
        answer = self._converse(line, exchange)
        if not kept or answer.closed:
            line.close()
            for key in [key for key, held in self.lines.items() if held is line]:
                del self.lines[key]
        return answer

    def _converse(self, line: Line, exchange: Exchange) -> Answer:
        line.send(self.message(exchange))
        head = exchange["request"].get("method") == "HEAD"
        silent = exchange["response"].get("status") is None
        try:
            raw = line.reply(head=head, timeout_s=SILENCE_S if silent else ANSWER_TIMEOUT_S)
        except NoAnswer:
            return Answer(None, "", line.closed())
        looked = "connection_closed" in exchange["response"]
        return _answer(raw, looked and line.closed())

    def request(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> Reply:
        """A request that was not recorded, to the primary."""
        line = Line(self.nodes.address(self.lead, MAIN))
        lines = [f"{method} {target} HTTP/1.1", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        try:
            line.send("\r\n".join([*lines, "", ""]).encode() + body)
            return Reply(line.reply(head=method == "HEAD"))
        finally:
            line.close()

    def play(self, exchange: Exchange) -> tuple[Answer, list[str]]:
        answer = self.send(exchange)
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        while self._asks_to_wait(exchange, answer) and time.monotonic() < deadline:
            # The recorder asked until the answer was there, too.
            time.sleep(POLL_S)
            answer = self.send(exchange)
        differences = self.differences(exchange, answer)
        if _OF_NODES.match(exchange["request"].get("path", "")):
            deadline = time.monotonic() + NODES_CHANGE_S
            while differences and time.monotonic() < deadline:
                # A node is removed in several steps, which the recorder waited for.
                time.sleep(POLL_S)
                answer = self.send(exchange)
                differences = self.differences(exchange, answer)
        reply = answer.reply
        if reply is not None and "x-ms-ccf-transaction-id" in reply.headers:
            self.written = max(self.written, int(reply.txid.partition(".")[2]))
        return answer, differences

    def _asks_to_wait(self, exchange: Exchange, answer: Answer) -> bool:
        """Whether what was asked for is still being fetched."""
        fetching = answer.reply is not None and answer.reply.status == 202
        return fetching and exchange["response"].get("status") == 200

    def recover(self) -> None:
        """All nodes are lost; one recovers the service."""
        self.hang_up()
        self.lead = self.nodes.primary()
        self.nodes.settled(self.written)
        self.nodes.recover(self.lead)
        self.lead = 0
        self.written = 0

    def has_app(self) -> bool:
        """Whether a JavaScript application is installed."""
        path = "/gov/service/javascript-app?api-version=2024-07-01"
        reply = self.request("GET", path, b"", {})
        return bool(reply.json["endpoints"])

    def pipeline(self, group: list[Exchange]) -> list[tuple[Answer, list[str]]]:
        """Requests sent in one piece; answers come in the order of the requests."""
        line = self._open(group[0])
        out = []
        try:
            line.send(b"".join(self.message(one) for one in group))
            for one in group:
                try:
                    answer = _answer(line.reply(head=False), False)
                except NoAnswer:
                    answer = Answer(None, "", True)
                out.append((answer, self.differences(one, answer)))
        finally:
            line.close()
        return out

    # --- what happened in between ---------------------------------------------------------------

    def arrange(self, exchange: Exchange, then: Exchange | None = None) -> None:
        """Bring the network into the state an exchange was recorded in.

        `then` is what follows: if it was asked before anything could commit, nothing can.
        """
        setup, nodes = exchange["setup"], self.nodes
        if "after closing" in exchange["name"]:
            self.hang_up()
            nodes.quiet(exchange["interface"], self._number(exchange))
        made = moment(exchange)
        if made is not None and self.now < made < self.now + DAY_S:
            self.now = made
            nodes.set_clock(made)
        if "backups suspended" in setup or _asks_early(exchange):
            self._suspend_backups()
            return
        alone = re.search(r"node (\d+) suspended", setup)
        if alone:
            nodes.suspend(int(alone[1]))
            if "become primary" in setup and self.lead == int(alone[1]):
                self.lead = nodes.primary()
            return
        for number in list(nodes.running):
            if number not in nodes.ended():
                nodes.resume(number)
        if not _RACES.search(f"{exchange['name']} {exchange.get('note', '')} {setup}"):
            nodes.settled(self.written)
        if then is not None and _asks_early(then):
            self._suspend_backups()

    def _suspend_backups(self) -> None:
        for number in self.nodes.awake():
            if number != self.lead:
                self.nodes.suspend(number)

    # --- comparison -----------------------------------------------------------------------------

    def ours(self, text: str) -> str:
        named = _SNAPSHOT.sub(lambda m: self.known.get(m[0], m[0]), super().ours(text))
        named = _BEGUN_PEM.sub(lambda m: self._begun(m[0]), named)
        for recorded, mine in self.nodes.moved.items():
            named = named.replace(recorded, mine)
        return _SEQNO.sub(lambda m: f"{m[1]}{self._seqno(int(m[2]))}", named)

    def _begun(self, text: str) -> str:
        """The beginning of a certificate, in a message that was cut off."""
        begun = text.replace("\\n", "\n")
        for recorded, mine in self.known.items():
            if recorded.startswith(begun):
                cut = mine[: len(begun)]
                return cut.replace("\n", "\\n") if "\\n" in text else cut
        return text

    def learn(self, recorded: str, mine: str) -> None:
        # Later answers may be of a later state: signatures fall where they fall.
        if _TXID.fullmatch(recorded) and recorded in self.known:
            return
        super().learn(recorded, mine)
        if _TXID.fullmatch(recorded) and _TXID.fullmatch(mine):
            self.seqnos[int(recorded.partition(".")[2])] = int(mine.partition(".")[2])

    def _seqno(self, recorded: int) -> int:
        """Our sequence number for a recorded one that was told, or lies near one that was."""
        near = min(self.seqnos, key=lambda s: abs(s - recorded), default=recorded + DRIFT + 1)
        if abs(near - recorded) > DRIFT:
            return recorded
        return self.seqnos[near] + recorded - near

    def differences(self, exchange: Exchange, answer: Answer) -> list[str]:
        if answer.reply is not None:
            self._learn_snapshots(exchange["response"].get("headers", {}), answer.reply.headers)
        found = super().differences(exchange, answer)
        return [one for one in found if not self._another_backup(exchange, answer, one)]

    def _learn_snapshots(self, theirs: dict[str, str], ours: dict[str, str]) -> None:
        """Snapshots are named by the transactions they hold."""
        for name in ("location", "x-ms-ccf-snapshot-name"):
            there, here = (
                _SNAPSHOT.search(theirs.get(name, "")),
                _SNAPSHOT.search(ours.get(name, "")),
            )
            if there and here and there[0] not in self.known:
                self.learn(there[0], here[0])

    def _another_backup(self, exchange: Exchange, answer: Answer, difference: str) -> bool:
        """Whether a redirect differs only in which backup was chosen: that is left to chance."""
        if not difference.startswith("header location") or answer.reply is None:
            return False
        there = urlsplit(exchange["response"]["headers"].get("location", ""))
        here = urlsplit(answer.reply.headers.get("location", ""))
        places = [self.nodes.place(at.port or 0) for at in (there, here)]
        return (
            None not in places
            and (there.path, there.query) == (here.path, here.query)
            and len({interface for _, interface in places if interface}) == 1
            and all(number != self.lead for number, _ in places)
        )

    def _one_node(self, value: Any) -> Any:
        """Every node of the recorded network is here, too; how far each is, is of the moment."""
        if isinstance(value, list):
            return [self._one_node(v) for v in value]
        if not isinstance(value, dict):
            return value
        return {key: self._momentary(key, v) for key, v in value.items()}

    def _momentary(self, key: str, value: Any) -> Any:
        if key == "acks" and isinstance(value, dict):
            return {node: sorted(ack) for node, ack in value.items()}
        if key == "encryptedShare":
            return len(value)  # encrypted for keys of our members
        return self._one_node(value)

    def _token(self, token: str) -> str:
        mine = super()._token(token)
        near = _TXID.fullmatch(token)
        if mine == token and near and token not in self.known and int(near[2]) > DRIFT:
            return f"{near[1]}.{self._seqno(int(near[2]))}"
        return mine

    def _body_differences(self, exchange: Exchange, reply: Reply) -> list[str]:
        found = super()._body_differences(exchange, reply)
        if found and same_but_for_words(exchange["response"].get("body", ""), reply.body):
            return []
        if found and exchange["request"]["path"].startswith("/node/snapshot/"):
            # Bytes of a snapshot of our service; so many of them as were asked for.
            told = base64.b64decode(exchange["response"].get("body_base64", ""))
            if told and len(told) == len(reply.body):
                return []
        theirs = self.ours(exchange["response"].get("body", ""))
        if found and QUOTED in theirs:
            ours = reply.body.decode()
            if ours.partition(QUOTED)[0] == theirs.partition(QUOTED)[0]:
                return []
        if found and b"on session" in reply.body:
            # Numbers of connections are each node's own.
            ours = reply.body.decode()
            if _SESSION_NUMBER.sub("", ours) == _SESSION_NUMBER.sub("", theirs):
                return []
        return found


def same_but_for_words(recorded: str, ours: bytes) -> bool:
    """Whether two JSON answers differ only in what a library says, or in words for people.

    Of errors that quote OpenSSL or the JSON library, the code counts; lines of a message that lists
    templates come in any order; an OpenAPI document is compared without its descriptions.
    """
    try:
        there, here = json.loads(recorded), json.loads(ours)
    except ValueError:
        return False
    if not isinstance(there, dict) or not isinstance(here, dict):
        return False
    if "openapi" in there:
        return bool(wordless(there) == wordless(here))
    error, mine = there.get("error"), here.get("error")
    if not isinstance(error, dict) or not isinstance(mine, dict):
        return False
    text, said = str(error.get("message")), str(mine.get("message"))
    if error.get("code") != mine.get("code"):
        return False
    return _LIBRARY.search(text) is not None or (
        _LISTED in text and sorted(text.split("\n")) == sorted(said.split("\n"))
    )


def _asks_early(exchange: Exchange) -> bool:
    """Whether an exchange asks the primary for what cannot be committed yet."""
    return exchange["node"] == "primary" and _UNCOMMITTED.search(exchange["name"]) is not None


def handshake(replay: LiveReplay, exchange: Exchange) -> list[str]:
    """Differences of an observation made on TLS itself."""
    request, wanted = exchange["request"], exchange["response"]
    if "settings" in wanted:
        seen = http2.settings(replay, exchange)
        return [] if seen == wanted else [f"body {seen}, not {wanted}"]
    if "tcp_connections_kept_open" in wanted:
        return crowd(replay, exchange)
    offered = re.findall(r"'([^']*)'", request.get("alpn", "")) or None
    newest = ssl.TLSVersion(int(request.get("maxver", ssl.TLSVersion.TLSv1_3)))
    number = replay._number(exchange)
    if exchange["name"] == "backup node":
        number = next(n for n in replay.nodes.awake() if n != replay.lead)
    client = request.get("client", "none")
    cert = None if client == "none" else replay.folder / f"{client}.pem"
    try:
        line = Line(
            replay.nodes.address(number, exchange["interface"]),
            cert=cert,
            alpn=offered,
            newest=newest,
        )
    except (OSError, ssl.SSLError) as e:
        failed = "error" in wanted or "closed" in wanted.get("outcome", "")
        return [] if failed else [f"handshake {e}"]
    made = line.socket
    assert isinstance(made, ssl.SSLSocket)
    try:
        cipher = made.cipher()
        facts: dict[str, Any] = {
            "version": made.version(),
            "cipher": cipher[0] if cipher else None,
            "alpn_selected": made.selected_alpn_protocol(),
        }
        der = made.getpeercert(binary_form=True)
        if "then_http1_request_status" in wanted:
            facts["then_http1_request_status"] = _status_of(line, replay.nodes.address(0, MAIN))
    finally:
        line.close()
    if der:
        facts.update(_certified(der))
    differ = [k for k, v in facts.items() if k in wanted and _told(wanted[k]) != v]
    return [f"{k} {facts[k]}, not {wanted[k]}" for k in differ]


def _status_of(line: Line, host: tuple[str, int]) -> int | None:
    """What a request gets as HTTP/1.1."""
    line.send(f"GET /node/version HTTP/1.1\r\nhost: {host[0]}:{host[1]}\r\n\r\n".encode())
    try:
        return Reply(line.reply(head=False, timeout_s=SILENCE_S)).status
    except NoAnswer:
        return None


def _told(fact: Any) -> Any:
    """Names that a certificate tells more than once count once."""
    return sorted(set(fact)) if isinstance(fact, list) else fact


def _certified(der: bytes) -> dict[str, Any]:
    """What a recording tells of a node's certificate."""
    cert = x509.load_der_x509_certificate(der)
    issuer, subject = cert.issuer.rfc4514_string(), cert.subject.rfc4514_string()
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {
        "server_certificate_issuer": issuer,
        "server_certificate_subject": subject,
        "self_signed": issuer == subject,
        "subject_alt_names": sorted({str(name.value) for name in names}),
    }


def crowd(replay: LiveReplay, exchange: Exchange) -> list[str]:
    """Many connections without a handshake: how many a node keeps. They stay for what follows."""
    wanted = exchange["response"]
    kept, closed = wanted["tcp_connections_kept_open"], wanted["tcp_connections_closed_by_server"]
    address = replay.nodes.address(replay._number(exchange), exchange["interface"])
    lines = [Line(address, plain=True) for _ in range(kept + closed)]
    ended = [line for line in lines if line.closed()]
    for number, line in enumerate(lines):
        replay.lines[f"{exchange['name']} {number}"] = line
    if len(ended) == closed:
        return []
    return [f"closed {len(ended)} of {len(lines)}, not {closed}"]


def groups(exchanges: list[Exchange]) -> list[list[Exchange]]:
    """Exchanges in order; those that were sent in one piece together."""
    out: list[list[Exchange]] = []
    for exchange in exchanges:
        part = _PIPELINED.search(exchange["name"])
        if part and part[1] != "1" and out:
            out[-1].append(exchange)
        else:
            out.append([exchange])
    return out
