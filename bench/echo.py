"""A bare echo over the node's TLS and HTTP stack: what a request costs before it means anything.

`python -m bench.echo --port 8000` answers every request with the same small JSON document. Without
`--cert` and `--key` it makes a certificate for the run. It prints one line of JSON when it listens
and, when stopped, one with the requests answered and the CPU microseconds each took.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import ipaddress
import json
import resource
import signal
import sys
from pathlib import Path

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pyccf.http.message import JSON_TYPE, Request, encode_response
from pyccf.http.session import Session
from pyccf.shell.admission import SESSIONS_SOFT
from pyccf.shell.listen import Listener
from pyccf.shell.sender import Sender, spare_processor

BODY = b'{"msg":"Hello world"}'


class Echo:
    """A handler that always answers the same."""

    def __init__(self) -> None:
        self.requests = 0

    def open_session(self, interface: str, session_id: int, peer_cert: bytes | None) -> Session:
        return Session(session_id, interface, peer_cert)

    def handle(self, session: Session, request: Request) -> bytes | None:
        self.requests += 1
        return encode_response(
            200, {"content-type": JSON_TYPE, "x-ms-ccf-transaction-id": "2.1000"}, BODY
        )

    def turn_done(self) -> None:
        pass

    def before_answers(self) -> None:
        pass

    def close_session(self, session: Session) -> None:
        pass


def certificate() -> tuple[str, str]:
    """A self-signed P-384 certificate and its key for 127.0.0.1, as PEM."""
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA384())
    )
    pem = serialization.Encoding.PEM
    return made.public_bytes(pem).decode(), key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


async def serve(
    port: int, cert_pem: str, key_pem: str, *, tls: bool, http2: bool, sessions: int
) -> dict[str, float]:
    """Serve until a signal; requests answered and CPU per request in microseconds."""
    handler = Echo()
    sender = Sender(handler.before_answers, shares=spare_processor())
    listener = Listener(
        "echo",
        f"127.0.0.1:{port}",
        handler,
        tls=tls,
        http2=http2,
        sessions_soft=sessions,
        sessions_hard=sessions,
        sender=sender,
    )
    if tls:
        listener.set_certificate(cert_pem, key_pem)
    await listener.start()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    before = _cpu_s()
    print(json.dumps({"address": listener.address, "tls": tls}), flush=True)
    await stop.wait()
    used = _cpu_s() - before
    await listener.close()
    sender.close()
    per_request = 1e6 * used / handler.requests if handler.requests else 0.0
    return {"requests": handler.requests, "cpu_us_per_request": round(per_request, 2)}


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main(arguments: list[str]) -> None:
    """Entry point of `python -m bench.echo`."""
    parser = argparse.ArgumentParser(prog="bench.echo", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--cert", type=Path, help="PEM certificate to serve")
    parser.add_argument("--key", type=Path, help="its PEM key")
    parser.add_argument("--plain", action="store_true", help="plain TCP instead of TLS")
    parser.add_argument("--http2", action="store_true", help="HTTP/2 instead of HTTP/1.1")
    parser.add_argument("--sessions", type=int, default=SESSIONS_SOFT, help="connections at most")
    chosen = parser.parse_args(arguments)
    if bool(chosen.cert) != bool(chosen.key):
        parser.error("--cert and --key go together")
    pair = (chosen.cert.read_text(), chosen.key.read_text()) if chosen.cert else certificate()
    serving = serve(
        chosen.port,
        *pair,
        tls=not chosen.plain,
        http2=chosen.http2,
        sessions=chosen.sessions,
    )
    result = uvloop.run(serving)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
