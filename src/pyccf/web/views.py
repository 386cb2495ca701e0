"""What the page asks for, as JSON values: lists, one entry, the governance timeline, proofs.

Everything in a ledger may have been written by somebody hostile. Values are therefore shortened to
what a page can show, and are data to the page, never markup. Lists are given in pages, the newest
first, with `next` to go on from; looking for a key reads so many entries at a time and no more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping

from pyccf.audit.read import FLAG_NAMES, readable, readable_key
from pyccf.codec.text import dump_json, load_json
from pyccf.crypto import certs
from pyccf.errors import InvalidLedger, LocalError
from pyccf.ledger import receipt as receipts
from pyccf.ledger import signature
from pyccf.ledger.entry import ParsedEntry
from pyccf.merkle.proof import fold
from pyccf.merkle.tree import Tree
from pyccf.service import tables
from pyccf.types import Json, SeqNo
from pyccf.web.book import GOVERNANCE, PRIVATE, Book, Row, newest

PAGE_MAX = 200
"""Rows of one page of a list."""
SCAN_MAX = 5000
"""Entries read for one page when a key is looked for."""
VALUE_MAX = 64 * 1024
"""Characters of one value that are shown."""
ROWS_MAX = 500
"""Rows of one map that are shown of one entry."""

Rows = Mapping[bytes, bytes | None]


def overview(book: Book) -> dict[str, Json]:
    """What this ledger is, and how far it has been read."""
    info = _row_json(book.roster[tables.SERVICE_INFO])
    cert = info.get("cert")
    return {
        "first": book.first,
        "last": book.last,
        "bytes": book.bytes_total,
        "bytes_done": book.bytes_done,
        "complete": book.complete,
        "problem": book.problem,
        "signatures": len(book.signatures),
        "maps": len(book.maps),
        "members": len(book.roster[tables.MEMBERS_CERTS]),
        "users": len(book.roster[tables.USERS_CERTS]),
        "nodes": len(book.roster[tables.NODES_INFO]),
        "proposals": len(book.roster[tables.PROPOSALS_INFO]),
        "service_status": info.get("status"),
        "service_certificate": _certificate(cert) if isinstance(cert, str) else None,
        "recovery_count": info.get("recovery_count", 0),
        "configuration": _row_json(book.roster[tables.SERVICE_CONFIG]),
        "private": book.secrets is not None,
        "files": [
            {
                "file": one.path.name,
                "first": one.name.first,
                "last": one.name.last,
                "committed": one.name.committed,
            }
            for one in book.chunks[-PAGE_MAX:]
        ],
        "file_count": len(book.chunks),
        "left_out": list[Json](book.left_out[:PAGE_MAX]),
    }


def entries(
    book: Book, name: str | None, key: str | None, before: SeqNo | None, count: int
) -> dict[str, Json]:
    """A page of entries, newest first: all, those that wrote to a map, those that wrote a key.

    `key` matches readable keys that contain it. `next` is null when there are no more.
    """
    count = max(1, min(count, PAGE_MAX))
    if key is None:
        found = book.seqnos(name, before, count + 1)
        shown = found[:count]
        following = shown[-1] if len(found) > count else None
        return {"entries": [_line(book, seqno) for seqno in shown], "next": following}
    matching: list[Json] = []
    looked = book.seqnos(name, before, SCAN_MAX)
    for seqno in looked:
        if len(matching) == count:
            return {"entries": matching, "next": seqno + 1}
        entry = book.entry(seqno)
        if any(key in readable_key(k) for _, rows in _maps(book, entry, name) for k in rows):
            matching.append(_line(book, seqno))
    return {"entries": matching, "next": looked[-1] if len(looked) == SCAN_MAX else None}


def _maps(book: Book, entry: ParsedEntry, only: str | None = None) -> Iterable[tuple[str, Rows]]:
    """The maps an entry wrote to, private ones marked."""
    for name, rows in entry.public_maps().items():
        if only is None or name == only:
            yield name, rows
    for name, rows in book.private_maps(entry).items():
        if only is None or PRIVATE + name == only:
            yield PRIVATE + name, rows


def _line(book: Book, seqno: SeqNo) -> dict[str, Json]:
    entry = book.entry(seqno)
    public = entry.public_maps()
    return {
        "seqno": seqno,
        "view": entry.view,
        "size": len(entry.data),
        "signature": signature.SIGNATURES in public,
        "governance": any(name.startswith(GOVERNANCE) for name in public),
        "private_size": len(entry.ciphertext),
        "maps": {name: len(rows) for name, rows in _maps(book, entry)},
    }


def entry(book: Book, seqno: SeqNo) -> dict[str, Json]:
    """One entry with all that it wrote."""
    found = book.entry(seqno)
    covering = book.covering(seqno)
    one = book.file_of(seqno)
    shown: dict[str, Json] = {
        "seqno": seqno,
        "view": found.view,
        "txid": f"{found.view}.{seqno}",
        "type": found.type.name,
        "size": len(found.data),
        "flags": [name for flag, name in FLAG_NAMES.items() if found.flags & flag],
        "file": one.path.name,
        "committed_file": one.name.committed,
        "write_set_digest": found.write_set_digest.hex(),
        "evidence_digest": found.evidence_digest.hex() if found.evidence_digest else None,
        "claims_digest": found.claims.hex() if found.claims is not None else None,
        "leaf": found.leaf.hex(),
        "private_size": len(found.ciphertext),
        "private_open": book.secrets is not None,
        "signature": signature.is_signature(found),
        "covered_by": covering,
        "maps": {name: _shown_rows(rows) for name, rows in _maps(book, found)},
    }
    return shown


def _shown_rows(rows: Rows) -> dict[str, Json]:
    shown: list[Json] = []
    for key, value in list(rows.items())[:ROWS_MAX]:
        row: dict[str, Json] = {"key": readable_key(key), "removed": value is None}
        if value is not None:
            row["bytes"] = len(value)
            row["value"] = _shown(value)
        shown.append(row)
    return {"rows": shown, "count": len(rows)}


def _shown(value: bytes) -> Json:
    """A value for the page: JSON or text or hex, cut when it is too long."""
    if len(value) <= VALUE_MAX:
        return readable(value)
    return {"cut": value[:VALUE_MAX].decode(errors="replace"), "bytes": len(value)}


def maps(book: Book) -> dict[str, Json]:
    """All maps, by name, with how many entries wrote to them and which was the last."""
    found = sorted(book.maps.items())
    return {
        "maps": [
            {"name": name, "entries": len(seqnos), "last": seqnos[-1] if seqnos else None}
            for name, seqnos in found
        ]
    }


# --- governance -------------------------------------------------------------------------------


def governance(book: Book, before: SeqNo | None, count: int) -> dict[str, Json]:
    """A page of the governance timeline, newest first."""
    count = max(1, min(count, PAGE_MAX))
    found = newest(book.governance, before, count + 1)
    shown = found[:count]
    return {
        "events": [event for seqno in shown for event in _events(book, seqno)],
        "next": shown[-1] if len(found) > count else None,
    }


def _events(book: Book, seqno: SeqNo) -> list[Json]:
    found = book.entry(seqno)
    events: list[Json] = []
    public = found.public_maps()
    # In the order of the tellers, so that a proposal comes before what became of it.
    for name, teller in _TELLERS.items():
        for key, value in list(public.get(name, {}).items())[:ROWS_MAX]:
            title, detail = teller(readable_key(key), value)
            events.append(_event(found, name, title, detail))
    quiet = [
        name.removeprefix(GOVERNANCE)
        for name in public
        if name.startswith(GOVERNANCE) and name not in _SILENT and name not in _TELLERS
    ]
    if quiet:
        events.append(_event(found, "", "Tables changed", ", ".join(quiet)))
    return events[::-1]


def _event(found: ParsedEntry, table: str, title: str, detail: str) -> Json:
    return {
        "seqno": found.seqno,
        "txid": f"{found.view}.{found.seqno}",
        "table": table,
        "title": title,
        "detail": detail[:VALUE_MAX],
    }


_SILENT = frozenset((tables.COSE_HISTORY, tables.HISTORY, tables.COSE_RECENT_PROPOSALS))
"""What accompanies every signed request."""


def _object(value: bytes | None) -> dict[str, Json]:
    try:
        found = load_json(value or b"")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _tell_proposal(key: str, value: bytes | None) -> tuple[str, str]:
    if value is None:
        return f"Proposal {key} dropped", ""
    actions = _object(value).get("actions")
    names = [
        str(action.get("name"))
        for action in (actions if isinstance(actions, list) else [])
        if isinstance(action, dict)
    ]
    return f"Proposal {key}", ", ".join(names)


def _tell_proposal_info(key: str, value: bytes | None) -> tuple[str, str]:
    if value is None:
        return f"Proposal {key} forgotten", ""
    info = _object(value)
    ballots = info.get("ballots")
    votes = info.get("final_votes")
    parts = [f"by member {info.get('proposer_id')}"]
    if isinstance(ballots, dict) and ballots:
        parts.append(f"{len(ballots)} ballot(s)")
    if isinstance(votes, dict):
        parts += [f"{who}: {'for' if choice else 'against'}" for who, choice in votes.items()]
    failure = info.get("failure")
    if isinstance(failure, dict):
        parts.append(f"failure: {failure.get('reason')}")
    return f"Proposal {key} is {info.get('state')}", "; ".join(parts)


def _teller(what: str) -> Callable[[str, bytes | None], tuple[str, str]]:
    def tell(key: str, value: bytes | None) -> tuple[str, str]:
        if value is None:
            return f"{what} {key} removed", ""
        status = _object(value).get("status")
        return f"{what} {key}" + (f" is {status}" if status is not None else ""), ""

    return tell


def _tell_constitution(_: str, value: bytes | None) -> tuple[str, str]:
    digest = hashlib.sha256(value or b"").hexdigest()
    return "Constitution set", f"{len(value or b'')} bytes, SHA-256 {digest}"


_TELLERS: dict[str, Callable[[str, bytes | None], tuple[str, str]]] = {
    tables.PROPOSALS: _tell_proposal,
    tables.PROPOSALS_INFO: _tell_proposal_info,
    tables.MEMBERS_INFO: _teller("Member"),
    tables.USERS_CERTS: _teller("User"),
    tables.NODES_INFO: _teller("Node"),
    tables.SERVICE_INFO: lambda _, value: (f"Service is {_object(value).get('status')}", ""),
    tables.CONSTITUTION: _tell_constitution,
}


def people(book: Book) -> dict[str, Json]:
    """Members, users and nodes as they are at the end of what was read."""
    roster = book.roster
    return {
        "members": _roll(roster[tables.MEMBERS_INFO], roster[tables.MEMBERS_CERTS]),
        "users": _roll(roster[tables.USERS_INFO], roster[tables.USERS_CERTS]),
        "nodes": _roll(roster[tables.NODES_INFO], roster[tables.NODES_ENDORSED_CERTIFICATES]),
    }


def _roll(infos: Mapping[bytes, Row], pems: Mapping[bytes, Row]) -> list[Json]:
    rolled: list[Json] = []
    for key in list(dict.fromkeys((*infos, *pems)))[:ROWS_MAX]:
        info, pem = infos.get(key), pems.get(key)
        rolled.append(
            {
                "id": readable_key(key),
                "since": max(row.seqno for row in (info, pem) if row is not None),
                "info": _shown(info.value) if info is not None else None,
                "certificate": _certificate(pem.value.decode(errors="replace")) if pem else None,
            }
        )
    return rolled


def _certificate(pem: str) -> Json:
    """What a person wants to know of a certificate; the text itself when it is none."""
    try:
        not_before, not_after = certs.validity(pem)
        return {
            "pem": pem[:VALUE_MAX],
            "fingerprint": certs.fingerprint(certs.pem_to_der(pem)),
            "not_before": not_before,
            "not_after": not_after,
        }
    except ValueError:
        return {"pem": pem[:VALUE_MAX]}


def _row_json(rows: Mapping[bytes, Row]) -> dict[str, Json]:
    row = rows.get(tables.UNIT)
    return {} if row is None else _object(row.value)


# --- proofs -----------------------------------------------------------------------------------


def proof(book: Book, seqno: SeqNo) -> dict[str, Json]:
    """How an entry hangs in the tree that the next signature signed, step by step.

    Raises LocalError when no signature covers it yet, InvalidLedger when the signed tree does not
    hold it.
    """
    found, covering = _covered(book, seqno)
    signed = signature.parse(covering)
    shown: dict[str, Json] = {
        "seqno": seqno,
        "txid": f"{found.view}.{seqno}",
        "write_set_digest": found.write_set_digest.hex(),
        "evidence_digest": found.evidence_digest.hex() if found.evidence_digest else None,
        "claims_digest": found.claims.hex() if found.claims is not None else None,
        "leaf": found.leaf.hex(),
        "signed_at": covering.seqno,
        "signed_txid": f"{covering.view}.{covering.seqno}",
        "root": signed.root.hex(),
        "node": signed.node,
        "cose": signed.cose is not None,
        "is_signature": found.seqno == covering.seqno,
        "path": [],
    }
    if found.seqno == covering.seqno:
        return shown
    signature.verify_covered(found, covering)
    path = Tree.parse(signed.tree).path(seqno)
    if fold(found.leaf, path) != signed.root:
        raise InvalidLedger(
            f"Entry {seqno} does not lead to the root that was signed at {covering.seqno}.",
            seqno=seqno,
        )
    shown["path"] = [{"left": left, "hash": node.hex()} for left, node in path]
    return shown


def receipt(book: Book, seqno: SeqNo) -> bytes:
    """The JSON receipt of an entry. Entries with commit evidence need the ledger secrets for it.

    Raises LocalError when it cannot be made.
    """
    found, covering = _covered(book, seqno)
    evidence: str | None = None
    if found.evidence_digest is not None and seqno != covering.seqno:
        if book.secrets is None:
            raise LocalError(
                "A receipt shows the commit evidence, which only the ledger secrets give.",
                hint="Start with --enc-key for enough members, or ask the service for it.",
            )
        evidence = book.secrets.cipher_at(seqno).evidence(found.view, seqno)
    return dump_json(receipts.json_receipt(found, covering, evidence))


def _covered(book: Book, seqno: SeqNo) -> tuple[ParsedEntry, ParsedEntry]:
    found = book.entry(seqno)
    covering = book.covering(seqno)
    if covering is None:
        raise LocalError(f"No signature covers entry {seqno} yet.")
    return found, found if covering == seqno else book.entry(covering)
