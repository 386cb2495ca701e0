"""A node with several interfaces, spoken to by other people's HTTP/2 programs."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from cryptography import x509

from support.process import NodeProcess, make_config
from support.programs import program
from support.tls import trusting

TIMEOUT_S = 60

INTERFACES = {
    "main": {"bind_address": "127.0.0.1:0"},
    "h2": {"bind_address": "127.0.0.1:0", "app_protocol": "HTTP2"},
    "h2_node": {
        "bind_address": "127.0.0.1:0",
        "app_protocol": "HTTP2",
        "endorsement": {"authority": "Node"},
        "http_configuration": {"max_body_size": "1KB", "max_concurrent_streams_count": 7},
    },
    "h2_plain": {
        "bind_address": "127.0.0.1:0",
        "app_protocol": "HTTP2",
        "endorsement": {"authority": "Unsecured"},
        "accepted_endpoints": ["/node/commit"],
    },
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    folder = tmp_path_factory.mktemp("node")
    make_config(
        folder,
        network={
            "node_to_node_interface": {"bind_address": "127.0.0.1:0"},
            "rpc_interfaces": INTERFACES,
        },
    )
    with NodeProcess(folder) as process:
        process.wait_ready()
        yield process


def url(node: NodeProcess, interface: str, path: str) -> str:
    host, port = node.address(interface)
    scheme = "http" if interface.endswith("plain") else "https"
    return f"{scheme}://{host}:{port}{path}"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)


def curl(node: NodeProcess, interface: str, path: str, *more: str) -> list[str]:
    """Body, status and protocol version; an empty list when curl failed."""
    done = run(
        *(program("curl"), "--silent", "--cacert", str(node.folder / "service_cert.pem")),
        *("--write-out", "\n%{http_code}\n%{http_version}", *more, url(node, interface, path)),
    )
    return done.stdout.split("\n") if done.returncode == 0 else []


def test_curl(node: NodeProcess) -> None:
    body, status, version = curl(node, "h2", "/node/commit", "--http2")
    assert (status, version) == ("200", "2")
    assert "transaction_id" in json.loads(body)
    body, status, version = curl(node, "h2", "/node/nothing", "--http2", "--data", "x" * 100_000)
    assert (status, version) == ("404", "2")
    assert json.loads(body)["error"]["code"] == "ResourceNotFound"
    head = curl(node, "h2", "/node/primary", "--http2", "--head")
    assert head[-2:] == ["200", "2"]


def test_curl_without_tls(node: NodeProcess) -> None:
    _, status, version = curl(node, "h2_plain", "/node/commit", "--http2-prior-knowledge")
    assert (status, version) == ("200", "2")
    body, status, _ = curl(node, "h2_plain", "/node/version", "--http2-prior-knowledge")
    assert (body, status) == ("", "503")


def test_what_is_spoken_is_not_negotiated(node: NodeProcess) -> None:
    assert curl(node, "h2", "/node/commit", "--http1.1") == []
    assert curl(node, "main", "/node/commit", "--http2")[2] == "1.1"


def test_a_body_that_is_too_large(node: NodeProcess) -> None:
    body, status, _ = curl(
        node, "h2_node", "/node/commit", "--insecure", "--http2", "--data", "x" * 1025
    )
    assert status == "413"
    assert "max size allowed: 1024" in body


def test_httpx(node: NodeProcess) -> None:
    context = trusting(node.folder / "service_cert.pem")
    with httpx2.Client(http2=True, verify=context, base_url=url(node, "h2", "")) as client:
        for _ in range(50):
            answer = client.get("/node/network")
            assert (answer.status_code, answer.http_version) == (200, "HTTP/2")
            assert answer.json()["service_status"] == "Opening"
        assert client.post("/app/nothing", content=b"x" * 1000).status_code == 404


def test_h2load(node: NodeProcess) -> None:
    for interface, streams in (("h2", 50), ("h2_node", 7)):
        done = run(
            *(program("h2load"), "--clients", "4", "--max-concurrent-streams", str(streams)),
            *("--requests", "2000", url(node, interface, "/node/commit")),
        )
        assert re.search(r"2000 done, 2000 succeeded, 0 failed", done.stdout), done.stdout
        assert "2000 2xx" in done.stdout


NODE_CLIENT = """
const http2 = require('node:http2');
const fs = require('node:fs');
const session = http2.connect(process.argv[1], {ca: fs.readFileSync(process.argv[2])});
let open = 30;
for (let i = 0; i < 30; i++) {
  const stream = session.request({':method': 'POST', ':path': '/app/nothing?i=' + i});
  let status, body = '';
  stream.on('response', (headers) => { status = headers[':status']; });
  stream.on('data', (piece) => { body += piece; });
  stream.on('end', () => {
    console.log(status, JSON.parse(body).error.code);
    if (--open === 0) session.close();
  });
  stream.end('x'.repeat(i * 1000));
}
"""


def test_nodejs(node: NodeProcess) -> None:
    cert = str(node.folder / "service_cert.pem")
    done = run(program("node"), "--eval", NODE_CLIENT, url(node, "h2", ""), cert)
    assert done.stdout.split("\n") == ["404 FrontendNotOpen"] * 30 + [""], done.stderr


def served(node: NodeProcess, interface: str) -> x509.Certificate:
    """The certificate that an interface presents."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(node.address(interface), TIMEOUT_S) as raw,
        context.wrap_socket(raw) as tls,
    ):
        der = tls.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der)


def test_each_interface_has_the_certificate_of_its_authority(node: NodeProcess) -> None:
    service = x509.load_pem_x509_certificate((node.folder / "service_cert.pem").read_bytes())
    own = x509.load_pem_x509_certificate((node.folder / "nodecert.pem").read_bytes())
    for interface, issuer in (("main", service), ("h2", service), ("h2_node", own)):
        cert = served(node, interface)
        cert.verify_directly_issued_by(issuer)
        assert cert.public_key() == own.public_key()


def test_what_is_refused_is_counted_by_interface(node: NodeProcess) -> None:
    def counts() -> tuple[int, int]:
        document = json.loads(node.get("/node/metrics")[1])["sessions"]["interfaces"]
        errors = document["h2_plain"]["errors"], document["h2"]["errors"]
        return errors[0]["parsing"], errors[1]["request_payload_too_large"]

    before = counts()
    with socket.create_connection(node.address("h2_plain"), TIMEOUT_S) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert raw.recv(100) == b""
    large = node.folder / "large"
    large.write_bytes(b"x" * 1_100_000)
    _, status, _ = curl(node, "h2", "/node/commit", "--http2", "--data-binary", f"@{large}")
    assert status == "413"
    assert counts() == (before[0] + 1, before[1] + 1)


def test_nodes_tell_of_the_limits(node: NodeProcess) -> None:
    interfaces = json.loads(node.get("/node/network/nodes/self")[1])["rpc_interfaces"]
    assert interfaces["h2_node"]["app_protocol"] == "HTTP2"
    assert interfaces["h2_node"]["http_configuration"]["max_concurrent_streams_count"] == 7


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"app_protocol": "HTTP3"}, "app_protocol: 'HTTP3' is not a protocol of this node"),
        ({"protocol": "udp"}, "protocol: only TCP is served"),
    ],
)
def test_other_protocols_are_refused_at_start(
    tmp_path: Path, more: dict[str, str], message: str
) -> None:
    make_config(
        tmp_path,
        network={
            "node_to_node_interface": {"bind_address": "127.0.0.1:0"},
            "rpc_interfaces": {"odd": {"bind_address": "127.0.0.1:0", **more}},
        },
    )
    with NodeProcess(tmp_path) as process:
        assert process.process.wait(TIMEOUT_S) != 0
    assert f"network.rpc_interfaces.odd.{message}" in process.err.read_text()
