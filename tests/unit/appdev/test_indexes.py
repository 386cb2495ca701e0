"""Indexes of an application under test: those its endpoints declare, and up to date."""

from __future__ import annotations

import pytest

from pyccf.appdev.memory import MemoryService
from pyccf.http.message import Request
from pyccf.types import Json

APP = """
export function put(request) {
  ccf.kv["public:m"].set(ccf.strToBuf(request.params.key), ccf.strToBuf("x"));
  return {};
}
export function seqnos(request) {
  const last = ccf.consensus.getLastCommittedTxId().seqno;
  return {body: pyccf.index.seqnosOfKey("by_id", ccf.strToBuf(request.params.key), 1, last)};
}
"""


def endpoint(function: str, **more: Json) -> Json:
    return {
        "js_module": "app.js",
        "js_function": function,
        "forwarding_required": "always",
        "authn_policies": [],
        "mode": "readwrite",
        **more,
    }


@pytest.mark.parametrize("kind", ["seqnos_by_key", "seqnos_by_key_bucketed"])
def test_an_index_is_as_far_as_the_tables(kind: str) -> None:
    indexes: Json = {"by_id": {"map": "public:m", "kind": kind}}
    service = MemoryService(
        {"app.js": APP},
        {"/m/{key}": {"put": endpoint("put"), "get": endpoint("seqnos", indexes=indexes)}},
    )
    seqnos = []
    for key in "aba":
        answer = service.call(Request("PUT", f"/app/m/{key}"))
        assert answer.txid is not None
        seqnos.append(answer.txid.seqno)
    mark = service.mark()
    service.call(Request("PUT", "/app/m/b"))
    service.back_to(mark)
    assert service.call(Request("GET", "/app/m/a")).body == f"[{seqnos[0]},{seqnos[2]}]".encode()
    assert service.call(Request("GET", "/app/m/b")).body == f"[{seqnos[1]}]".encode()
    assert service.node.indexes.find("SeqnosByKey public:other") is None
