"""Recorded JavaScript probes that only a whole node can answer.

Requests that are refused before an application is asked, what a constitution does to the service
when it applies a proposal, what its `resolve` may return, applications that cannot be installed.
The node is one in memory, with the recorded applications; its constitution accepts at once, and has
one more action, `probe`, as the recorded one had.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from pyccf import constitutions
from pyccf.http.h1 import ParseFailure, Parser
from pyccf.http.limits import HttpLimits
from pyccf.types import Json
from support.js_app import JsBench
from support.node import Reply
from support.transcripts import Replay, make_service
from vectors.test_js_probes import (
    NEEDS_MORE,
    NEEDS_SECONDS,
    NOT_IN_THE_ENGINE,
    REFUSED_BEFORE,
    Probe,
    Tally,
    _alike,
    _app,
    _body,
    _call,
    _expected,
    _gov_harness,
    _observed,
    _probes,
    _same,
)

VERSION = "?api-version=2024-07-01"
OUTCOMES = "public:ccf.gov.probe"
SLOW = "PYCCF_SLOW_PROBES"
"""Set in the environment to wait for the real time limit, too."""

_PROBE_ACTION = """
define("probe", () => {}, function (args, proposalId) {
  if (args.bare) return new Function("K", "H", args.snippet)(undefined, H);
  const outcome = JSON.parse(probe(args.snippet).result);
  ccf.kv["public:ccf.gov.probe"].set(ccf.strToBuf(proposalId), ccf.jsonCompatibleToBuf(outcome));
});
export function resolve(proposal, proposerId, votes) {
  const [action] = JSON.parse(proposal).actions;
  if (action.name !== "probe" || !action.args.resolves) return atOnce(proposal, proposerId, votes);
  return new Function("K", "H", action.args.snippet)(undefined, H);
}
"""


def _constitution() -> str:
    """The sandbox's, with an action that runs a snippet and tells what came of it."""
    base = constitutions.text(constitutions.AT_ONCE, "virtual")
    base = base.replace("export function resolve(", "function atOnce(")
    harness = _gov_harness().replace("export function ", "function ")
    return "\n".join([base, harness, _PROBE_ACTION])


class Node:
    """A one-node service with one active member."""

    def __init__(self) -> None:
        self.service = make_service(constitution=_constitution(), members=1)
        self.replay = Replay(self.service, {})
        self.service.tick()
        member = self.replay.clients["member0"].id
        path = f"/gov/members/state-digests/{member}"
        digest = self.replay.post(
            f"{path}:update{VERSION}", self.replay.sign("member0", "state_digest", None)
        )
        acknowledged = self.replay.sign("member0", "ack", digest)
        self.replay.post(f"{path}:ack{VERSION}", acknowledged, 204)
        self.service.open_app()

    def propose(self, *actions: dict[str, Any]) -> Reply:
        """What comes of a proposal that is accepted as soon as it is made."""
        signed = self.replay.sign("member0", "proposal", {"actions": list(actions)})
        headers = {"content-type": "application/cose"}
        path = f"/gov/members/proposals:create{VERSION}"
        reply = self.service.call("POST", path, signed, headers=headers)
        self.service.tick()
        return reply

    def outcome(self, proposal: str) -> Json:
        """What the action noted."""
        tx = self.service.node.store.tx()
        noted = tx.map(OUTCOMES).get(proposal.encode())
        assert noted is not None
        found: Json = json.loads(noted)
        return found

    def send(self, raw: bytes) -> Reply:
        """The answer to a request as it comes off the wire."""
        try:
            (request,) = Parser(HttpLimits()).feed(raw)
        except ParseFailure as failure:
            return Reply(failure.encode())
        (reply,) = self.service.send(request)
        return reply


def _bundle(modules: dict[str, str], endpoints: dict[str, dict[str, Json]]) -> dict[str, Json]:
    described: dict[str, dict[str, Json]] = {}
    for key, row in endpoints.items():
        verb, _, url = key.partition(" ")
        described.setdefault(url, {})[verb.lower()] = {
            "forwarding_required": "sometimes",
            "authn_policies": ["no_auth"],
            "mode": "readwrite",
            "openapi": {},
            **row,
        }
    return {
        "metadata": {"endpoints": described},  # type: ignore[dict-item]
        "modules": [{"name": name, "module": text} for name, text in modules.items()],
    }


def _set_js_app(
    modules: dict[str, str], endpoints: dict[str, dict[str, Json]], *, bytecode: bool = True
) -> dict[str, Any]:
    args = {"bundle": _bundle(modules, endpoints), "disable_bytecode_cache": not bytecode}
    return {"name": "set_js_app", "args": args}


_LINE = re.compile(r"(public:ccf\.gov\.constitution\[0\]):\d+")
"""A place in the constitution, which is our own here."""


def _placeless(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _placeless(member) for key, member in value.items()}
    return _LINE.sub(r"\1", value) if isinstance(value, str) else value


def _seen(reply: Reply) -> dict[str, Json]:
    headers: dict[str, Json] = {
        name: value
        for name, value in reply.headers.items()
        if name not in ("content-length", "x-ms-ccf-transaction-id")
    }
    return {"status": reply.status, "headers": headers, "body": _body(reply.body, headers)}


def _message(probe: Probe) -> bytes:
    """The recorded request, byte by byte."""
    sent = probe.get("request")
    if not isinstance(sent, dict):
        sent = {"method": "POST", "path": f"/app/m/{probe['module']}/f", "headers": []}
    path = str(sent["path"]).encode("utf-8")
    quoted = b"".join(b"%%%02X" % c if c > 0x7F else bytes([c]) for c in path)
    lines = [str(sent["method"]).encode() + b" " + quoted + b" HTTP/1.1"]
    body = base64.b64decode(str(sent.get("body_base64", "")))
    pairs = [(str(k), str(v)) for k, v in sent["headers"]]  # type: ignore[union-attr,misc]
    if body and not any(name == "transfer-encoding" for name, _ in pairs):
        pairs.append(("content-length", str(len(body))))
    lines += [f"{name}: {value}".encode("latin-1") for name, value in pairs]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def test_requests_that_do_not_reach_a_script() -> None:
    node = Node()
    modules, endpoints = _app()
    assert node.propose(_set_js_app(modules, endpoints)).status == 200
    tally = Tally("request")
    for probe in _probes("request"):
        name = str(probe["name"]).removeprefix("request.")
        if probe["status"] == 200 and name not in REFUSED_BEFORE:
            continue
        seen, wanted = _seen(node.send(_message(probe))), _expected(probe)
        for side in (seen, wanted):
            shown = side["body"].get("json")  # type: ignore[union-attr]
            if isinstance(shown, dict) and "body_proto_keys" in shown:
                shown["body_proto_keys"] = sorted(shown["body_proto_keys"])  # type: ignore
        tally.judge(name, _same(seen, wanted, probe.get("volatile")), seen, wanted)
    tally.close()


def test_modules_of_a_service() -> None:
    """Those that cannot be installed, and when interpreters forget their state."""
    node = Node()
    tally = Tally("modules")
    sources = {str(p["module"]): str(p["source"]) for p in _probes("modules") if "source" in p}
    good = {name: sources[name] for name in ("state.js", "lib.js")}
    row: dict[str, Json] = {"js_module": "state.js", "js_function": "f"}
    reused = {"POST /ok": {**row, "interpreter_reuse": {"key": "state"}}}
    for probe in _probes("modules"):
        name = str(probe["name"]).removeprefix("modules.")
        if "set_js_app.bytecode" in name:
            module = {str(probe["module"]): str(probe["source"])}
            reply = node.propose(_set_js_app({**good, **module}, {"POST /ok": row}))
        elif name == "flush.before":
            assert node.propose(_set_js_app(good, reused)).status == 200
            for _ in range(3):  # probes of reuse came before
                node.service.call("POST", "/app/ok")
            reply = node.service.call("POST", "/app/ok")
        elif name == "flush.after_refresh_bytecode":
            assert node.propose({"name": "refresh_js_app_bytecode_cache"}).status == 200
            reply = node.service.call("POST", "/app/ok")
        elif name == "flush.after_set_js_app":
            assert node.propose(_set_js_app(good, reused)).status == 200
            reply = node.service.call("POST", "/app/ok")
        elif name == "js_metrics":
            reply = node.service.call("GET", "/node/js_metrics")
        elif probe["status"] == 404:
            reply = node.send(_message(probe))
        else:
            continue
        seen, wanted = _seen(reply), _expected(probe)
        for side in (seen, wanted):
            side["headers"] = None
            side["body"] = _placeless(side["body"])
        tally.judge(name, _same(seen, wanted, probe.get("volatile")), seen, wanted)
    tally.close()


def _governance(phase: str) -> Iterator[tuple[str, Probe]]:
    for probe in _probes("governance"):
        name = str(probe["name"]).removeprefix("governance.")
        if name.partition(".")[0] == phase:
            yield name, probe


def test_what_a_constitution_does_to_the_service() -> None:
    """Natives that change the service or act on it."""
    node = Node()
    tally = Tally("governance")
    for name, probe in _governance("apply"):
        if name.removeprefix("apply.") not in NOT_IN_THE_ENGINE:
            continue
        reply = node.propose({"name": "probe", "args": {"snippet": probe["snippet"]}})
        assert reply.status == probe["status"] == 200, reply.body
        seen = node.outcome(reply.json["proposalId"])
        tally.judge(name, _alike(seen, probe["result"]), seen, probe["result"])
    tally.close()


@pytest.mark.parametrize("phase", ["resolve_return", "apply_throws"])
def test_what_scripts_of_governance_return_or_throw(phase: str) -> None:
    node = Node()
    tally = Tally("governance")
    for name, probe in _governance(phase):
        if name.endswith(".loop") and SLOW not in os.environ:
            continue  # scripts of governance always have five seconds
        args = {"snippet": probe["snippet"], "bare": True, "resolves": phase == "resolve_return"}
        seen = _seen(node.propose({"name": "probe", "args": args}))
        wanted = _expected(probe)
        for side in (seen, wanted):
            side["headers"] = None
            shown = side["body"]["json"]  # type: ignore[index,call-overload]
            for ident in ("proposalId", "proposerId"):
                if ident in shown:  # type: ignore[operator]
                    shown[ident] = len(shown[ident])  # type: ignore
        tally.judge(name, _placeless(seen) == _placeless(wanted), seen, wanted)
    tally.close()


def test_the_time_limit_without_options() -> None:
    """Scripts may run for five seconds, if nothing else is said."""
    tally = Tally("limits")
    for probe in _probes("limits"):
        if probe["name"] not in NEEDS_SECONDS:
            continue
        if probe["name"] in NEEDS_MORE and SLOW not in os.environ:
            continue
        name = str(probe["name"]).removeprefix("limits.")
        bench = JsBench()
        bench.install(*_app(), bytecode=True)
        if probe.get("note") == "return_exception_details: true":
            bench.options(return_exception_details=True)
        seen, wanted = _observed(_call(bench, probe)), _expected(probe)
        if probe.get("headers") is None:
            wanted["headers"] = None
        tally.judge(name, _same(seen, wanted, probe.get("volatile")), seen, wanted)
    tally.close()
