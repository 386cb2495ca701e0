"""Snapshots that the original wrote: taken apart, opened, judged, written again byte for byte."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from typing import NamedTuple

import pytest

from pyccf.audit import secrets
from pyccf.audit.files import ChunkReader, find_chunks
from pyccf.errors import InvalidReceipt
from pyccf.kv import wire
from pyccf.kv.content import MapContent
from pyccf.kv.store import Store
from pyccf.ledger import snapshot
from pyccf.ledger.entry import parse
from pyccf.ledger.secrets import LedgerSecrets
from support.snapshots import content_of, cut_all
from support.vectors import vectors_dir


class Known(NamedTuple):
    """A snapshot file of a service."""

    service: str
    file: str
    current: bool
    """Whether it was taken by the service whose certificate lies beside it."""


FILES = [
    Known("eol_service", "snapshot_493_494.committed", True),
    Known("expired_service", "snapshot_61_62.committed", True),
    Known("sgx_service", "snapshot_99_100.committed", False),
    Known("sgx_service", "snapshot_138_139.committed", True),
]
each_file = pytest.mark.parametrize("known", FILES, ids=lambda k: f"{k.service} {k.file}")


def data_of(known: Known) -> bytes:
    return (
        vectors_dir() / "ccf" / "ledgers" / known.service / "snapshots" / known.file
    ).read_bytes()


def ledger_of(known: Known) -> str:
    return str(vectors_dir() / "ccf" / "ledgers" / known.service / "ledger")


@cache
def secrets_of(known: Known) -> LedgerSecrets:
    common = vectors_dir() / "ccf" / "ledgers" / known.service / "common"
    keys = [p.read_text() for p in sorted(common.glob("member*_enc_privk.pem"))]
    return secrets.recover(ledger_of(known), keys)


def service_cert(known: Known) -> str:
    common = vectors_dir() / "ccf" / "ledgers" / known.service / "common"
    return (common / "service_cert.pem").read_text()


def restored(found: snapshot.Snapshot, maps: list[MapContent]) -> Store:
    store = Store(view=1)
    store.restore(found.seqno, found.view, sorted(maps, key=lambda m: m.name))
    return store


@each_file
def test_it_is_written_again_byte_for_byte(known: Known) -> None:
    data = data_of(known)
    found = snapshot.parse(data)
    ledger_secrets = secrets_of(known)
    maps = found.public_maps() + found.private_maps(ledger_secrets)
    store = restored(found, maps)
    cut = cut_all(
        store.freeze(found.seqno), found.leaf, found.starts, ledger_secrets.at(found.seqno).key
    )
    assert b"".join(cut.pieces) == data[: found.size]
    assert cut.digest == found.digest == hashlib.sha256(data[: found.size]).digest()


@each_file
def test_its_maps_are_what_the_ledger_says(known: Known) -> None:
    """Versions included."""
    found = snapshot.parse(data_of(known))
    ledger_secrets = secrets_of(known)
    store = Store(view=1)
    leaves: list[bytes] = []
    for one in find_chunks(ledger_of(known)).chunks:
        with ChunkReader(one) as reader:
            for raw in reader.entries():
                entry = parse(raw)
                if entry.seqno > found.seqno:
                    break
                private = ledger_secrets.open(
                    entry.seqno, entry.iv, entry.tag, entry.ciphertext, entry.public
                )
                store.apply(entry.seqno, {**entry.public_maps(), **wire.decode(private)})
                leaves.append(entry.leaf)
    maps = found.public_maps() + found.private_maps(ledger_secrets)
    assert content_of(restored(found, maps)) == content_of(store)
    assert found.leaf == leaves[-1]
    _, tree = snapshot.history_of(found, found.public_maps())
    assert tree.size == found.seqno + 1


@each_file
def test_who_vouches_for_it(known: Known) -> None:
    found = snapshot.parse(data_of(known))
    if known.current:
        proven = snapshot.verify(found, service_cert(known))
        name = snapshot.parse_name(known.file)
        assert name is not None
        assert proven.txid is not None
        assert (found.seqno, proven.txid.seqno) == (name.seqno, name.evidence)
    else:
        with pytest.raises(InvalidReceipt, match="not endorsed by the service"):
            snapshot.verify(found, service_cert(known))


def test_the_snapshot_of_todays_original() -> None:
    """It came over HTTP; its service's certificate is not there."""
    lines = (vectors_dir() / "ccf" / "transcripts" / "node.jsonl").read_text().splitlines()
    (body,) = (
        e["response"]["body_base64"]
        for e in map(json.loads, lines)
        if e["name"] == "snapshot whole"
    )
    data = base64.b64decode(body)
    found = snapshot.parse(data)
    assert (found.view, found.seqno) == (2, 27)
    public = found.public_maps()
    snapshot.history_of(found, public)
    store = restored(found, public)
    key = bytes(32)
    cut = cut_all(store.freeze(27), found.leaf, found.starts, key)
    size = int.from_bytes(data[36:44], "little")
    assert b"".join(cut.pieces)[36 : 44 + size] == data[36 : 44 + size]
    with pytest.raises(InvalidReceipt, match="not endorsed by the service"):
        snapshot.verify(found, service_cert(FILES[0]))
