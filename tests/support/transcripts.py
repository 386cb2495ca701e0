"""Replaying recorded exchanges of the original against a node of ours.

A recorded request is made again for our service: symbols become our ids, signed bodies are signed
anew with our members' keys. What the recording calls volatile is left out of the comparison and,
where it is a text, remembered: later requests that quote it quote our value instead.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyccf.codec import cbor
from pyccf.crypto import certs, cosesign
from pyccf.http.message import Request

from .node import Person, Reply, Service

MASK = "~"
_STEP = re.compile(r"\.([A-Za-z0-9_-]+)|\[(\*|\d+)\]|\['([^']*)'\]")


def load(folder: Path, name: str) -> list[dict[str, Any]]:
    """The exchanges of one file in order."""
    lines = (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


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


class Replay:
    """One service of ours, spoken to as the recorded one was."""

    def __init__(self, service: Service, symbols: dict[str, str]) -> None:
        self.service = service
        self.symbols = symbols
        self.known: dict[str, str] = {}
        """Recorded text → ours."""
        self.people: dict[str, bytes] = {}
        """Recorded client name → DER certificate."""
        for i, member in enumerate(service.members):
            self.known[symbols[f"member{i}_id"]] = member.id
            self.people[f"member{i}"] = member.der
        self.known[symbols["node0_id"]] = service.node.node_id

    def ours(self, text: str) -> str:
        """Recorded text with every value that is ours by now."""
        for recorded, mine in self.known.items():
            if recorded in text:
                text = text.replace(recorded, mine)
            escaped = json.dumps(recorded)[1:-1]
            if escaped != recorded and escaped in text:
                text = text.replace(escaped, json.dumps(mine)[1:-1])
        return text

    def _signed(self, cose: dict[str, Any]) -> bytes:
        signer: Person = self.service.members[int(cose["signer"].removeprefix("member"))]
        pairs = []
        for label, value in cose["protected"].items():
            key = cbor.integer(int(label)) if label.lstrip("-").isdigit() else cbor.tstr(label)
            if isinstance(value, str) and value.startswith("bstr:"):
                encoded = cbor.bstr(self.ours(value.removeprefix("bstr:")).encode())
            elif isinstance(value, str):
                encoded = cbor.tstr(self.ours(value))
            else:
                encoded = cbor.integer(value)
            pairs.append((key, encoded))
        payload = self.ours(cose["payload"]).encode()
        return cosesign.sign1(signer.key, cbor.mapping(pairs), payload, detached=False)

    def request(self, exchange: dict[str, Any]) -> Request:
        """The request of an exchange, made for our service."""
        asked = exchange["request"]
        path = asked.get("path_symbolic", asked["path"])
        for name in re.findall(r"\$\{([^}]*)\}", path):
            recorded = self.symbols[name]
            path = path.replace("${" + name + "}", self.known.get(recorded, recorded))
        headers = {name: self.ours(value) for name, value in asked["headers"]}
        if "cose" in asked:
            body = self._signed(asked["cose"])
            for text in re.findall(
                r"-----BEGIN CERT.*?-----END CERTIFICATE-----\\n", asked["cose"]["payload"]
            ):
                self._learn_user(json.loads(f'"{text}"'))
        elif "body_base64" in asked:
            body = base64.b64decode(asked["body_base64"])
        else:
            body = asked.get("body", "").encode()
        headers["content-length"] = str(len(body))
        return Request(asked["method"], path, headers, body)

    def _learn_user(self, pem: str) -> None:
        ident = certs.fingerprint(pem)
        for name, value in self.symbols.items():
            if value == ident:
                self.people[name.removesuffix("_id")] = certs.pem_to_der(pem)

    def play(self, exchange: dict[str, Any]) -> tuple[Reply, list[str]]:
        """Our reply to an exchange, and how it differs from the recorded one."""
        request = self.request(exchange)
        session = self.service.session()
        client = exchange["request"].get("client", "none")
        if client != "none":
            session.peer_cert = self.people[client]
        replies = self.service.send(request, session)
        assert len(replies) == 1, "one request, one reply"
        return replies[0], self.differences(exchange, replies[0])

    def differences(self, exchange: dict[str, Any], reply: Reply) -> list[str]:
        """What differs and may not; learns what may."""
        wanted = exchange["response"]
        volatile: list[str] = exchange["volatile"]
        found: list[str] = []
        if reply.status != wanted["status"]:
            found.append(f"status {reply.status}, not {wanted['status']}: {reply.body[:300]!r}")
            return found
        loose = {v.removeprefix("response.headers.") for v in volatile} | {"content-length"}
        for name in sorted(set(wanted["headers"]) | set(reply.headers)):
            here, there = reply.headers.get(name), wanted["headers"].get(name)
            if here != there and (name not in loose or here is None or there is None):
                found.append(f"header {name}: {here!r}, not {there!r}")
            elif name == "x-ms-ccf-transaction-id" and here and there:
                self.known[f'"{there}"'] = f'"{here}"'
                self.known[there] = here
        if "body_sha256" in wanted or "response.body" in volatile:
            return found
        text = wanted.get("body")
        if text is None:
            text = base64.b64decode(wanted.get("body_base64", "")).decode("utf-8", "replace")
        here_text = reply.body.decode("utf-8", "replace")
        try:
            there_json, here_json = json.loads(text), json.loads(here_text)
        except ValueError:
            if self.ours(text) != here_text:
                found.append(f"body {here_text!r}, not {self.ours(text)!r}")
            return found
        for rule in volatile:
            if rule.startswith("response.body "):
                self._mask(rule.removeprefix("response.body "), there_json, here_json)
        there_json = json.loads(self.ours(json.dumps(there_json)))
        if _unordered(there_json) != _unordered(here_json):
            found.append(
                f"body {json.dumps(here_json)[:1500]}, not {json.dumps(there_json)[:1500]}"
            )
        return found

    def _mask(self, rule: str, there: Any, here: Any) -> None:
        path, _, kind = rule.partition(" (")
        steps = _steps(path)
        for side in (there, here):
            for container, key in list(_places(side, steps)):
                if kind.startswith("keys") and isinstance(container[key], dict):
                    container[key] = sorted(map(str, container[key].values()))
                elif kind.startswith("length"):
                    container[key] = MASK
        if kind:
            return
        pairs = list(zip(_places(there, steps), _places(here, steps), strict=False))
        single = "*" not in steps
        for (c1, k1), (c2, k2) in pairs:
            if single and isinstance(c1[k1], str) and isinstance(c2[k2], str) and len(c1[k1]) > 8:
                self.known[c1[k1]] = c2[k2]
        for side in (there, here):
            for container, key in list(_places(side, steps)):
                container[key] = MASK


def _unordered(value: Any) -> Any:
    """Lists of objects compare as sets: their order is the original's hash order."""
    if isinstance(value, dict):
        return {key: _unordered(v) for key, v in value.items()}
    if isinstance(value, list):
        made = [_unordered(v) for v in value]
        if made and all(isinstance(v, dict) for v in made):
            return sorted(made, key=lambda v: json.dumps(v, sort_keys=True))
        return made
    return value
