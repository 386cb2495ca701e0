"""`pyccf recover` and a member's share, against a fake service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyccf.cli.options import SandboxInfo
from pyccf.codec import cose
from pyccf.codec.text import b64, load_json, unb64
from pyccf.crypto import certs
from pyccf.crypto.keys import RsaPrivateKey
from support.cli import Run
from support.fake_service import FakeService, make_identity

SHARE = bytes(range(44))
KEY = RsaPrivateKey.generate()
GOV = "/gov/service/info"


@pytest.fixture
def member(sandbox: SandboxInfo) -> str:
    return certs.fingerprint(Path(sandbox.members[0].cert).read_text())


@pytest.fixture
def enc_key(tmp_path: Path) -> Path:
    path = tmp_path / "enc.pem"
    path.write_text(KEY.pem())
    return path


def status(service: FakeService, name: str) -> None:
    service.on(
        "GET",
        GOV,
        {
            "status": name,
            "certificate": "",
            "recoveryCount": 1,
            "creationTransactionId": "4.9",
            "serviceData": None,
            "configuration": {"recoveryThreshold": 2},
        },
    )


def encrypted(service: FakeService, member: str, share: bytes = SHARE) -> None:
    body = {"memberId": member, "encryptedShare": b64(KEY.public.encrypt_oaep(share))}
    service.on("GET", f"/gov/recovery/encrypted-shares/{member}", body)


def submitted(service: FakeService, member: str, count: int) -> None:
    service.on(
        "POST",
        f"/gov/recovery/members/{member}:recover",
        {
            "message": f"{count}/2 recovery shares successfully submitted",
            "submittedCount": count,
            "recoveryThreshold": 2,
            "fullKeySubmitted": False,
        },
    )


def test_a_share_is_fetched_opened_and_handed_in(
    run: Run, service: FakeService, member: str, enc_key: Path
) -> None:
    status(service, "WaitingForRecoveryShares")
    encrypted(service, member)
    submitted(service, member, 1)
    code, out, _ = run("member", "recover", "--enc-key", enc_key)
    assert code == 0
    assert "1/2 recovery shares successfully submitted" in out
    assert "1 more of the members must hand in" in out
    sent = cose.parse_sign1(service.requests[-1].content)
    assert sent.payload is not None
    assert load_json(sent.payload) == {"share": b64(SHARE)}
    assert b64(SHARE) not in out


def test_a_share_opened_elsewhere(
    run: Run, service: FakeService, member: str, enc_key: Path, tmp_path: Path
) -> None:
    status(service, "WaitingForRecoveryShares")
    encrypted(service, member)
    submitted(service, member, 2)
    code, sealed, _ = run("member", "share")
    assert code == 0
    opened = KEY.decrypt_oaep(unb64(sealed.strip()))
    assert opened == SHARE
    code, out, _ = run("member", "share", "--enc-key", enc_key, "--out", tmp_path / "share")
    assert (code, out) == (0, "")
    assert run("member", "recover", "--share", tmp_path / "share", "--json").code == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Recovering", "have not accepted the recovered service yet"),
        ("Open", "does not wait for recovery shares"),
        ("Opening", "does not wait for recovery shares"),
    ],
)
def test_not_now(
    run: Run, service: FakeService, member: str, enc_key: Path, name: str, words: str
) -> None:
    status(service, name)
    code, _, err = run("member", "recover", "--enc-key", enc_key)
    assert code == 1
    assert words in err
    assert all(request.method == "GET" for request in service.requests)


def test_wrong_keys_and_shares_are_explained(
    run: Run, service: FakeService, member: str, enc_key: Path, tmp_path: Path
) -> None:
    status(service, "WaitingForRecoveryShares")
    encrypted(service, member)
    other, text, sealed = tmp_path / "other.pem", tmp_path / "text", tmp_path / "sealed"
    other.write_text(RsaPrivateKey.generate().pem())
    text.write_text("%%%")
    sealed.write_text(b64(bytes(256)))
    signing = make_identity(tmp_path, "signing")
    assert signing.id
    for option, file, words in (
        ("--enc-key", other, "does not open the share of member"),
        ("--enc-key", tmp_path / "signing_privk.pem", "is not an RSA private key"),
        ("--enc-key", tmp_path / "missing", "Could not read"),
        ("--share", text, "is not base64"),
        ("--share", sealed, "Is it still encrypted?"),
    ):
        code, _, err = run("member", "recover", option, file)
        assert code == 1, words
        assert words in err
    service.refuse(
        "POST",
        f"/gov/recovery/members/{member}:recover",
        500,
        "InternalError",
        "Failed to initiate private recovery.",
    )
    code, _, err = run("member", "recover", "--enc-key", enc_key)
    assert code == 1
    assert "All members fetch and hand in theirs again" in err


def test_a_member_without_a_share(
    run: Run, service: FakeService, member: str, enc_key: Path
) -> None:
    status(service, "WaitingForRecoveryShares")
    path = f"/gov/recovery/encrypted-shares/{member}"
    service.refuse("GET", path, 404, "ResourceNotFound", "Recovery share not found")
    code, _, err = run("member", "recover", "--enc-key", enc_key)
    assert code == 1
    assert f"holds no recovery share of member {member}" in err


def network(service: FakeService, name: str, certificate: str = "new") -> None:
    service.on(
        "GET",
        "/node/network",
        {"service_status": name, "service_certificate": certificate, "recovery_count": 1},
    )


def test_the_recovered_service_is_accepted_only_if_it_is_the_known_one(
    run: Run, service: FakeService, sandbox: SandboxInfo, tmp_path: Path
) -> None:
    known, other = make_identity(tmp_path, "known"), make_identity(tmp_path, "other")
    assert known.id != other.id
    known_pem = (tmp_path / "known_cert.pem").read_text()
    network(service, "Recovering")
    service.on("GET", "/node/service/previous_identity", {"previous_service_identity": known_pem})
    accepted = {"proposalId": "p", "proposalState": "Accepted", "proposerId": "m", "ballotCount": 0}
    service.on("POST", "/gov/members/proposals:create", accepted)
    given = ("--previous-identity", tmp_path / "other_cert.pem")
    code, _, err = run("recover", "accept", *given)
    assert code == 1
    assert "goes on with another service than that of" in err
    assert all(request.method == "GET" for request in service.requests)
    code, out, _ = run("recover", "accept", "--previous-identity", tmp_path / "known_cert.pem")
    assert code == 0
    assert "members hand in their shares" in out
    sent = cose.parse_sign1(service.requests[-1].content)
    assert sent.payload is not None
    (action,) = json.loads(sent.payload)["actions"]
    assert action == {
        "name": "transition_service_to_open",
        "args": {"previous_service_identity": known_pem, "next_service_identity": "new"},
    }


def test_nothing_to_accept(
    run: Run, service: FakeService, sandbox: SandboxInfo, tmp_path: Path
) -> None:
    make_identity(tmp_path, "known")
    network(service, "Open")
    given = ("--previous-identity", tmp_path / "known_cert.pem")
    code, _, err = run("recover", "accept", *given)
    assert code == 1
    assert "there is nothing to accept" in err


@pytest.mark.parametrize(
    ("name", "state", "words"),
    [
        ("Recovering", {}, "recover accept"),
        ("WaitingForRecoveryShares", {}, "member recover"),
        (
            "WaitingForRecoveryShares",
            {"last_recovered_seqno": 5, "recovery_target_seqno": 9},
            "5 of 9 entries",
        ),
        ("Open", {}, "Nothing is being recovered"),
    ],
)
def test_what_is_next(
    run: Run,
    service: FakeService,
    sandbox: SandboxInfo,
    name: str,
    state: dict[str, int],
    words: str,
) -> None:
    network(service, name)
    service.on("GET", "/node/state", {"state": "PartOfPublicNetwork", **state})
    service.on("GET", "/node/service/configuration", {"recovery_threshold": 2})
    code, out, _ = run("recover", "status")
    assert code == 0
    assert words in out
