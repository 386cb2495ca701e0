"""Keys of issuers kept up to date: when issuers are asked, what of their answers is believed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyccf.api import jwt_refresh
from pyccf.node import key_refresh
from pyccf.node.create import Parts
from pyccf.node.key_refresh import Unusable, locate
from pyccf.node.node import Limits
from pyccf.node.outputs import Answer, Call, CallFailed
from pyccf.service import jwt, tables
from support.node import Person, Service
from support.tokens import Issuer

A = "https://a.test/tenant"
BUNDLE = "ca"
INTERVAL = 60_000
METRICS = "/node/jwt_keys/refresh/metrics"


def make(**limits: Any) -> Service:
    def install(parts: Parts) -> list[Any]:
        return [("node", jwt_refresh.endpoints(parts.node))]

    service = Service(install=install, limits=Limits(key_refresh_interval=INTERVAL, **limits))
    service.tick()
    assert not service.calls
    return service


def write(service: Service, table: str, key: str, value: object) -> None:
    tx = service.node.store.tx()
    tables.put_json(tx, table, key, value)  # type: ignore[arg-type]
    service.node.commit(tx)
    service.pump()


def add(service: Service, name: str = A, **changes: object) -> None:
    """As `set_jwt_issuer` does."""
    row = {"issuer": name, "auto_refresh": True, "ca_cert_bundle_name": BUNDLE, **changes}
    write(service, tables.JWT_ISSUERS, name, {k: v for k, v in row.items() if v is not None})


def with_bundle(service: Service) -> str:
    pem = Person("ca", service.entropy).cert
    write(service, tables.CA_CERT_BUNDLES, BUNDLE, pem)
    return pem


def ready(name: str = A) -> Service:
    """A service with one issuer, about to be asked."""
    service = make()
    with_bundle(service)
    add(service, name)
    service.tick()
    return service


def take(service: Service) -> Call:
    (call,) = service.calls
    service.calls.clear()
    return call


def reply(service: Service, answer: object, status: int = 200) -> None:
    """Answer the one call under way."""
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    take(service).reply(Answer(status, {}, body))
    service.pump()


def fail(service: Service, reason: str = "no answer") -> None:
    take(service).reply(CallFailed(reason))
    service.pump()


def metrics(service: Service) -> tuple[int, int]:
    """Successes and failures."""
    told = service.call("GET", METRICS).json
    assert told["attempts"] == told["successes"] + told["failures"]
    return told["successes"], told["failures"]


def keys(service: Service) -> dict[str, Any]:
    tx = service.node.store.tx()
    return {
        key.decode(): tables.decode_row(tables.JWT_KEYS, raw)
        for key, raw in tx.map(tables.JWT_KEYS).foreach()
    }


def described(where: str = "https://keys.test:8443/all?v=1") -> dict[str, Any]:
    return {"issuer": "https://a.test/ignored", "jwks_uri": where}


def test_a_new_issuer_is_asked_at_once_and_its_keys_are_taken() -> None:
    service = make()
    pem = with_bundle(service)
    issuer = Issuer(A, ec=True)
    add(service)
    service.tick()
    first = service.calls[0]
    assert (first.address, first.method) == ("a.test:443", "GET")
    assert first.path == "/tenant/.well-known/openid-configuration"
    assert first.headers["host"] == "a.test"
    assert (first.ca, first.anonymous, first.answer_max) == (pem, True, key_refresh.ANSWER_MAX)
    reply(service, described())
    second = service.calls[0]
    assert (second.address, second.path, second.ca) == ("keys.test:8443", "/all?v=1", pem)
    reply(service, issuer.jwks())
    # The issuer of the description is no constraint.
    ((row,),) = keys(service).values()
    assert set(row) == {"issuer", "public_key"}
    assert row["issuer"] == A
    assert metrics(service) == (1, 0)
    assert not service.calls


def test_an_issuer_is_asked_again_after_an_interval() -> None:
    service = ready()
    old, new = Issuer(A, "old", ec=True), Issuer(A, "new", ec=True)
    for issuer in (old, new):
        reply(service, described())
        reply(service, issuer.jwks())
        assert list(keys(service)) == [issuer.kid]
        service.tick(INTERVAL - 2000)
        service.tick(2000)
    assert len(service.calls) == 1
    assert metrics(service) == (2, 0)


def test_the_same_keys_again_write_nothing() -> None:
    service = ready()
    issuer = Issuer(A, ec=True)
    reply(service, described())
    reply(service, issuer.jwks())
    service.tick()
    before = service.node.store.version
    service.tick(INTERVAL)
    reply(service, described())
    reply(service, issuer.jwks())
    assert service.node.store.version == before
    assert metrics(service) == (2, 0)


def test_only_issuers_that_want_it_are_asked() -> None:
    service = make()
    with_bundle(service)
    add(service, A, auto_refresh=None)
    add(service, "https://b.test", auto_refresh=False)
    service.tick()
    service.tick(INTERVAL)
    assert not service.calls
    assert metrics(service) == (0, 0)


def test_any_number_of_issuers_may_be_of_no_use() -> None:
    service = make()
    tx = service.node.store.tx()
    for number in range(1500):
        row = {"issuer": f"https://{number}.test", "auto_refresh": True}
        tables.put_json(tx, tables.JWT_ISSUERS, f"https://{number}.test", row)  # type: ignore[arg-type]
    service.node.commit(tx)
    service.pump()
    service.tick()
    assert not service.calls
    assert metrics(service) == (0, 1500)


def test_an_issuer_that_is_being_asked_is_not_asked_again() -> None:
    service = ready()
    service.tick(INTERVAL)
    add(service)
    service.tick()
    assert len(service.calls) == 1


def test_many_issuers_are_asked_a_few_at_a_time() -> None:
    service = make()
    with_bundle(service)
    count = key_refresh.CONVERSATIONS_MAX + 3
    for i in range(count):
        add(service, f"https://i{i}.test")
    service.tick()
    assert len(service.calls) == key_refresh.CONVERSATIONS_MAX
    asked = 0
    while service.calls:
        call = service.calls.pop(0)
        call.reply(CallFailed("down"))
        service.pump()
        asked += 1
    assert asked == count


def deep(levels: int) -> bytes:
    """A key set whose number is not written as it is read."""
    return b'{"keys":[{"kid":"k","x":' + b"[" * levels + b"1e300" + b"]" * levels + b"}]}"


@pytest.mark.parametrize("first", range(900, 960, 10))
def test_an_answer_that_can_just_be_read_does_no_harm(first: int) -> None:
    service = ready()
    for levels in range(first, first + 10):
        reply(service, described())
        reply(service, deep(levels))
        service.tick(INTERVAL)
    assert metrics(service) == (0, 10)


@pytest.mark.parametrize(
    ("answers", "logged"),
    [
        ([(404, {})], "status 404"),
        ([(302, {})], "status 302"),
        ([(200, b"\xff")], "not JSON"),
        ([(200, [1])], "not a JSON object"),
        ([(200, {})], "no jwks_uri"),
        ([(200, {"jwks_uri": 5})], "no jwks_uri"),
        ([(200, {"jwks_uri": "http://a.test/x"})], "not a plain https URL"),
        ([(200, {"jwks_uri": "https://a.test/\r\nx: y"})], "not a plain https URL"),
        ([(200, {"jwks_uri": "https://a.test:99999/"})], "not a URL"),
        ([(200, {"jwks_uri": "https://a.test/" + "x" * 5000})], "not a plain https URL"),
        ([(200, described()), (500, {})], "status 500"),
        ([(200, described()), (200, b"[" * 200_000)], "not JSON"),
        ([(200, described()), (200, deep(300))], "nested more than 256 deep"),
        ([(200, described()), (200, {})], "Unable to parse body."),
        ([(200, described()), (200, {"keys": []})], "Error while storing"),
        ([(200, described()), (200, {"keys": [{"kid": "k"}]})], "Error while storing"),
        (
            [(200, described()), (200, Issuer(A, ec=True).jwks("https://other.test"))],
            "Error while storing",
        ),
    ],
)
def test_answers_of_no_use_are_counted_and_change_nothing(
    answers: list[tuple[int, object]], logged: str
) -> None:
    service = make()
    with_bundle(service)
    tx = service.node.store.tx()
    jwt.set_keys(tx, A, [Issuer(A, "kept", ec=True).jwk()])
    service.node.commit(tx)
    add(service)
    service.tick()
    for status, answer in answers:
        reply(service, answer, status)
    assert not service.calls
    assert metrics(service) == (0, 1)
    assert list(keys(service)) == ["kept"]
    (line,) = (log for log in service.logs if "auto-refresh" in log.text)
    assert line.level == "fail"
    assert logged in line.text
    # It is asked again when it is due.
    service.tick(INTERVAL)
    assert len(service.calls) == 1


def test_a_server_that_cannot_be_reached_is_logged_and_not_counted() -> None:
    service = ready()
    fail(service, "connection refused")
    assert metrics(service) == (0, 0)
    assert any("connection refused" in log.text for log in service.logs)
    service.tick(INTERVAL)
    reply(service, described())
    fail(service)
    assert metrics(service) == (0, 0)


@pytest.mark.parametrize(
    ("changes", "bundle", "logged"),
    [
        ({"ca_cert_bundle_name": None}, None, "no CA bundle is named"),
        ({"ca_cert_bundle_name": 5}, None, "no CA bundle is named"),
        ({}, None, "its CA bundle ca does not exist"),
        ({}, 5, "not a JSON string"),
        ({}, "no pem", "its CA bundle ca holds no certificate"),
    ],
)
def test_an_issuer_without_a_ca_bundle_is_never_asked(
    changes: dict[str, object], bundle: object, logged: str
) -> None:
    service = make()
    if bundle is not None:
        write(service, tables.CA_CERT_BUNDLES, BUNDLE, bundle)
    add(service, **changes)
    service.tick()
    assert not service.calls
    assert metrics(service) == (0, 1)
    assert any(logged in log.text for log in service.logs)


@pytest.mark.parametrize("row", [b"{", b"[]"])
def test_a_table_that_cannot_be_read_is_logged(row: bytes) -> None:
    service = make()
    tx = service.node.store.tx()
    tx.map(tables.JWT_ISSUERS).set(b"x", row)
    service.node.commit(tx)
    service.tick()
    assert not service.calls
    assert any("cannot be read" in log.text for log in service.logs)


def test_an_issuer_that_is_removed_meanwhile_keeps_no_keys() -> None:
    service = ready()
    reply(service, described())
    tx = service.node.store.tx()
    tx.map(tables.JWT_ISSUERS).delete(A.encode())
    service.node.commit(tx)
    reply(service, Issuer(A, ec=True).jwks())
    assert keys(service) == {}
    assert metrics(service) == (0, 1)


def test_an_issuer_whose_refresh_is_switched_off_meanwhile_is_refused() -> None:
    service = ready()
    reply(service, described())
    add(service, auto_refresh=False)
    reply(service, Issuer(A, ec=True).jwks())
    assert keys(service) == {}
    assert any("does not have auto_refresh enabled" in log.text for log in service.logs)


def test_a_node_that_no_longer_leads_stops_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    service = ready()
    for name in ("https://b.test", "https://c.test"):
        add(service, name)
    monkeypatch.setattr(service.node.consensus, "can_replicate", False)
    reply(service, described())
    assert not service.calls
    service.tick(INTERVAL)
    assert not service.calls
    assert metrics(service) == (0, 0)
    monkeypatch.undo()
    service.tick(INTERVAL)
    assert len(service.calls) == 3


def test_what_another_node_must_execute_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    service = ready()
    reply(service, described())
    call = take(service)
    engine = type(service.node.consensus)
    # It stops leading just when it submits.
    answers = iter([True, False])
    leads = property(lambda self: next(answers, False))
    monkeypatch.setattr(engine, "can_replicate", leads, raising=False)
    call.reply(Answer(200, {}, json.dumps(Issuer(A, ec=True).jwks()).encode()))
    monkeypatch.undo()
    assert keys(service) == {}
    assert metrics(service) == (0, 0)


# --- URLs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "address", "host", "target"),
    [
        ("https://a.test", "a.test:443", "a.test", "/"),
        ("https://A.test:1/x?y=1&z", "a.test:1", "a.test", "/x?y=1&z"),
        ("https://127.0.0.1:8/", "127.0.0.1:8", "127.0.0.1", "/"),
        ("https://[::1]:8/a", "[::1]:8", "[::1]", "/a"),
        ("https://a.test/#f", "a.test:443", "a.test", "/"),
    ],
)
def test_where_a_url_is_read(url: str, address: str, host: str, target: str) -> None:
    assert locate(url) == key_refresh.Get(address, host, target)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.test",
        "http://a.test/",
        "https://",
        "https:///x",
        "https://user@a.test/",
        "https://a.test:x/",
        "https://a b/",
        "https://ä.test/",
        "https://a.test/ä",
        "https://a.test/ x",
        "https://a;b/",
        "https://[::1/",
    ],
)
def test_what_is_no_plain_https_url(url: str) -> None:
    with pytest.raises(Unusable):
        locate(url)


@given(st.text(max_size=60).map("https://a.test/".__add__) | st.text(max_size=60))
def test_no_url_puts_anything_else_into_the_request(url: str) -> None:
    try:
        get = locate(url)
    except Unusable:
        return
    for text in (get.address, get.host, get.target):
        assert text.isascii()
        assert text.isprintable()
        assert " " not in text


def test_a_slash_at_the_end_of_an_issuer_is_not_doubled() -> None:
    service = ready("https://a.test/")
    assert service.calls[0].path == "/.well-known/openid-configuration"


def use_other_bundle(service: Service) -> str:
    """The members name another bundle for the issuer."""
    pem = Person("right", service.entropy).cert
    write(service, tables.CA_CERT_BUNDLES, "right", pem)
    add(service, ca_cert_bundle_name="right")
    return pem


def test_an_issuer_changed_while_it_is_asked_is_asked_again() -> None:
    service = ready()
    right = use_other_bundle(service)
    service.tick()
    assert len(service.calls) == 1
    fail(service)
    assert take(service).ca == right
    service.tick()
    assert not service.calls


def test_what_an_issuer_says_that_was_changed_meanwhile_does_not_count() -> None:
    service = ready()
    reply(service, described())
    right = use_other_bundle(service)
    reply(service, Issuer(A, ec=True).jwks())
    assert not keys(service)
    assert service.calls[0].ca == right
    reply(service, described())
    reply(service, Issuer(A, "new", ec=True).jwks())
    assert list(keys(service)) == ["new"]
    assert metrics(service) == (1, 0)


def test_an_issuer_removed_while_it_is_asked_is_left_alone() -> None:
    service = ready()
    tx = service.node.store.tx()
    tx.map(tables.JWT_ISSUERS).delete(A.encode())
    service.node.commit(tx)
    reply(service, described())
    service.tick()
    assert not service.calls
    assert not keys(service)
