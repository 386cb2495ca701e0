"""Which files are played on which network, and what becomes of them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pyccf import constitutions
from pyccf.cli.bundle import JsBundle, find_app
from pyccf.codec import cose
from replay import deviations, probes
from replay.driver import LiveReplay, groups, handshake, people
from replay.nodes import Nodes
from replay.recording import Exchange, Recording
from replay.report import FileResult, Outcome
from support.transcripts import USERS, Replay


def everything(given: Path, folder: Path, only: set[str]) -> Iterator[FileResult]:
    """Replay every recording found; `only` names the files that are wanted."""
    transcripts = _transcripts(given)
    if transcripts is not None:
        recording = Recording(transcripts)
        shared = [name for name in recording.shared() if _wanted(name, recording, only)]
        if shared:
            yield from network(recording, folder / "shared", shared)
        if "extra" in recording.names and (not only or "extra" in only):
            yield from network(recording, folder / "extra", ["opening", "extra"], tell=["extra"])
    if _holds_probes(given) and (not only or "js" in only):
        yield from probes.run(_as_vectors(given, folder))


def _wanted(name: str, recording: Recording, only: set[str]) -> bool:
    """State carries over: what comes before a wanted file is played, too."""
    if not only:
        return True
    order = recording.shared()
    last = max((order.index(one) for one in only if one in order), default=-1)
    return order.index(name) <= last


def _holds_probes(given: Path) -> bool:
    return any((folder / "js").is_dir() for folder in (given, given / "ccf"))


def _as_vectors(given: Path, folder: Path) -> Path:
    """A folder in which the probes lie under `ccf/js`."""
    if (given / "ccf" / "js").is_dir():
        return given.resolve()
    place = folder / "vectors"
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "ccf").exists():
        (place / "ccf").symlink_to(given.resolve(), target_is_directory=True)
    return place


def _transcripts(given: Path) -> Path | None:
    for folder in (given, given / "transcripts", given / "ccf" / "transcripts"):
        if any(folder.glob("opening.jsonl")):
            return folder
    return None


def network(
    recording: Recording, folder: Path, names: list[str], tell: list[str] | None = None
) -> Iterator[FileResult]:
    """Start a network and play files on it, in order."""
    founders = recording.founders()
    clients = people({*recording.people(), *founders, *USERS}, recording.began())
    nodes = Nodes(recording, folder, {name: clients[name] for name in founders})
    try:
        nodes.start()
        replay = LiveReplay(recording, nodes, clients)
        replay.payloads = Payloads(recording)
        _tool_signed(replay, recording)
        for name in names:
            if name not in recording.names:
                continue
            result = file(replay, recording, name)
            if tell is None or name in tell:
                yield result
    finally:
        nodes.stop()


def file(replay: LiveReplay, recording: Recording, name: str) -> FileResult:
    """Play one file."""
    outcomes: list[Outcome] = []
    exchanges = [{**one, "volatile": recording.varying(one)} for one in recording.load(name)]
    if name == "recovery":
        replay.recover()
    elif needs_app(exchanges) and not replay.has_app():
        # A file before this one removed it; that it came back was not recorded.
        bundle = recording.bundle()
        assert bundle is not None, f"{name} needs an application that the recording does not hold"
        replay.govern(_set_js_app(bundle))
    tidied = left_open(exchanges)
    grouped = groups(exchanges)
    for group, following in zip(grouped, [*grouped[1:], [None]], strict=True):
        replay.arrange(group[0], following[0])
        withdraw_failed(replay, tidied, group[0])
        before = BEFORE.get((name, group[0]["name"]))
        if before is not None:
            before(replay)
        for exchange, differences in zip(group, _played(replay, group), strict=True):
            outcomes.append(judge(exchange, differences))
    replay.hang_up()
    return FileResult(name, outcomes)


def needs_app(exchanges: list[Exchange]) -> bool:
    """Whether a file begins with an application installed: something of it is there."""
    for exchange in exchanges:
        path, status = exchange["request"].get("path", ""), exchange["response"].get("status")
        if "set_js_app" in str(exchange["request"].get("cose", {}).get("payload", "")):
            return False
        if "set_js_app" in exchange["name"] or "install" in exchange["name"]:
            return False
        built_in = path.startswith(("/app/commit", "/app/tx", "/app/receipt", "/app/api"))
        if path.startswith("/app/") and not built_in and status in (200, 201):
            return True
    return False


def _played(replay: LiveReplay, group: list[Exchange]) -> list[list[str]]:
    if group[0]["protocol"] == "TLS":
        return [handshake(replay, one) for one in group]
    if len(group) > 1:
        return [differences for _, differences in replay.pipeline(group)]
    return [replay.play(group[0])[1]]


def judge(exchange: Exchange, differences: list[str]) -> Outcome:
    reasons = [deviations.explain(exchange, one) for one in differences]
    why = "; ".join(sorted({r for r in reasons if r})) if reasons and all(reasons) else None
    return Outcome(exchange["name"], differences, why)


# --- what was not recorded --------------------------------------------------------------------


class Payloads(dict[str, Callable[[Replay], str]]):
    """Proposals that a recording names by digest only, known by what they are called."""

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self._bundle = recording.bundle()

    def __missing__(self, name: str) -> Callable[[Replay], str]:
        if "logging" in name:
            return lambda asked: _actions(_set_js_app(STAND_IN.as_json()))
        if "set_constitution" in name:
            text = constitutions.text("sandbox", "virtual")
            return lambda asked: _actions(
                {"name": "set_constitution", "args": {"constitution": text}}
            )
        if "set_js_app" in name and self._bundle is not None:
            return self._first_app
        raise KeyError(f"nothing is known of what {name!r} proposed")

    def _first_app(self, asked: Replay) -> str:
        users: list[dict[str, Any]] = []
        for name in USERS:
            args: dict[str, Any] = {"cert": asked.clients[name].cert}
            if name == "user0":
                args["user_data"] = {"isAdmin": True, "n": 1}
            users.append({"name": "set_user", "args": args})
        return _actions(*users, _set_js_app(self._bundle))


def _actions(*actions: dict[str, Any]) -> str:
    return json.dumps({"actions": list(actions)})


def _set_js_app(bundle: Any) -> dict[str, Any]:
    return {"name": "set_js_app", "args": {"bundle": bundle}}


_found = find_app(Path(__file__).parent / "logging_app")
assert isinstance(_found, JsBundle)
STAND_IN = _found
"""In place of the original's logging sample, which is not ours to ship."""


def _tool_signed(replay: LiveReplay, recording: Recording) -> None:
    """Bodies that another tool signed: the recording tells the bytes, not the signer."""
    founders = recording.founders()
    members = {recording.symbols.get(f"{name}_id"): name for name in founders}
    for exchange in recording.exchanges():
        asked = exchange["request"]
        typed = any(v == "application/cose" for _, v in asked.get("headers", []))
        if typed and "body_base64" in asked and "cose" not in asked:
            try:
                kid = cose.parse_sign1(base64.b64decode(asked["body_base64"])).kid or b""
            except cose.CoseError:
                continue
            signer = members.get(kid.decode("latin-1"))
            if signer is None and "tool" in exchange["name"]:
                signer = founders[0]
            if signer is not None:
                replay.signers[exchange["name"]] = signer


def left_open(exchanges: list[Exchange]) -> dict[str, list[Exchange]]:
    """Proposals whose recorded votes leave them open, by the exchange that follows these.

    They were withdrawn then, unrecorded: later lists of proposals do not have them.
    """
    voted: dict[str, list[Exchange]] = {}
    follows: dict[str, str] = {}
    for one, then in zip(exchanges, [*exchanges[1:], None], strict=True):
        about = one["name"].partition(": ")[0]
        if one["name"] == about or about in voted:
            voted.setdefault(about, []).append(one)
            follows[about] = then["name"] if then is not None else ""
    return {
        follows[about]: group
        for about, group in voted.items()
        if any(": vote member" in one["name"] for one in group) and _told_state(group) == "Open"
    }


def _told_state(group: list[Exchange]) -> str:
    """The last state of a proposal that answers tell."""
    states = re.findall(
        r'"proposalState":"(\w+)"', " ".join(one["response"].get("body", "") for one in group)
    )
    return states[-1] if states else ""


def withdraw_failed(
    replay: LiveReplay, tidied: dict[str, list[Exchange]], exchange: Exchange
) -> None:
    """Withdraw a proposal that its proposer withdrew unrecorded before this exchange."""
    for made in tidied.get(exchange["name"], [])[:1]:
        recorded = json.loads(made["response"]["body"])["proposalId"]
        proposal = replay.ours(recorded)
        signed = replay.sign(made["request"]["cose"]["signer"], "withdrawal", None, proposal)
        replay.post(f"/gov/members/proposals/{proposal}:withdraw?api-version=2024-07-01", signed)


def write_pending(replay: LiveReplay) -> None:
    """The transaction that the next request finds pending."""
    replay.learn("2.38", replay.request("PUT", "/app/kv/h", b"pending", {}).txid)


def set_rsa_issuer(replay: LiveReplay) -> None:
    """A proposal that was accepted but not recorded."""
    (both,) = (
        e for e in replay.recording.load("auth") if e["name"] == "set_jwt_issuer two issuers"
    )
    args = json.loads(both["request"]["cose"]["payload"])["actions"][0]["args"]
    args["jwks"]["keys"] = args["jwks"]["keys"][:1]
    replay.govern({"name": "set_jwt_issuer", "args": args})


def quiet_again(replay: LiveReplay) -> None:
    """Exceptions are not told in answers any more; that was accepted but not recorded."""
    options = {
        "max_heap_bytes": 104857600,
        "max_stack_bytes": 1048576,
        "max_execution_time_ms": 5000,
    }
    replay.govern({"name": "set_js_runtime_options", "args": options})


def refresh_refused(replay: LiveReplay) -> None:
    """One more refresh that is refused; the recorded count tells of it."""
    replay.request("POST", "/node/jwt_keys/refresh", b"{}", {})


BEFORE = {
    ("node", "jwt refresh metrics after refused refreshes"): refresh_refused,
    ("forwarding", "write on backup is forwarded"): quiet_again,
    ("common", "js historical pending"): write_pending,
    ("auth", "jwk listing, RSA only"): set_rsa_issuer,
}
"""What happened before an exchange without being recorded."""
