from __future__ import annotations

import hashlib
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID

from pyccf.crypto import certs, chains
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey, RsaPrivateKey

NOW = 1_761_669_641
DAY = 86_400
SERVICE_KEY = PrivateKey.generate(Curve.P384, SeededEntropy("service"))
NODE_KEY = PrivateKey.generate(Curve.P384, SeededEntropy("node"))
SANS = ["iPAddress:127.0.0.1", "dNSName:b.example", "iPAddress:127.0.0.1", "dNSName:a.example"]
SERVICE = certs.self_signed(
    SERVICE_KEY, "CN=CCF Service", not_before=NOW, days=90, entropy=SeededEntropy(1)
)
NODE = certs.self_signed(
    NODE_KEY, "CN=CCF Node", not_before=NOW, days=1, sans=SANS, entropy=SeededEntropy(2)
)
CSR = certs.csr(NODE_KEY, "CN=CCF Node", SANS)
ENDORSED = certs.endorse(CSR, SERVICE_KEY, SERVICE, NOW, 1, SeededEntropy(3))

BC, KU, SKI, AKI, SAN = (
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
)


def layout(pem: str) -> list[tuple[x509.ObjectIdentifier, bool]]:
    return [(e.oid, e.critical) for e in certs.load(pem).extensions]


def names(pem: str) -> list[str]:
    san = certs.load(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in san]


def test_layout_of_a_service_certificate() -> None:
    loaded = certs.load(SERVICE)
    assert layout(SERVICE) == [(BC, True), (KU, True), (SKI, False), (AKI, False)]
    # The very bytes of the extension values of a real service certificate.
    der = certs.pem_to_der(SERVICE)
    assert bytes.fromhex("0603551d130101ff040830060101ff020101") in der
    assert bytes.fromhex("0603551d0f0101ff040403020284") in der
    key_id = hashlib.sha1(SERVICE_KEY.spki_der[-97:], usedforsecurity=False).digest()
    assert bytes.fromhex("0603551d0e04160414") + key_id in der
    assert bytes.fromhex("0603551d23041830168014") + key_id in der
    assert loaded.signature_hash_algorithm is not None
    assert loaded.signature_hash_algorithm.name == "sha384"
    assert loaded.version is x509.Version.v3
    assert loaded.serial_number == int.from_bytes(SeededEntropy(1).bytes(16), "big")
    assert bytes.fromhex("0603550403") + b"\x0c\x0bCCF Service" in der


def test_validity_ends_one_second_before_the_day() -> None:
    assert certs.validity(SERVICE) == (NOW, NOW + 90 * DAY - 1)
    assert certs.validity(certs.pem_to_der(NODE)) == (NOW, NOW + DAY - 1)
    assert b"251028164041Z" in certs.pem_to_der(SERVICE)


def test_years_from_2050_are_generalised_time() -> None:
    late = int(datetime(2050, 1, 1, tzinfo=UTC).timestamp())
    pem = certs.self_signed(
        NODE_KEY, "CN=x", not_before=late - DAY, days=2, entropy=SeededEntropy(1)
    )
    assert b"\x17\x0d491231000000Z\x18\x0f20500101235959Z" in certs.pem_to_der(pem)


def test_layout_of_a_node_certificate() -> None:
    assert layout(NODE) == [(BC, True), (KU, True), (SKI, False), (AKI, False), (SAN, False)]
    assert names(NODE) == ["127.0.0.1", "b.example", "127.0.0.1", "a.example"]


def test_layout_of_an_endorsed_certificate() -> None:
    assert layout(ENDORSED) == [(BC, True), (SKI, False), (AKI, False), (SAN, False)]
    assert bytes.fromhex("0603551d130101ff04023000") in certs.pem_to_der(ENDORSED)
    loaded = certs.load(ENDORSED)
    assert names(ENDORSED) == names(NODE)
    assert certs.public_key(ENDORSED) == NODE_KEY.public
    assert loaded.subject == certs.load(NODE).subject
    assert loaded.issuer == certs.load(SERVICE).subject
    key_id = loaded.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    own = certs.load(SERVICE).extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert key_id.key_identifier == own.digest
    assert key_id.authority_cert_issuer is None


def test_signing_request() -> None:
    request = x509.load_pem_x509_csr(CSR.encode())
    assert request.signature_hash_algorithm is not None
    assert request.signature_hash_algorithm.name == "sha512"
    assert [e.oid for e in request.extensions] == [SAN]
    assert certs.csr_public_key(CSR) == NODE_KEY.public
    assert not list(x509.load_pem_x509_csr(certs.csr(NODE_KEY, "CN=x").encode()).extensions)


def test_changed_requests_are_refused() -> None:
    raw = bytearray(certs.load_csr(CSR).public_bytes(Encoding.DER))
    raw[-1] ^= 1
    broken = x509.load_der_x509_csr(bytes(raw)).public_bytes(Encoding.PEM)
    with pytest.raises(ValueError, match="signature"):
        certs.endorse(broken, SERVICE_KEY, SERVICE, NOW, 1, SeededEntropy(1))
    for text in ("", "x", NODE):
        with pytest.raises(ValueError):
            certs.load_csr(text)


def test_requests_whose_extensions_cannot_be_read_are_refused() -> None:
    names = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"\x30\x02\xa3\x00")
    builder = x509.CertificateSigningRequestBuilder().subject_name(certs.parse_subject("CN=x"))
    native = NODE_KEY.native
    assert isinstance(native, ec.EllipticCurvePrivateKey)
    request = builder.add_extension(names, critical=False).sign(native, hashes.SHA512())
    with pytest.raises(ValueError, match="not a certificate signing request"):
        certs.load_csr(request.public_bytes(Encoding.PEM))


def test_requests_for_rsa_keys_are_refused() -> None:
    key = RsaPrivateKey.generate(1024, entropy=SeededEntropy(1)).native
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    with pytest.raises(ValueError, match="elliptic"):
        certs.csr_public_key(request.public_bytes(Encoding.PEM))


def test_seeded_certificates_repeat() -> None:
    again = certs.self_signed(
        SERVICE_KEY, "CN=CCF Service", not_before=NOW, days=90, entropy=SeededEntropy(1)
    )
    assert again == SERVICE
    assert certs.csr(NODE_KEY, "CN=CCF Node", SANS) == CSR
    assert certs.endorse(CSR, SERVICE_KEY, SERVICE, NOW, 1, SeededEntropy(3)) == ENDORSED


def test_ed25519_certificates() -> None:
    key = PrivateKey.generate(Curve.ED25519, SeededEntropy(1))
    pem = certs.self_signed(key, "CN=x", not_before=NOW, days=1, entropy=SeededEntropy(1))
    assert chains.check_endorsed(pem, pem, ignore_time=True)
    endorsed = certs.endorse(certs.csr(key, "CN=y"), key, pem, NOW, 1, SeededEntropy(1))
    assert chains.check_endorsed(endorsed, pem, ignore_time=True)


def test_renewal_keeps_all_but_time_and_serial() -> None:
    later = certs.renew(NODE, NODE_KEY, not_before=NOW + 5, days=7, entropy=SeededEntropy(9))
    assert certs.validity(later) == (NOW + 5, NOW + 5 + 7 * DAY - 1)
    assert layout(later) == layout(NODE)
    assert names(later) == names(NODE)
    assert certs.subject(later) == certs.subject(NODE) == "CN=CCF Node"
    mirrored = certs.renew(
        NODE, NODE_KEY, not_before=NOW, not_after=NOW + 9, entropy=SeededEntropy(9)
    )
    assert certs.validity(mirrored) == (NOW, NOW + 9)
    with pytest.raises(ValueError, match="another key"):
        certs.renew(NODE, SERVICE_KEY, not_before=NOW, days=1, entropy=SeededEntropy(9))


def test_endorsement_of_an_older_service() -> None:
    new_key = PrivateKey.generate(Curve.P256, SeededEntropy("new"))
    new = certs.self_signed(
        new_key, "CN=New", not_before=NOW + DAY, days=3, entropy=SeededEntropy(4)
    )
    link = certs.endorse_service(SERVICE, new_key, new, SeededEntropy(5))
    assert certs.validity(link) == certs.validity(new)
    assert certs.subject(link) == "CN=CCF Service"
    assert layout(link) == layout(SERVICE)
    assert chains.check_endorsed(link, new, ignore_time=True)
    # An old node certificate verifies through the link, as receipts do.
    assert chains.check_endorsed(ENDORSED, link, ignore_time=True)
    assert chains.check_chain([ENDORSED, link], [new], now=NOW) is False
    both = NOW + DAY + 5
    fresh = certs.endorse(CSR, SERVICE_KEY, SERVICE, NOW, 5, SeededEntropy(6))
    assert chains.check_chain([fresh, link], [new], now=both)
    assert not chains.check_chain([fresh], [new], now=both)


def test_empty_validity_is_refused_with_the_text_of_the_reference() -> None:
    start = certs.parse_validity_text("20240101000000Z")
    with pytest.raises(ValueError) as caught:
        certs.self_signed(NODE_KEY, "CN=x", not_before=start, days=0, entropy=SeededEntropy(1))
    assert str(caught.value) == (
        "Certificate cannot be created with not_before date 20240101000000Z > not_after date "
        "20231231235959Z"
    )
    for not_after in (NOW, NOW - 1):
        with pytest.raises(ValueError, match="later"):
            certs.endorse(
                CSR, SERVICE_KEY, SERVICE, NOW, None, SeededEntropy(1), not_after=not_after
            )
    with pytest.raises(ValueError):
        certs.self_signed(NODE_KEY, "CN=x", not_before=1 << 60, days=1, entropy=SeededEntropy(1))


def test_identifiers_and_pem() -> None:
    der = certs.pem_to_der(SERVICE)
    assert certs.der_to_pem(der) == SERVICE
    assert certs.pem_to_der(der) == certs.pem_to_der(SERVICE.encode()) == der
    assert certs.pem_to_der(SERVICE.replace("\n", "\r\n")) == der
    assert certs.pem_to_der("text before\n" + SERVICE + NODE) == der
    assert certs.fingerprint(SERVICE) == certs.fingerprint(der) == hashlib.sha256(der).hexdigest()
    assert certs.split_pem(SERVICE + NODE) == [der, certs.pem_to_der(NODE)]
    assert certs.split_pem("") == []
    assert certs.spki(SERVICE) == SERVICE_KEY.spki_der
    for bad in ("", "x", SERVICE[:200], SERVICE.replace("M", "!", 3), NODE_KEY.pem()):
        with pytest.raises(ValueError):
            certs.pem_to_der(bad)
    for reader in (certs.load, certs.validity, certs.public_key, certs.spki, certs.subject):
        with pytest.raises(ValueError):
            reader(b"\x30\x00")


def test_subjects() -> None:
    pem = certs.self_signed(
        NODE_KEY, "O=Org,CN=a=b, C=DE", not_before=NOW, days=1, entropy=SeededEntropy(1)
    )
    assert certs.subject(pem) == "C=DE, CN=a=b, O=Org"
    der = certs.pem_to_der(pem)
    for attribute in (b"\x06\x0c\x02DE", b"\x03\x0c\x03a=b", b"\x0a\x0c\x03Org"):
        assert attribute in der
    for bad in ("", "CN", "CN=", "XX=1", "CN=a,b"):
        with pytest.raises(ValueError, match="subject"):
            certs.parse_subject(bad)


def test_alternative_names_of_hosts() -> None:
    assert certs.san_of_host("127.0.0.1") == "iPAddress:127.0.0.1"
    assert certs.san_of_host("::1") == "iPAddress:::1"
    assert certs.san_of_host("node.example") == "dNSName:node.example"
    assert certs.san_of_host("host1") == "dNSName:host1"
    for bad in ("x", "iPAddress:host", "dNSName:", "URI:x"):
        with pytest.raises(ValueError, match="alternative name"):
            certs.csr(NODE_KEY, "CN=x", [bad])
    assert "::1" in str(
        certs.load_csr(certs.csr(NODE_KEY, "CN=x", ["iPAddress:::1"]))
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )


# -- checking ---------------------------------------------------------------------------------


def test_endorsed() -> None:
    assert chains.check_endorsed(ENDORSED, SERVICE, ignore_time=True)
    assert chains.check_endorsed(ENDORSED, SERVICE, ignore_time=False, now=NOW)
    assert chains.check_endorsed(ENDORSED, SERVICE, ignore_time=False, now=NOW + DAY - 1)
    assert not chains.check_endorsed(ENDORSED, SERVICE, ignore_time=False, now=NOW + DAY)
    assert not chains.check_endorsed(ENDORSED, SERVICE, ignore_time=False, now=NOW - 1)
    assert chains.check_endorsed(SERVICE, SERVICE, ignore_time=True)


def test_not_endorsed() -> None:
    other_key = PrivateKey.generate(Curve.P384, SeededEntropy("other"))
    other = certs.self_signed(
        other_key, "CN=CCF Service", not_before=NOW, days=90, entropy=SeededEntropy(8)
    )
    assert not chains.check_endorsed(ENDORSED, other, ignore_time=True)
    assert not chains.check_endorsed(NODE, SERVICE, ignore_time=True)
    assert not chains.check_endorsed(SERVICE, ENDORSED, ignore_time=True)
    assert not chains.check_endorsed(ENDORSED, ENDORSED, ignore_time=True)
    assert not chains.check_endorsed("x", SERVICE, ignore_time=True)
    assert not chains.check_endorsed(ENDORSED, b"\x30\x00", ignore_time=True)
    changed = bytearray(certs.pem_to_der(ENDORSED))
    changed[-1] ^= 1
    assert not chains.check_endorsed(bytes(changed), SERVICE, ignore_time=True)


class Authority:
    """A little certificate authority with whatever extensions a test wants."""

    def __init__(self, name: str, parent: Authority | None = None, **want: object) -> None:
        self.key = PrivateKey.generate(Curve.P256, SeededEntropy(name))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = parent or self
        self.name = subject
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.name)
            .public_key(self.key.public.native)
            .serial_number(1 + len(name))
            .not_valid_before(datetime.fromtimestamp(NOW, UTC))
            .not_valid_after(datetime.fromtimestamp(NOW, UTC) + timedelta(days=1))
        )
        if want.get("ca", True) is not None:
            path_length = want.get("path_length")
            assert path_length is None or isinstance(path_length, int)
            builder = builder.add_extension(
                x509.BasicConstraints(bool(want.get("ca", True)), path_length), critical=True
            )
        if want.get("sign_only"):
            builder = builder.add_extension(x509.KeyUsage(True, *[False] * 8), critical=True)
        if want.get("odd"):
            builder = builder.add_extension(
                x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"),
                critical=True,
            )
        native = issuer.key.native
        self.cert = builder.sign(native, hashes.SHA256()).public_bytes(Encoding.DER)  # type: ignore[arg-type]


def test_certificates_that_all_issue_each_other_do_not_take_forever() -> None:
    # One name and one key: every order of them is a path, and there are 15! of those.
    key = PrivateKey.generate(Curve.P256, SeededEntropy("loop"))
    loop = [
        certs.self_signed(key, "CN=loop", not_before=NOW - i, days=9, entropy=SeededEntropy(i))
        for i in range(chains.CHAIN_MAX)
    ]
    assert not chains.check_chain(loop, [SERVICE], now=NOW)
    assert chains.check_chain(loop, [loop[5]], now=NOW)


def test_chains() -> None:
    root = Authority("root")
    middle = Authority("middle", root, path_length=0)
    leaf = Authority("leaf", middle, ca=False)

    def check(chain: list[Authority], trusted: list[Authority], now: int = NOW) -> bool:
        return chains.check_chain([c.cert for c in chain], [t.cert for t in trusted], now=now)

    assert check([leaf, middle], [root])
    assert check([leaf, middle, root], [root])
    assert check([leaf], [middle])
    assert check([middle, leaf], [root])
    assert check([root], [root])
    stranger = Authority("stranger")
    assert check([leaf, stranger, middle], [stranger, root])
    assert not check([leaf], [root])
    assert not check([leaf, middle], [stranger])
    assert not check([leaf], [leaf])
    assert not check([leaf, middle], [root], NOW - 1)
    assert not check([leaf, middle], [root], NOW + DAY + 1)
    assert not check([], [root])
    assert not check([leaf], [])
    assert not check([leaf] * (chains.CHAIN_MAX + 1), [root])
    assert check([leaf, middle], [*[stranger] * (chains.TRUSTED_MAX - 1), root])
    assert not check([leaf, middle], [*[stranger] * chains.TRUSTED_MAX, root])
    assert not chains.check_chain([b"\x30\x00"], [root.cert], now=NOW)


def test_chains_in_one_order() -> None:
    root = Authority("root")
    middle = Authority("middle", root, path_length=0)
    leaf = Authority("leaf", middle, ca=False)

    def check(chain: list[Authority], now: int | None = NOW, to_root: bool = False) -> bool:
        return chains.issued_in_order([c.cert for c in chain], now=now, to_root=to_root)

    assert check([leaf, middle, root], to_root=True)
    assert check([leaf, middle])
    assert check([leaf])
    assert check([root], to_root=True)
    assert not check([leaf, middle], to_root=True)
    assert not check([])
    assert not check([leaf] * (chains.CHAIN_MAX + 1))
    for wrong in ([leaf, root], [leaf, root, middle], [middle, leaf], [leaf, leaf]):
        assert not check(wrong), wrong
    for when, sound in ((NOW - 1, False), (NOW + DAY + 1, False), (None, True)):
        assert check([leaf, middle, root], when, to_root=True) is sound
    below = Authority("below", middle, path_length=0)
    assert not check([Authority("deep", below, ca=False), below, middle, root])
    for want in ({"ca": False}, {"ca": None}, {"sign_only": True}, {"odd": True}):
        unfit = Authority("unfit", root, **want)
        assert not check([Authority("leaf", unfit, ca=False), unfit, root]), want
    assert not chains.issued_in_order([b"\x30\x00"], now=NOW)


def test_what_is_odd_about_a_certificate_does_not_fill_the_log() -> None:
    """Processors number theirs 0, and a country has two letters. In threads, which share what is
    filtered; in a process of their own, since pytest filters anew for each test."""
    der = Authority("root").cert
    numbered = der.replace(b"\xa0\x03\x02\x01\x02\x02\x01\x05", b"\xa0\x03\x02\x01\x02\x02\x01\x00")
    assert numbered != der
    assert certs.load(numbered).signature == certs.load(der).signature
    # The last letter of its attribute: the one for a country instead of the common name.
    country = numbered.replace(b"\x06\x03\x55\x04\x03", b"\x06\x03\x55\x04\x06")
    program = (
        "import threading, warnings; from pyccf.crypto import certs\n"
        f"def load(): [certs.load({country!r}) for _ in range(50)]\n"
        "threads = [threading.Thread(target=load) for _ in range(8)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "try: warnings.warn('another one', stacklevel=1)\n"
        "except UserWarning: print('an error')\n"
    )
    words = [sys.executable, "-W", "error", "-c", program]
    told = subprocess.run(words, capture_output=True, text=True, check=True)
    assert (told.stdout, told.stderr) == ("an error\n", "")


def test_a_text_that_never_becomes_a_certificate_is_read_once() -> None:
    """Each byte was tried as a beginning: a megabyte took hours."""
    begin = "-----BEGIN CERTIFICATE-----"
    for text in (begin + " " * 1_000_000, begin * 30_000, begin + "A " * 500_000 + "!"):
        assert certs.split_pem(text) == []


def test_chains_through_unfit_certificates_are_refused() -> None:
    root = Authority("root")
    for want in ({"ca": False}, {"ca": None}, {"sign_only": True}, {"odd": True}):
        middle = Authority("middle", root, **want)
        leaf = Authority("leaf", middle, ca=False)
        assert not chains.check_chain([leaf.cert, middle.cert], [root.cert], now=NOW), want
        assert not chains.check_chain([leaf.cert], [middle.cert], now=NOW), want
    odd_leaf = Authority("odd", root, ca=False, odd=True)
    assert not chains.check_chain([odd_leaf.cert], [root.cert], now=NOW)


def test_path_length_counts_intermediates() -> None:
    root = Authority("root", path_length=0)
    middle = Authority("middle", root)
    leaf = Authority("leaf", middle, ca=False)
    assert chains.check_chain([middle.cert], [root.cert], now=NOW)
    assert not chains.check_chain([leaf.cert, middle.cert], [root.cert], now=NOW)


# -- time texts -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("240102030405Z", "2024-01-02T03:04:05"),
        ("500102030405Z", "1950-01-02T03:04:05"),
        ("490102030405Z", "2049-01-02T03:04:05"),
        ("20240102030405Z", "2024-01-02T03:04:05"),
        ("2024-01-02 03:04:05", "2024-01-02T03:04:05"),
        ("2024-01-02T03:04:05", "2024-01-02T03:04:05"),
        ("2024-01-02T03:04:05.999", "2024-01-02T03:04:05"),
        ("2024-01-02T03:04:05.123Z", "2024-01-02T03:04:05"),
        ("2024-01-02 03:04:05.123456 +02:30", "2024-01-02T00:34:05"),
        ("2024-01-02 03:04:05+00:00", "2024-01-02T03:04:05"),
        ("2024-01-02 03:04:05 -2:30", "2024-01-02T05:34:05"),
        ("2024-01-02T03:04:05 +01 00", "2024-01-02T02:04:05"),
        ("20240102030405-0130", "2024-01-02T04:34:05"),
        ("240102030405+0100", "2024-01-02T02:04:05"),
        ("20240102030405.5+0100", "2024-01-02T02:04:05"),
    ],
)
def test_time_texts(text: str, utc: str) -> None:
    expected = int(datetime.fromisoformat(utc + "+00:00").timestamp())
    assert certs.parse_validity_text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "20241302030405Z",
        "20240230000000Z",
        "2024-01-02",
        "2024-01-02 25:00:00",
        "20240102030405",
        "240102030405",
        "2024-01-02 03:04:05 +99:00",
        "2024-1-2 03:04:05",
        "\u0662\u0660240102030405Z",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        certs.parse_validity_text(text)
    assert str(caught.value) == f"'{text}' does not match any accepted time format"


def test_time_text_is_the_inverse() -> None:
    assert certs.time_text(NOW) == "20251028164041Z"
    assert certs.parse_validity_text(certs.time_text(NOW)) == NOW


def test_a_version_that_does_not_exist() -> None:
    """What can be read but for its version is refused as anything else that is no certificate."""
    version3 = b"\xa0\x03\x02\x01\x02"
    der = certs.pem_to_der(NODE)
    assert der.count(version3) == 1
    odd = der.replace(version3, b"\xa0\x03\x02\x01\x22")
    for read in (certs.load, certs.validity, certs.subject, certs.spki, certs.public_key):
        with pytest.raises(ValueError):
            read(odd)
    assert not chains.check_endorsed(odd, SERVICE, ignore_time=True, now=NOW)


def test_a_name_of_a_kind_that_it_cannot_have() -> None:
    """A bit string in place of text: the library only notices when the name is read."""
    name = b"\x06\x03\x55\x04\x03\x0c\x08CCF Node"
    der = certs.pem_to_der(NODE)
    assert name in der
    odd = der.replace(name, name.replace(b"\x0c\x08", b"\x03\x08"))
    for read in (certs.load, certs.validity, certs.subject, certs.spki):
        with pytest.raises(ValueError):
            read(odd)
    assert not chains.check_endorsed(odd, SERVICE, ignore_time=True, now=NOW)
    assert not chains.check_endorsed(NODE, certs.der_to_pem(odd), ignore_time=True, now=NOW)


@pytest.mark.parametrize(
    ("oid", "value"),
    [
        ("1.3.6.1.5.5.7.1.24", "3003020163"),  # a TLS feature that nobody knows
        ("2.5.29.17", "3013a411300f310d300b0603550403030400616263"),  # a name of bits
    ],
)
def test_what_the_library_cannot_read_is_not_believed(oid: str, value: str) -> None:
    odd = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), bytes.fromhex(value))
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "odd")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2027, 1, 1, tzinfo=UTC))
        .add_extension(odd, critical=False)
        .sign(key, hashes.SHA384())
        .public_bytes(Encoding.DER)
    )
    now = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())
    assert not chains.check_endorsed(made, ENDORSED, ignore_time=True)
    assert not chains.check_endorsed(made, made, ignore_time=True)
    assert not chains.check_chain([made], [made], now=now)
