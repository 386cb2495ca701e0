"""What of an answer may differ from the recorded one, and why.

A rule names a part of an answer ("status", "header NAME", "body", ...) and the exchanges it is
about by what they are, not by what a recording calls them. Each is a row of docs/deviations.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from replay.recording import Exchange


class Rule(NamedTuple):
    """One deviation: its reason, the parts it touches, and whether it applies to an exchange."""

    why: str
    parts: tuple[str, ...]
    applies: Callable[[Exchange], bool]


def _path(pattern: str) -> Callable[[Exchange], bool]:
    match = re.compile(pattern).match
    return lambda e: match(e["request"].get("path", "")) is not None


def _says(pattern: str) -> Callable[[Exchange], bool]:
    search = re.compile(pattern).search
    return lambda e: search(e["response"].get("body", "")) is not None


def _empty_header(exchange: Exchange) -> bool:
    """Whether a header without value was sent, or one without name was seen by the application."""
    sent = any(value == "" for _, value in exchange["request"].get("headers", []))
    return sent or '"":' in exchange["response"].get("body", "")


def _ended_or_broke(exchange: Exchange) -> bool:
    """Whether no answer came because the node ended, or could not make the part of a file."""
    ranged = any(name == "range" for name, _ in exchange["request"].get("headers", []))
    ended = re.search(r"abort|crash", exchange.get("note", "")) is not None
    return exchange["response"].get("status") is None and (ranged or ended)


def _confuses_clients(exchange: Exchange) -> bool:
    """Whether the answer announces another one, or has bytes where none may be."""
    answer = exchange["response"]
    status = answer.get("status") or 0
    return 100 <= status < 200 or (status in (204, 304) and bool(answer.get("body")))


RULES: tuple[Rule, ...] = (
    Rule("another JavaScript engine", ("body",), _path(r"/node/version")),
    Rule(
        "counts of sessions and memory are each node's own",
        ("body",),
        _path(r"/node/(metrics|memory)"),
    ),
    Rule("bytecode of another engine has another size", ("body",), _path(r"/node/js_metrics")),
    Rule(
        "documents are in our own words and describe what is served",
        ("body",),
        _path(r"/((app|node|gov)/)?api(\?|$)"),
    ),
    Rule(
        "the answer comes as soon as the entry was read, without 202 first",
        ("status 200, not 202",),
        lambda e: e["response"].get("status") == 202,
    ),
    Rule(
        "texts of the original's JSON library are its own",
        ("body",),
        _says(r"\[json\.exception|nlohmann"),
    ),
    Rule(
        "a header that is too large is called by its name over HTTP/2, too",
        ("body",),
        lambda e: (
            e["protocol"].startswith("HTTP/2")
            and "Header value for" in e["response"].get("body", "")
        ),
    ),
    Rule(
        "texts of OpenSSL are its own",
        ("body",),
        _says(r"OSSL:|OpenSSL error"),
    ),
    Rule(
        "races with the commit or with replication",
        ("body", "status"),
        lambda e: (
            re.search(
                r"right after write|pending|just after|local read|may not have|races",
                f"{e['name']} {e.get('note', '')} {e['setup']}",
            )
            is not None
        ),
    ),
    Rule(
        "how far a change of the nodes has come is of the moment",
        ("body",),
        _path(r"/node/consensus"),
    ),
    Rule(
        "templates that match are listed by name, not in the order of a hash table",
        ("body",),
        _says("Multiple potential matches"),
    ),
    Rule(
        "a header without value is not glued to the next, no empty header is made up",
        ("body",),
        _empty_header,
    ),
    Rule(
        "a plaintext connection gets its answer although it was forwarded",
        ("status",),
        lambda e: e["protocol"] == "HTTP/1.1 plaintext" and e["response"].get("status") is None,
    ),
    Rule(
        "keys of tokens may be on a curve",
        ("status 200, not 500",),
        _path(r"/gov/service/jwk"),
    ),
    Rule(
        "answers neither announce another nor run into the next",
        ("status 500, not 1", "body", "header content-"),
        _confuses_clients,
    ),
    Rule(
        "what ends, blocks or confuses the original is answered",
        ("status",),
        _ended_or_broke,
    ),
)


def explain(exchange: Exchange, difference: str) -> str | None:
    """Why a difference is meant to be; None when it is not."""
    for rule in RULES:
        if difference.startswith(rule.parts) and rule.applies(exchange):
            return rule.why
    return None
