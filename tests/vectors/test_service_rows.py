"""Rows of the service's tables in six real ledgers: read here, and written again byte by byte."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import pytest

from pyccf.codec.cose import parse_sign1
from pyccf.codec.text import dump_json, load_json, unb64
from pyccf.crypto import certs
from pyccf.ledger import chunk
from pyccf.ledger.entry import ParsedEntry, parse
from pyccf.merkle.tree import Tree
from pyccf.service import proposals, tables
from pyccf.service.members import effective_role
from pyccf.service.nodes import NodeStatus
from pyccf.service.proposals import Proposal, State
from pyccf.types import Json
from support.vectors import vectors_dir

SERVICES = [
    "acme_containing_service",
    "cose_flipflop_service",
    "double_sealed_service",
    "eol_service",
    "expired_service",
    "sgx_service",
]


@cache
def entries(service: Path) -> list[ParsedEntry]:
    """Every entry of a service, in order."""
    found: dict[int, ParsedEntry] = {}
    for path in sorted((service / "ledger").iterdir()):
        data = path.read_bytes()
        # A complete chunk ends with the table of positions.
        size = chunk.parse_table_offset(data[: chunk.FIRST_OFFSET], len(data)) or len(data)
        scanned = chunk.scan(lambda at, n, data=data: data[at : at + n], size)
        ends = [*scanned.positions[1:], scanned.end]
        for start, end in zip(scanned.positions, ends, strict=True):
            entry = parse(data[start:end])
            found[entry.seqno] = entry
    return [found[seqno] for seqno in sorted(found)]


def service(name: str) -> list[ParsedEntry]:
    return entries(vectors_dir() / "ccf" / "ledgers" / name)


def rows(name: str, table: str) -> list[tuple[int, str, bytes | None]]:
    return [
        (entry.seqno, key.decode("utf-8", "replace"), value)
        for entry in service(name)
        for key, value in entry.public_maps().get(table, {}).items()
    ]


@pytest.mark.parametrize("name", SERVICES)
def test_proposals(name: str) -> None:
    found = [row for row in rows(name, tables.PROPOSALS_INFO) if row[2] is not None]
    assert found
    for _, _, raw in found:
        assert raw is not None
        value = load_json(raw)
        assert isinstance(value, dict)
        proposal = Proposal.from_json(value)
        known = {"ballots", "failure", "final_votes", "proposer_id", "state", "vote_failures"}
        expected: dict[str, Json] = {k: v for k, v in value.items() if k in known}
        if "vote_failures" not in value and proposal.state is State.OPEN:
            assert proposal.final_votes is None
        assert proposal.to_json() == expected
        assert dump_json(value) == raw


@pytest.mark.parametrize("name", SERVICES)
def test_nodes_and_members(name: str) -> None:
    nodes = [raw for _, _, raw in rows(name, tables.NODES_INFO) if raw is not None]
    assert nodes
    for raw in nodes:
        value = load_json(raw)
        assert isinstance(value, dict)
        NodeStatus(value["status"])
        if "encryption_pub_key" in value:
            tables.text_member(value, "encryption_pub_key", tables.NODES_INFO)
    for _, _, raw in rows(name, tables.MEMBERS_INFO):
        if raw is not None:
            value = load_json(raw)
            assert isinstance(value, dict)
            effective_role(value, None)
    for _, ident, raw in rows(name, tables.MEMBERS_CERTS):
        if raw is not None:
            assert certs.fingerprint(raw) == ident


def test_proposal_ids() -> None:
    """Ids follow from the Merkle root before the proposal and from its signature."""
    checked = 0
    for name in SERVICES:
        tree = Tree()
        for entry in service(name):
            recent = entry.public_maps().get(tables.COSE_RECENT_PROPOSALS, {})
            envelopes = entry.public_maps().get(tables.COSE_HISTORY, {})
            made = [(key, value) for key, value in recent.items() if value is not None]
            if made:
                (key, value), raw = made[0], next(iter(envelopes.values()))
                assert value is not None
                assert raw is not None
                text = load_json(raw)
                assert isinstance(text, str)
                signature = parse_sign1(unb64(text)).signature
                stamp, _, digest = key.decode().partition(":")
                assert digest == hashlib.sha256(signature).hexdigest()
                assert len(stamp) == proposals.CREATED_AT_DIGITS
                assert proposals.proposal_id(tree.root(), signature) == load_json(value)
                checked += 1
            tree.append(entry.leaf)
    assert checked >= 30
