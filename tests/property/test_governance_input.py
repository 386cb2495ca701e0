"""Whatever a person or a vault hands to the tools of governance, there is an answer to it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyccf.cli.two_step import moment
from pyccf.client.signing import MessageType
from pyccf.client.two_step import prepare, read_prepared, read_signature
from pyccf.constitutions import cases
from pyccf.crypto.keys import Curve
from pyccf.errors import LocalError
from support.service import person

calm = settings(deadline=None)
"""Keys are made, and the engine is started, by whichever example comes first."""

CURVES = st.sampled_from([Curve.P256, Curve.P384, Curve.P521])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(st.binary(max_size=300), CURVES)
def test_signatures_of_any_form(data: bytes, curve: Curve) -> None:
    try:
        found = read_signature(data, curve)
    except LocalError:
        return
    assert len(found) == 2 * curve.coordinate_size


@calm
@given(st.data(), CURVES)
def test_raw_signatures_come_through_every_form(data: Any, curve: Curve) -> None:
    size = curve.coordinate_size
    r, s = (data.draw(st.integers(curve.order >> 16, curve.order - 1)) for _ in range(2))
    raw = r.to_bytes(size, "big") + s.to_bytes(size, "big")
    forms = [raw, base64.b64encode(raw), base64.urlsafe_b64encode(raw).rstrip(b"=")]
    forms.append(json.dumps({"value": base64.urlsafe_b64encode(raw).decode()}).encode())
    der = encode_dss_signature(r, s)
    if len(der) != len(raw):  # else it is taken as it is, and does not verify
        forms += [der, base64.b64encode(der)]
    assert {read_signature(form, curve) for form in forms} == {raw}


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_prepared_files_of_any_content(data: bytes) -> None:
    with pytest.raises(LocalError):
        read_prepared(data)


@calm
@given(st.binary(max_size=200), st.sampled_from(MessageType), st.integers(0, 1 << 40))
def test_prepared_messages_are_read_back(payload: bytes, kind: MessageType, when: int) -> None:
    about = "ab" * 32 if kind in (MessageType.BALLOT, MessageType.WITHDRAWAL) else None
    made = prepare(person("member0").cert, kind, payload, when, about)
    assert read_prepared(made.encode()) == made
    assert made.payload == payload


@given(st.text(max_size=40))
def test_times_of_any_text(text: str) -> None:
    try:
        found = moment(text)
    except LocalError:
        return
    assert isinstance(found, int)


STEPS = st.dictionaries(
    st.sampled_from(["propose", "vote", "withdraw", "write", "by", "as", "on", "expect"]),
    JSON | st.sampled_from(["alice", "p", {"state": "Open"}, [], True]),
    max_size=4,
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
@given(steps=st.lists(STEPS, max_size=3), members=st.just({"alice": {}}) | JSON)
def test_suites_of_any_content(tmp_path: Path, steps: list[Any], members: Any) -> None:
    suite = {"members": members, "cases": [{"name": "c", "steps": steps}]}
    (tmp_path / "s.json").write_text(json.dumps(suite))
    text = (
        "export function validate(p) { return {valid: true}; }"
        " export function resolve(p, by, votes) { return 'Open'; }"
        " export function apply(p, id) {}"
    )
    try:
        results = cases.run_suite(text, tmp_path / "s.json")
    except LocalError:
        return
    assert all(result.passed or result.problem for result in results)
