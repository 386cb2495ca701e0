"""`@microsoft/ccf-app`, the package that applications for the original are written with.

Its polyfill stands for a service in unit tests under Node.js. What its functions give there must be
what they give here: each side checks keys, signatures and wrapped keys that both sides made, and
its typed tables and converters run over our `ccf`. Where the polyfill is not like a service, the
table says so. The package comes with the TypeScript sample; nothing of it is kept here.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pyccf.crypto import certs
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey
from support.js_app import NOW, JsBench
from support.programs import program
from support.samples import sample

PROBES = Path(__file__).with_name("polyfill_probes.mjs")
TIMEOUT_S = 60

DIFFERENT = {
    ".plain.date": "the polyfill does not implement enableUntrustedDateTime",
    ".unwrap.oaepLabel": "the polyfill forgets the label when it unwraps",
    ".verify.ecdsa256 by another key": "a signature of another curve's size is an error of Node.js",
    ".verify.ecdsa384 by another key": "a signature of another curve's size is an error of Node.js",
}
"""Paths of results in which the polyfill is not like a service, and why."""


@pytest.fixture(scope="module")
def folder() -> Path:
    return sample("logging-ts")


@pytest.fixture(scope="module")
def node(folder: Path) -> str:
    return program("node")


def bundle(node: str, folder: Path, out: Path, entry: str) -> Path:
    """One module of the probes and the parts of the package they use."""
    script = f"""
    import {{ build }} from "esbuild";
    await build({{
      stdin: {{ contents: {json.dumps(entry)}, resolveDir: {json.dumps(str(PROBES.parent))} }},
      nodePaths: [{json.dumps(str(folder / "node_modules"))}],
      outfile: {json.dumps(str(out))}, bundle: true, format: "esm", target: "es2022",
      platform: "node", logLevel: "error",
    }});
    """
    run([node, "--input-type=module", "-e", script], folder)
    return out


def run(command: list[str], folder: Path, given: str = "") -> str:
    done = subprocess.run(
        command, cwd=folder, input=given, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Sides:
    """The same probes on both sides."""

    def __init__(self, node: str, folder: Path, out: Path) -> None:
        self._node = node
        self._folder = out
        named = f"./{PROBES.name}"
        self._program = bundle(
            node,
            folder,
            out / "node.mjs",
            'import "@microsoft/ccf-app/polyfill.js";'
            'import { readFileSync, writeSync } from "node:fs";'
            f'const probes = await import("{named}");'
            'const given = JSON.parse(readFileSync(0, "utf8"));'
            "console.log = console.error;"
            "writeSync(1, JSON.stringify(probes[process.argv[2]](given)));",
        )
        ours = bundle(node, folder, out / "ours.js", f'export * from "{named}";')
        self._bench = JsBench()
        wrapper = 'import * as probes from "./ours.js";' + "".join(
            f"export const {name} = (r) => ({{ body: probes.{name}(r.body.json()) }});"
            for name in ("make", "check")
        )
        self._bench.install(
            {"ours.js": ours.read_bytes(), "m.js": wrapper},
            {"POST /make": "m.js:make", "POST /check": "m.js:check"},
        )
        self._bench.options(return_exception_details=True, max_execution_time_ms=20_000)

    def theirs(self, function: str, given: object) -> Any:
        text = json.dumps(given)
        return json.loads(run([self._node, str(self._program), function], self._folder, text))

    def ours(self, function: str, given: object) -> Any:
        answer = self._bench.call("POST", f"/{function}", json.dumps(given).encode())
        assert answer.status == 200, answer.body
        return answer.json()


@pytest.fixture(scope="module")
def sides(node: str, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Sides:
    return Sides(node, folder, tmp_path_factory.mktemp("polyfill"))


def certificates() -> dict[str, object]:
    """Chains that both sides must judge alike."""
    entropy = SeededEntropy("polyfill")
    keys = [PrivateKey.generate(Curve.P256, entropy) for _ in range(3)]
    root, other = (
        certs.self_signed(key, f"CN=root {i}", not_before=NOW - 9, days=9, ca=True, entropy=entropy)
        for i, key in enumerate(keys[:2])
    )
    request = certs.csr(keys[2], "CN=leaf", ("DNS:leaf.example",))
    leaf = certs.endorse(request, keys[0], root, NOW - 9, 9, entropy)
    return {
        "chains": {
            "leaf under its root": [leaf, root],
            "leaf under another root": [leaf, other],
            "leaf with its root, under it": [leaf + root, root],
            "root under itself": [root, root],
            "nothing trusted": [leaf, ""],
            "nothing": ["", root],
        },
        "bundles": [root, leaf + root, "no certificate", leaf.replace("MI", "NI", 1)],
    }


def differences(path: str, ours: Any, theirs: Any) -> list[str]:
    """Paths at which two results are not equal."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        names = sorted({*ours, *theirs})
        return [
            one
            for name in names
            for one in differences(f"{path}.{name}", ours.get(name), theirs.get(name))
        ]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = enumerate(zip(ours, theirs, strict=True))
        return [one for i, pair in pairs for one in differences(f"{path}.{i}", *pair)]
    return [] if ours == theirs else [f"{path}: here {ours!r}, there {theirs!r}"]


@pytest.mark.parametrize("maker", ["ours", "theirs"])
def test_both_sides_make_the_same_of_it(sides: Sides, maker: str) -> None:
    material = getattr(sides, maker)("make", {})
    assert material["sizes"] == [16, 24, 32]
    given = {**material, "certificates": certificates()}
    found = differences("", sides.ours("check", given), sides.theirs("check", given))
    unknown = [one for one in found if one.partition(":")[0] not in DIFFERENT]
    assert not unknown, "\n".join(unknown)
    stale = DIFFERENT.keys() - {one.partition(":")[0] for one in found}
    assert not stale, stale
