"""The ledger explorer in a real browser: pages, proofs, and a ledger that wants to break out."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from pyccf.shell.disk import LedgerDisk
from support.browser import chromium
from support.ledgers import Service, small_service

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

HOSTILE = "<script>document.title='broken out'</script><img src=x onerror=alert(1)>"
PATIENCE_S = 60


@pytest.fixture(scope="module")
def service() -> Service:
    made = small_service(40, every=8)
    made.write(
        {
            f"public:{HOSTILE}": {HOSTILE.encode(): HOSTILE.encode()},
            "public:ccf.gov.members.info": {
                HOSTILE.encode(): json.dumps({"status": HOSTILE, HOSTILE: HOSTILE}).encode()
            },
            "public:ccf.gov.members.certs": {HOSTILE.encode(): HOSTILE.encode()},
        }
    )
    made.sign()
    return made


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, service: Service) -> Iterator[str]:
    """The program itself, as a person starts it."""
    folder = tmp_path_factory.mktemp("explored") / "ledger"
    disk = LedgerDisk(folder)
    disk.append(service.entries)
    disk.commit(service.signed)
    disk.close()
    command = [sys.executable, "-m", "pyccf.cli.main", "ledger", "explore", str(folder), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        try:
            yield json.loads(running.stdout.readline())["url"]
        finally:
            running.send_signal(signal.SIGINT)
            _, err = running.communicate(timeout=PATIENCE_S)
    assert (running.returncode, err) == (0, b"")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        opened.set_script_timeout(PATIENCE_S)
        yield opened


def wait(browser: Chrome, seen: Callable[[str], bool]) -> str:
    """The text of the page once it is as expected."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        text: str = browser.execute_script("return document.body.innerText")
        if seen(text):
            return text
        assert time.monotonic() < deadline, f"the page stays:\n{text}"
        time.sleep(0.05)


def show(browser: Chrome, address: str) -> None:
    """Open a page afresh: a step within it would leave the one before in sight for a while."""
    browser.get("about:blank")
    browser.get(address)


def click(browser: Chrome, selector: str) -> None:
    browser.find_element("css selector", selector).click()


def test_overview_tells_that_it_is_valid(browser: Chrome, url: str, service: Service) -> None:
    show(browser, url)
    proven = f"verified up to {service.view}.{service.signed}"
    wait(browser, lambda shown: all(text in shown for text in (proven, "ledger_1", "Open")))


def test_walking_through_the_entries(browser: Chrome, url: str, service: Service) -> None:
    show(browser, url + "#/entries")
    # The last entry is named in the head of each page, too.
    wait(browser, lambda shown: f"{service.view}.{service.last}" in shown and "Older" in shown)
    click(browser, "#older")
    wait(browser, lambda shown: f"{service.view}.1\n" in shown or f"{service.view}.1\t" in shown)
    show(browser, url + "#/maps")
    wait(browser, lambda shown: "public:records" in shown)
    browser.find_element("link text", "public:records").click()
    wait(browser, lambda shown: "Transactions that wrote to public:records" in shown)
    goto = browser.find_element("id", "seqno")
    goto.send_keys("2.5\n")
    wait(browser, lambda shown: "Transaction 2.5" in shown)


def test_a_proof_is_computed_in_the_browser(browser: Chrome, url: str, service: Service) -> None:
    made = service.entries[9]
    assert not made.committable
    show(browser, f"{url}#/entry/{made.seqno}")
    text = wait(browser, lambda shown: "Computed again in this browser" in shown)
    assert "lead from the entry to the signed root" in text
    assert made.leaf.hex() in text
    hashes = browser.find_elements("css selector", "svg g.hash")
    assert len(hashes) > 3
    hashes[-1].click()
    wait(browser, lambda shown: f"by node {service.identity.node_id}" in shown)


def test_a_wrong_proof_is_seen(browser: Chrome, url: str) -> None:
    """The page computes; it does not believe what it was sent."""
    show(browser, url)
    verdict = browser.execute_async_script(
        """
        const done = arguments[arguments.length - 1];
        import(new URL("proof.js", location.href).href).then(async ({ climb }) => {
          const proof = await (await fetch("api/proof/10")).json();
          const good = (await climb(proof)).holds;
          const flip = (hex) => (hex[0] === "0" ? "1" : "0") + hex.slice(1);
          const bad = [];
          for (const name of ["write_set_digest", "claims_digest", "leaf", "root"])
            bad.push((await climb({ ...proof, [name]: flip(proof[name]) })).holds);
          for (const i of proof.path.keys()) {
            const path = structuredClone(proof.path);
            path[i].hash = flip(path[i].hash);
            bad.push((await climb({ ...proof, path })).holds);
          }
          done([good, bad]);
        });
        """
    )
    good, bad = verdict
    assert good
    assert bad
    assert not any(bad)


def test_a_hostile_ledger_stays_text(browser: Chrome, url: str, service: Service) -> None:
    browser.get_log("browser")
    pages = ("", "entries", f"entry/{service.signed - 1}", "maps", "governance", "people")
    for page in pages:
        show(browser, f"{url}#/{page}")
        wait(browser, lambda shown: bool(browser.find_elements("css selector", "main h1")))
        assert browser.title == "Ledger"
        assert browser.find_elements("css selector", "main script, main img") == []
    show(browser, f"{url}#/entry/{service.signed - 1}")
    assert HOSTILE in wait(browser, lambda shown: HOSTILE in shown)
    loud = [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    assert loud == []
