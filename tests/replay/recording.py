"""What a recording tells of the network it was made with: its files, interfaces and addresses.

Nothing here knows a particular recording; what one does not tell is left at a default.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pyccf.crypto import certs
from support.transcripts import has_place

Exchange = dict[str, Any]

ORDER = (
    "opening",
    "common",
    "node",
    "errors",
    "auth",
    "gov",
    "forwarding",
    "redirects",
    "interfaces",
    "sessions",
    "http2",
    "logging_app",
    "join",
    "failover",
    "recovery",
)
"""In which order files share one network; unknown files come before those that hurt it."""
LAST = ("join", "failover", "recovery")
ALONE = ("extra",)
"""Files recorded on a service of their own."""

PLAUSIBLE = 1_700_000_000
"""Times before this were made up by the recorder."""
_HELD = re.compile(r"published node address (\S+) already exists \(node id: ([0-9a-f]{64})\)")
_NODE = re.compile(r'"node_id": ?"([0-9a-f]{64})"')
_MEMBER = re.compile(r"response\.body \$[^ ]+$")
PROOF = "response.body $.proof[*].left"
"""Varies but for the first transaction, whose neighbour is the same in every ledger."""
DEFAULT_INTERFACES: dict[str, dict[str, Any]] = {
    "primary_rpc_interface": {"bind_address": "127.0.0.1:8300"}
}
DEFAULT_SERVICE_NAME = "CN=CCF Service"
PORTS_PER_NODE = 20


class Recording:
    """The transcripts of one directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = {path.stem for path in folder.glob("*.jsonl")}
        symbols = folder / "symbols.json"
        self.symbols: dict[str, str] = json.loads(symbols.read_text()) if symbols.exists() else {}

    def shared(self) -> list[str]:
        """Files played on one network, in order."""
        first = [name for name in ORDER if name in self.names and name not in LAST]
        others = sorted(self.names - set(ORDER) - set(ALONE))
        return [*first, *others, *(name for name in LAST if name in self.names)]

    def load(self, name: str) -> list[Exchange]:
        lines = (self.folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.strip()]

    def exchanges(self) -> Iterator[Exchange]:
        for name in sorted(self.names):
            yield from self.load(name)

    def people(self) -> set[str]:
        """Names of everybody who speaks or signs."""
        asked = [exchange["request"] for exchange in self.exchanges()]
        names = {one.get("client", "none") for one in asked}
        names |= {one["cose"].get("signer", "none") for one in asked if "cose" in one}
        return names - {"none"}

    def founders(self) -> list[str]:
        """Members from the beginning on: those who sign while the service is opening."""
        asked = [e["request"] for e in self.load("opening")] if "opening" in self.names else []
        signers = {one["cose"].get("signer", "") for one in asked if "cose" in one}
        return sorted(name for name in signers if name.startswith("member")) or ["member0"]

    def host_data(self) -> str | None:
        """Digest of the recorded program, as the policy of who may join names it."""
        for exchange in self.exchanges():
            if exchange["request"].get("path", "").startswith("/gov/service/join-policy"):
                told = json.loads(exchange["response"].get("body") or "{}")
                listed = told.get("virtual", {}).get("hostData", [])
                if listed:
                    return str(listed[0])
        return None

    def bundle(self) -> dict[str, Any] | None:
        """The application that was installed while the service was opening."""
        path = self.folder / "probe_app.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def began(self) -> int:
        """When the recording begins; now, if it does not tell."""
        for name in [*self.shared(), *ALONE]:
            if name in self.names:
                for exchange in self.load(name):
                    told = moment(exchange)
                    if told is not None:
                        return told
        return int(time.time())

    def node_ids(self) -> list[str]:
        """Ids of the recorded nodes, in the order of their numbers."""
        found = []
        while (node_id := self.symbols.get(f"node{len(found)}_id")) is not None:
            found.append(node_id)
        return found

    def interfaces(self) -> dict[int, dict[str, dict[str, Any]]]:
        """Configured interfaces by node number, as the service told them itself."""
        told: dict[str, Any] = {}
        for exchange in self.exchanges():
            body = exchange["response"].get("body", "")
            path = exchange["request"].get("path", "")
            if path.startswith("/node/network/nodes") and '"rpc_interfaces"' in body:
                answer = json.loads(body)
                for row in answer.get("nodes", [answer]):
                    told.setdefault(row["node_id"], row["rpc_interfaces"])
        ids = self.node_ids()
        found = {ids.index(i): rows for i, rows in told.items() if i in ids}
        base = found.get(0) or next(iter(found.values()), DEFAULT_INTERFACES)
        return {n: found.get(n) or _shifted(base, n) for n in range(max(3, len(ids)))}

    def recovered_interfaces(self) -> dict[str, dict[str, Any]] | None:
        """Interfaces of the node that recovered the service: the one without a number."""
        for exchange in self.load("recovery") if "recovery" in self.names else ():
            if exchange["request"].get("path") == "/node/network/nodes":
                for row in json.loads(exchange["response"]["body"])["nodes"]:
                    if row["node_id"] not in self.node_ids():
                        rows: dict[str, dict[str, Any]] = row["rpc_interfaces"]
                        return rows
        return None

    def varying(self, exchange: Exchange) -> list[str]:
        """What an exchange says may vary, and after a recovery what the same request's answers vary
        in elsewhere: whoever records twice recovers one and the same ledger both times."""
        told: list[str] = exchange["volatile"]
        if exchange["area"] != "recovery":
            return told
        others = [
            one
            for one in self.exchanges()
            if one["area"] != "recovery" and _asked(one) == _asked(exchange) != ("", "")
        ]
        return [*told, *(rule for rule in _always_vary(others) if rule not in told)]

    def strangers(self) -> set[str]:
        """Ids of nodes that proposals of other services name."""
        found: set[str] = set()
        for name in ALONE:
            for exchange in self.load(name) if name in self.names else ():
                payload = str(exchange["request"].get("cose", {}).get("payload", ""))
                found.update(_NODE.findall(payload))
        return found - set(self.symbols.values())

    def signed_names(self) -> dict[str, str] | None:
        """Issuer and subject of the service's COSE signatures, if some answer tells them."""
        for exchange in self.exchanges():
            body = exchange["response"].get("body", "")
            if '"cose_signatures_config"' in body:
                told = json.loads(body).get("network_info", {}).get("cose_signatures_config")
                if isinstance(told, dict):
                    return told
        return None

    def service_name(self) -> str:
        """Subject of the service's certificate."""
        for exchange in self.exchanges():
            if exchange["request"].get("path") == "/node/network":
                told = json.loads(exchange["response"].get("body") or "{}")
                if "service_certificate" in told:
                    return certs.subject(told["service_certificate"])
        return DEFAULT_SERVICE_NAME

    def held_addresses(self) -> dict[int, str]:
        """Node-to-node addresses that answers tell, by node number."""
        ids = self.node_ids()
        found: dict[str, str] = {}
        for exchange in self.exchanges():
            body = exchange["response"].get("body", "")
            found.update({node_id: address for address, node_id in _HELD.findall(body)})
            if exchange["request"].get("path") == "/node/config":
                for node_id, row in json.loads(body).items():
                    found[node_id] = row["address"]
        return {ids.index(i): address for i, address in found.items() if i in ids}


def _asked(exchange: Exchange) -> tuple[str, str]:
    """What an exchange asks for, whichever frontend, with the names of its parameters."""
    asked = exchange["request"]
    if asked.get("method") != "GET":
        return "", ""
    path, _, query = asked.get("path_symbolic", asked["path"]).partition("?")
    path = re.sub(r"^/(app|node|gov)/receipt$", "/receipt", path)
    return path, re.sub(r"=[^&]*", "=", query)


def _always_vary(exchanges: list[Exchange]) -> list[str]:
    """Members of JSON bodies that vary wherever they are told."""
    bodies = []
    for one in exchanges:
        with suppress(KeyError, ValueError):
            bodies.append((json.loads(one["response"]["body"]), set(one["volatile"])))
    rules = {rule for _, told in bodies for rule in told if _MEMBER.match(rule)}
    return sorted(
        rule
        for rule in rules
        if rule == PROOF
        or all(
            rule in told
            for body, told in bodies
            if has_place(body, rule.removeprefix("response.body "))
        )
    )


def moment(exchange: Exchange) -> int | None:
    """When an exchange was made, if a signed message says so."""
    protected = exchange["request"].get("cose", {}).get("protected", {})
    told = protected.get("ccf.gov.msg.created_at")
    return told if isinstance(told, int) and told > PLAUSIBLE else None


def _shifted(rows: dict[str, dict[str, Any]], number: int) -> dict[str, dict[str, Any]]:
    """The interfaces of another node: the same at other ports."""
    made: dict[str, dict[str, Any]] = {}
    for name, row in rows.items():
        made[name] = dict(row)
        for key in ("bind_address", "published_address"):
            if key in row:
                host, _, port = row[key].rpartition(":")
                made[name][key] = f"{host}:{int(port) + PORTS_PER_NODE * number}"
    return made
