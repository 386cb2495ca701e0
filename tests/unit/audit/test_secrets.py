"""Secrets from shares, on a ledger whose members and secrets we know."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pyccf.audit import read, secrets
from pyccf.codec.text import b64, dump_json, load_json
from pyccf.crypto import aead, shares
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import RsaPrivateKey
from pyccf.errors import InvalidLedger, LocalError
from pyccf.kv.changes import UNIT
from pyccf.ledger.secrets import LedgerSecret
from pyccf.shell.disk import LedgerDisk
from support.ledgers import Service

CHANCE = SeededEntropy("shares")


@cache
def member_keys() -> list[RsaPrivateKey]:
    return [RsaPrivateKey.generate() for _ in range(3)]


def pems(*which: int) -> list[str]:
    return [member_keys()[i].pem() for i in which]


def config(threshold: int) -> dict[str, Any]:
    return {secrets.SERVICE_CONFIG: {UNIT: dump_json({"recovery_threshold": threshold})}}


def issued(
    secret: LedgerSecret, threshold: int, *, owner: bool = False, cut: int = 0
) -> dict[str, Any]:
    wrapping, parts = shares.split(3, threshold, CHANCE)
    if owner:
        parts = [wrapping.full_share(), *parts[1:]]
    row = {
        "encrypted_shares": {
            f"member{i}": b64(key.public.encrypt_oaep(part[: len(part) - cut]))
            for i, (key, part) in enumerate(zip(member_keys(), parts, strict=True))
        },
        "wrapped_latest_ledger_secret": b64(
            shares.wrap_ledger_secret(wrapping.wrapping_key(), secret.key)
        ),
    }
    return {secrets.RECOVERY_SHARES: {UNIT: dump_json(row)}}


def stored(
    following: LedgerSecret, previous: LedgerSecret | None, next_version: int | None
) -> dict[str, Any]:
    row: dict[str, Any] = {} if next_version is None else {"next_version": next_version}
    if previous is not None:
        row["previous_ledger_secret"] = {
            "encrypted_data": b64(aead.seal(following.key, CHANCE.bytes(12), previous.key)),
            "version": previous.version,
        }
    return {secrets.HISTORICAL_SECRET: {UNIT: dump_json(row)}}


class Ledger:
    """A service that is opened, and rekeyed at will."""

    def __init__(self, threshold: int = 2, **options: Any) -> None:
        self.service = Service()
        self.service.genesis()
        self.service.write(config(threshold))
        self.threshold = threshold
        self.options = options
        secret = self.service.secrets.latest()
        self.service.write({**issued(secret, threshold, **options), **stored(secret, None, 1)})
        self.service.record(b"first secret", private=True)

    def rekey(self, *, explicit: bool = False, twice: bool = False) -> None:
        old = self.service.secrets.latest()
        seqno = self.service.last + 1
        new = LedgerSecret(seqno + 1 + twice, CHANCE.bytes(32))
        tables = stored(new, old, new.version if explicit or twice else None)
        for _ in range(2 if twice else 1):
            self.service.write({**issued(new, self.threshold, **self.options), **tables})
        self.service.secrets.add(new)
        self.service.record(b"next secret", private=True)

    def written(self, directory: Path) -> Path:
        disk = LedgerDisk(directory)
        disk.append(self.service.entries)
        disk.close()
        return directory


def keys_of(found: Any) -> list[tuple[int, bytes]]:
    return [(s.version, s.key) for s in found.all()]


def test_one_secret(tmp_path: Path) -> None:
    ledger = Ledger()
    directory = ledger.written(tmp_path / "l")
    for who in ((0, 1), (1, 2), (2, 0), (0, 1, 2)):
        found = secrets.recover(directory, pems(*who))
        assert keys_of(found) == keys_of(ledger.service.secrets)
    view = read.show(directory, ledger.service.last, secrets=found)
    assert view.private == {"records": {b"key": b"first secret"}}


@pytest.mark.parametrize("twice", [False, True])
def test_secrets_of_the_past(tmp_path: Path, twice: bool) -> None:
    ledger = Ledger()
    ledger.rekey()
    ledger.rekey(explicit=True)
    ledger.rekey(twice=twice)
    ledger.rekey()
    directory = ledger.written(tmp_path / "l")
    found = secrets.recover(directory, pems(0, 2))
    assert keys_of(found) == keys_of(ledger.service.secrets)
    for entry in read.entries(directory):
        view = read.show(directory, entry.seqno, secrets=found)
        assert view.private is not None
        assert bool(view.private) == (entry.private_size > 0)


def test_secrets_as_they_were(tmp_path: Path) -> None:
    ledger = Ledger()
    before = ledger.service.last
    ledger.rekey()
    found = secrets.recover(ledger.written(tmp_path / "l"), pems(0, 1), until=before)
    assert [s.version for s in found.all()] == [1]


def test_the_full_key_of_an_owner_is_enough(tmp_path: Path) -> None:
    ledger = Ledger(owner=True)
    directory = ledger.written(tmp_path / "l")
    assert keys_of(secrets.recover(directory, pems(0))) == keys_of(ledger.service.secrets)
    with pytest.raises(LocalError, match="1 of the given keys open a recovery share, 2 are needed"):
        secrets.recover(directory, pems(1))


def test_too_few_or_wrong_keys(tmp_path: Path) -> None:
    directory = Ledger(threshold=3).written(tmp_path / "l")
    with pytest.raises(LocalError, match="2 of the given keys open a recovery share, 3 are needed"):
        secrets.recover(directory, pems(0, 1))
    with pytest.raises(LocalError, match="1 of the given keys"):
        secrets.recover(directory, pems(0, 0, 0))
    stranger = RsaPrivateKey.generate().pem()
    with pytest.raises(LocalError, match="0 of the given keys"):
        secrets.recover(directory, [stranger])
    with pytest.raises(LocalError, match="is not an RSA private key"):
        secrets.recover(directory, ["nonsense"])


def test_shares_of_old_versions_are_refused(tmp_path: Path) -> None:
    directory = Ledger(cut=4).written(tmp_path / "l")
    with pytest.raises(LocalError, match="shares have 40 bytes, not 44"):
        secrets.recover(directory, pems(0, 1))


def test_a_service_that_was_never_opened(tmp_path: Path) -> None:
    service = Service()
    service.genesis()
    disk = LedgerDisk(tmp_path / "l")
    disk.append(service.entries)
    disk.close()
    with pytest.raises(LocalError, match="holds no recovery shares"):
        secrets.recover(tmp_path / "l", pems(0))


def test_shares_that_open_nothing(tmp_path: Path) -> None:
    ledger = Ledger()
    row = dict(issued(ledger.service.secrets.latest(), 2))
    other = dict(issued(ledger.service.secrets.latest(), 2))
    mixed: Any = load_json(row[secrets.RECOVERY_SHARES][UNIT])
    wrong: Any = load_json(other[secrets.RECOVERY_SHARES][UNIT])
    mixed["wrapped_latest_ledger_secret"] = wrong["wrapped_latest_ledger_secret"]
    ledger.service.write({secrets.RECOVERY_SHARES: {UNIT: dump_json(mixed)}})
    with pytest.raises(LocalError, match="do not open the ledger secret"):
        secrets.recover(ledger.written(tmp_path / "l"), pems(0, 1))


def test_a_chain_that_does_not_hold(tmp_path: Path) -> None:
    ledger = Ledger()
    old = ledger.service.secrets.latest()
    new = LedgerSecret(ledger.service.last + 2, CHANCE.bytes(32))
    wrong = LedgerSecret(1, CHANCE.bytes(32))
    ledger.service.write({**issued(new, 2), **stored(wrong, old, None)})
    with pytest.raises(InvalidLedger, match="does not open under the next one") as caught:
        secrets.recover(ledger.written(tmp_path / "l"), pems(0, 1))
    assert caught.value.seqno == ledger.service.last


@pytest.mark.parametrize(
    ("table", "row"),
    [
        (secrets.RECOVERY_SHARES, b"1"),
        (secrets.RECOVERY_SHARES, b'{"encrypted_shares":[]}'),
        (secrets.RECOVERY_SHARES, b'{"encrypted_shares":{"m":"?"}}'),
        (secrets.RECOVERY_SHARES, b'{"encrypted_shares":{}}'),
        (secrets.HISTORICAL_SECRET, b'{"previous_ledger_secret":{"version":"1"}}'),
        (secrets.HISTORICAL_SECRET, b'{"previous_ledger_secret":{"version":1}}'),
        (secrets.SERVICE_CONFIG, b"[]"),
    ],
)
def test_malformed_rows_are_named(tmp_path: Path, table: str, row: bytes) -> None:
    ledger = Ledger()
    ledger.service.write({table: {UNIT: row}})
    with pytest.raises(InvalidLedger, match="malformed row") as caught:
        secrets.recover(ledger.written(tmp_path / "l"), pems(0, 1))
    assert caught.value.seqno == ledger.service.last
