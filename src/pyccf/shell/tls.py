"""TLS as CCF serves it: which versions, groups and ciphers, and any client certificate at all.

A server context serves one certificate. Clients are asked for one but need none, and whatever
they present, self-signed or expired, passes the handshake: it proves possession of a key, and
what that key may do is judged later against the store (spec: http-api.md §4.5). There is no
renegotiation and no resumption, so each connection proves it anew.

Between nodes it is TLS 1.3 only, both sides present a certificate, and `PEER_PROTOCOL` is agreed on
by ALPN. Which certificates are good is judged after the handshake, by the service's key and not by
dates: nodes whose certificates expired must still reach each other (spec: node-to-node.md §6-7).
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from OpenSSL._util import lib

from pyccf.errors import LocalError

TLS12_CIPHERS = (
    b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:"
    b"ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256"
)
TLS13_CIPHERS = b"TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256"
GROUPS = b"P-521:P-384:P-256"
PEER_GROUPS = b"P-384:P-256"
PEER_PROTOCOL = b"pyccf-node/1"
"""ALPN name of the frames between nodes (shell/frames.py)."""

_SESSION_CONTEXT = b"pyccf"


def server_context(cert_pem: str, key_pem: str, alpn: bytes = b"http/1.1") -> SSL.Context:
    """A context that serves this certificate; `alpn` is chosen when a client offers it.

    Raises LocalError when the certificate and the key cannot be used together.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION)
    context.set_options(
        SSL.OP_NO_RENEGOTIATION
        | SSL.OP_NO_TICKET
        | SSL.OP_NO_COMPRESSION
        | SSL.OP_CIPHER_SERVER_PREFERENCE
    )
    # One write takes all it is given: memory BIOs are never full.
    context.clear_mode(lib.SSL_MODE_ENABLE_PARTIAL_WRITE)
    # A connection that says nothing needs no room for records.
    context.set_mode(lib.SSL_MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(_SESSION_CONTEXT)
    context.set_cipher_list(TLS12_CIPHERS)
    context.set_tls13_ciphersuites(TLS13_CIPHERS)
    # pyOpenSSL has no method for a list of groups.
    assert lib.SSL_CTX_set1_curves_list(context._context, GROUPS) == 1, "groups are known"
    context.set_verify(SSL.VERIFY_PEER, _accept_any)
    context.set_alpn_select_callback(
        lambda _, offered: alpn if alpn in offered else SSL.NO_OVERLAPPING_PROTOCOLS
    )
    _present(context, cert_pem, key_pem)
    return context


def peer_context(cert_pem: str, key_pem: str) -> SSL.Context:
    """A context for both ends of a connection between nodes; the peer must have a certificate.

    Raises LocalError when the certificate and the key cannot be used together.
    """
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION)
    context.clear_mode(lib.SSL_MODE_ENABLE_PARTIAL_WRITE)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_tls13_ciphersuites(TLS13_CIPHERS)
    assert lib.SSL_CTX_set1_curves_list(context._context, PEER_GROUPS) == 1, "groups are known"
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _accept_any)
    context.set_alpn_protos([PEER_PROTOCOL])
    context.set_alpn_select_callback(
        lambda _, offered: (
            PEER_PROTOCOL if PEER_PROTOCOL in offered else SSL.NO_OVERLAPPING_PROTOCOLS
        )
    )
    _present(context, cert_pem, key_pem)
    return context


def _present(context: SSL.Context, cert_pem: str, key_pem: str) -> None:
    """Have a context present a certificate. Raises LocalError."""
    try:
        key = load_pem_private_key(key_pem.encode(), None)
        if not isinstance(key, EllipticCurvePrivateKey | RSAPrivateKey):
            raise LocalError("a TLS certificate needs an elliptic curve or RSA key")
        context.use_certificate(x509.load_pem_x509_certificate(cert_pem.encode()))
        context.use_privatekey(key)
        context.check_privatekey()
    except (ValueError, SSL.Error) as error:
        raise LocalError(f"certificate and key cannot serve TLS: {words(error)}") from None


def peer_certificate(connection: SSL.Connection) -> bytes | None:
    """DER of the certificate the other side presented, or None."""
    certificate = connection.get_peer_certificate()
    if certificate is None:
        return None
    der: bytes = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
    return der


def _accept_any(
    connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int
) -> bool:
    return True


def words(error: Exception) -> str:
    """What went wrong, as the library says it."""
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        return str(error.args[0][0][-1])
    return str(error) or type(error).__name__
