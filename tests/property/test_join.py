"""Joining under bad input: whatever a joiner sends, whatever a joiner is answered.

A joiner that is let in must have sent evidence of trusted code for the key it calls with; every
other request changes nothing. A joiner adopts nothing but what the service whose certificate it
knows hands to its own key. PYCCF_FUZZ_CASES sets how many cases are tried of each.
"""

from __future__ import annotations

import copy
import json
import os
from functools import cache
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyccf.attest import virtual
from pyccf.codec.text import b64, dump_json, unb64
from pyccf.node.outputs import Answer, CallFailed
from pyccf.service import tables
from pyccf.service.nodes import join_request
from support.joining import HOST_DATA, Joining, known, make_identity, make_primary, open_service
from support.joining import post as send
from support.node import Service

CASES = int(os.environ.get("PYCCF_FUZZ_CASES", "200"))
FUZZ = settings(
    max_examples=CASES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 65), 1 << 65),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.sampled_from(["", "h:1", "127.0.0.1:1", "-----BEGIN CERTIFICATE-----", "AAAA", "Trusted"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@cache
def service() -> Service:
    """One open service for all cases; nobody gets further than Pending."""
    made = make_primary()
    open_service(made)
    return made


@cache
def request() -> dict[str, Any]:
    """A request that would be granted."""
    joiner = Joining(service().parts.service.cert_pem)
    found: dict[str, Any] = json.loads(dump_json(join_request(joiner.parts.entry, 0)))
    quote = found["quote_info"]
    quote["quote"] = json.loads(unb64(quote["quote"]))
    return found


@cache
def grant() -> dict[str, Any]:
    """What a service that is opening answers to it."""
    opening = make_primary()
    found: dict[str, Any] = Joining(opening.parts.service.cert_pem).ask(opening).json
    return found


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += places(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            found += places(inner, (*path, i))
    return found


@st.composite
def spoiled(draw: st.DrawFn, original: dict[str, Any]) -> dict[str, Any]:
    """A document with some places replaced, removed or damaged by a character."""
    made = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 3))):
        everywhere = places(made)
        if not everywhere:
            break
        *parents, last = draw(st.sampled_from(everywhere))
        holder: Any = made
        for parent in parents:
            holder = holder[parent]
        old = holder[last]
        how = draw(st.sampled_from(["replace", "remove", "damage"]))
        if how == "remove":
            del holder[last]
        elif how == "damage" and isinstance(old, str) and old:
            at = draw(st.integers(0, len(old) - 1))
            holder[last] = old[:at] + draw(st.characters()) + old[at + 1 :]
        else:
            holder[last] = draw(VALUES)
    return made


def encode(document: dict[str, Any]) -> bytes:
    """The request with its quote as text in base64 again, if it is still an object."""
    made = copy.deepcopy(document)
    quote = made.get("quote_info")
    if isinstance(quote, dict) and isinstance(quote.get("quote"), dict):
        quote["quote"] = b64(json.dumps(quote["quote"]).encode())
    return json.dumps(made).encode()


def is_genuine(document: dict[str, Any]) -> bool:
    """Whether the evidence is still that of trusted code for the calling key."""
    quote = document.get("quote_info")
    if not isinstance(quote, dict) or not isinstance(quote.get("quote"), dict):
        return False
    stated = quote["quote"]
    return bool(
        stated.get("measurement") == virtual.MEASUREMENT
        and stated.get("host_data") == HOST_DATA
        and stated.get("report_data") == request()["quote_info"]["quote"]["report_data"]
    )


@settings(FUZZ)
@given(st.data())
def test_whatever_a_joiner_sends(data: st.DataObject) -> None:
    primary = service()
    document = data.draw(spoiled(request()))
    check_request(primary, encode(document), is_genuine(document))


@settings(FUZZ)
@given(st.one_of(st.binary(max_size=200), VALUES.map(lambda v: json.dumps(v).encode())))
def test_whatever_anybody_sends(body: bytes) -> None:
    check_request(service(), body, False)


def check_request(primary: Service, body: bytes, genuine: bool) -> None:
    identity = make_identity()
    before, version = known(primary), primary.node.store.version
    reply = send(primary, identity, body)
    assert reply.status in (200, 400, 401, 500), reply.body
    if reply.status == 200:
        assert genuine, body
        assert reply.json == {"node_id": identity.node_id, "node_status": "Pending"}
        # The next case begins as this one did.
        remove(primary, identity.node_id)
        return
    assert "code" in reply.json["error"]
    assert not any(log.text.startswith("POST /node/join failed") for log in primary.logs)
    assert known(primary) == before
    assert primary.node.store.version == version
    primary.logs.clear()


def remove(primary: Service, node_id: str) -> None:
    tx = primary.node.store.tx()
    tx.map(tables.NODES_INFO).delete(node_id.encode())
    primary.node.commit(tx)
    primary.tick()


@cache
def waiting() -> Joining:
    """One joiner for all cases; it is never let in."""
    opening = make_primary()
    return Joining(opening.parts.service.cert_pem)


@settings(FUZZ)
@given(
    st.one_of(
        st.builds(CallFailed, st.text(max_size=20)),
        st.builds(
            Answer,
            st.integers(100, 399),
            st.dictionaries(st.sampled_from(["location", "x"]), st.text(max_size=40), max_size=2),
            st.binary(max_size=100),
        ),
        st.builds(
            Answer, st.just(200), st.just({}), VALUES.map(lambda value: json.dumps(value).encode())
        ),
    )
)
def test_whatever_a_joiner_is_answered(answer: Answer | CallFailed) -> None:
    joiner = waiting()
    joiner.reply(answer)
    assert joiner.node.state == "Pending"
    assert joiner.stopped == ""
    assert not joiner.parts.secrets.all()
    joiner.logs.clear()


@settings(FUZZ)
@given(st.data())
def test_whatever_a_joiner_is_handed(data: st.DataObject) -> None:
    opening = service()
    joiner = Joining(opening.parts.service.cert_pem)
    answer = copy.deepcopy(grant())
    # What is handed over is of a service with the same keys (they come from the same seed).
    spoilt = data.draw(spoiled(answer))
    joiner.reply(Answer(200, {}, json.dumps(spoilt).encode()))
    network = spoilt.get("network_info")
    if joiner.node.state == "Pending":
        assert not joiner.parts.secrets.all()
        assert joiner.parts.signer.certificate == ""
        return
    assert isinstance(network, dict)
    assert joiner.parts.service.key.public == opening.parts.service.key.public
    assert joiner.parts.signer.usable(joiner.parts.signer.certificate.encode())
    assert joiner.parts.secrets.all()
