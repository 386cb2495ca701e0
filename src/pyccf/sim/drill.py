"""Disaster drills: everything dies at once, some files are left, the service comes back.

    a network lives, with faults      all nodes are killed     files are lost, torn and damaged
    the best of them are collected    a node recovers          members accept it, hand in shares
    others join meanwhile             clients write            and everything dies again

What is judged is what an operator must be able to rely on:

    Kept       every transaction that was committed and that, with all before it, is whole in some
               file that is left, is in the recovered ledger
    Provable   the recovered ledger is proven from its first entry to its last signature
    State      public and private tables are what the ledger says
    Alive      a service that was recovered opens, and takes writes

A drill is a function of its seed. Files are real files in a temporary folder; nodes are simulated.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import msgspec

from pyccf.audit.collecting import collect
from pyccf.audit.heap import HeapReport, inspect
from pyccf.audit.verify import verify
from pyccf.http.message import Request
from pyccf.kv import wire
from pyccf.ledger.entry import Entry, parse
from pyccf.ledger.secrets import LedgerSecrets
from pyccf.ledger.signature import is_signature
from pyccf.service import tables
from pyccf.shell.disk import LedgerDisk
from pyccf.sim import app, explore, fast, identities
from pyccf.sim.cluster import Cluster, Setup
from pyccf.sim.schedule import generate
from pyccf.types import Millis, SeqNo

if TYPE_CHECKING:
    from pyccf.sim.shell import Shell

LIVES = 3
"""How often a service lives in one drill."""
ACTS = 12
ALIVE_MAX: Millis = 60_000
"""How long anything may take that must happen."""
PAUSE: Millis = 20
PATIENCE: Millis = 3000
WRITES_MAX = 12
MAPS = (app.CHAIN, app.ROWS)


class Lost(Exception):
    """A drill that failed: the rule, and what happened."""


class DrillFigures(msgspec.Struct):
    """What happened in drills."""

    drills: int = 0
    lives: int = 0
    files: int = 0
    files_lost: int = 0
    files_hurt: int = 0
    entries: int = 0
    """In recovered ledgers."""
    unrecoverable: int = 0
    """Disasters after which nothing was left up to the opening, which issues the first shares."""
    nothing_lost: int = 0
    """Disasters after which everything that was committed was recovered."""
    cut_short: int = 0
    """Recoveries that were themselves interrupted by the next disaster."""
    joined: int = 0
    successions: int = 0
    """Primaries that died between the last share and the opening."""

    def add(self, other: DrillFigures) -> None:
        """Sum up."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class _Remains(msgspec.Struct):
    """What one life leaves: each host's entries, and what it knew of them."""

    hosts: list[tuple[list[Entry], SeqNo]]
    """Entries and how many of them it knew to be committed."""
    committed: list[bytes]
    """What was committed, in order."""
    service_cert: str
    recovered_from: SeqNo = 0
    """Where the life before ended, if the recovery was not completed."""


class Drill:
    """One drill."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed = seed
        self.figures = DrillFigures(drills=1)
        self._chance = Random(f"drill {seed}")
        self._folder = folder
        self._nodes = 0
        self._number = 0
        """Of the last write."""

    def run(self) -> DrillFigures:
        """Play it. Raises Lost."""
        remains = self._first_life()
        for life in range(1, LIVES + 1):
            heap = self._folder / f"heap{life}"
            self._disaster(remains, heap)
            report = inspect([heap])
            entries = self._collected(report, self._folder / f"ledger{life}")
            self._check_kept(remains, heap, entries)
            if not _has_shares(entries):
                self.figures.unrecoverable += 1
                break
            remains = self._life(life, entries, report.identity, last=life == LIVES)
            self.figures.lives += 1
        return self.figures

    # --- lives --------------------------------------------------------------------------------

    def _first_life(self) -> _Remains:
        """A network that was used and hurt, with the simulator's judges looking on."""
        schedule = generate(self.seed, ACTS)
        schedule = msgspec.structs.replace(schedule, setup=_from_the_beginning(schedule.setup))
        simulation = explore.Simulation(schedule)
        outcome = simulation.live()
        if outcome is not None:
            raise Lost(f"the network failed before the disaster: {outcome}")
        self._nodes = len(simulation.cluster.shells)
        committed = max(shell.node.consensus.committed for shell in simulation.cluster.shells)
        return self._leave(simulation.cluster, committed)

    def _life(self, life: int, entries: list[Entry], previous: str, *, last: bool) -> _Remains:
        """A service that goes on with what was collected."""
        chance = self._chance
        setup = _from_the_beginning(generate(self.seed, 1).setup)
        setup = msgspec.structs.replace(setup, seed=self.seed * 100 + life)
        cluster = Cluster(setup, first=self._nodes)
        service = identities.new_service(f"{self.seed} life {life}")
        first = cluster.recover(entries, previous, service)
        self._until(cluster, lambda: "Service" in first.certificates, "the recovery of the ledger")
        ended = first.node.store.version
        started = len(entries)
        if not last and chance.random() < 0.15:
            # The next disaster does not wait.
            self.figures.cut_short += 1
            self._nodes += len(cluster.shells)
            remains = self._leave(cluster, started)
            remains.recovered_from = started
            remains.service_cert = previous
            return remains
        for _ in range(chance.choice((0, 0, 1, 2, 2))):
            cluster.join(first)
            self.figures.joined += 1
        self._until(cluster, lambda: self._together(cluster), "the joining of nodes")
        self._govern(cluster, "accept")
        self._govern(cluster, "share")
        if len(cluster.shells) > 2 and chance.random() < 0.5:
            # Whoever is primary then must open the service.
            self.figures.successions += 1
            self._wait(cluster, chance.randrange(300))
            first = self._kill_primary(cluster)
        self._insist(cluster)
        self._check_state(cluster, entries, ended)
        for _ in range(chance.randrange(1, WRITES_MAX)):
            self._write(cluster)
            if chance.random() < 0.1:
                self._govern(cluster, "rekey")
        goal = first.node.store.version
        self._until(cluster, lambda: first.node.consensus.committed >= goal, "the commit of writes")
        self._nodes += len(cluster.shells)
        return self._leave(cluster, first.node.consensus.committed)

    def _leave(self, cluster: Cluster, committed: SeqNo) -> _Remains:
        """Everything dies."""
        best = max(cluster.shells, key=lambda shell: shell.node.consensus.committed)
        return _Remains(
            [(list(s.disk.entries), s.node.consensus.committed) for s in cluster.shells],
            [entry.data for entry in best.disk.entries[:committed]],
            cluster.service_cert,
        )

    def _insist(self, cluster: Cluster) -> None:
        """Members look whether the service opens, and do it all again if what they did is lost."""
        retry = [cluster.clock.now + PATIENCE]

        def opened() -> bool:
            if all(shell.node.app.open for shell in cluster.alive):
                return True
            primary = cluster.primary()
            if primary is not None and cluster.clock.now >= retry[0]:
                retry[0] = cluster.clock.now + PATIENCE
                for act in ("accept", "share"):
                    self._send(primary, f"/gov/sim/{act}", b"", [])
            return False

        self._until(cluster, opened, "the opening of the recovered service")

    def _kill_primary(self, cluster: Cluster) -> Shell:
        """The primary dies; one that goes on."""
        primary = cluster.primary()
        if primary is not None:
            cluster.crash(primary)
        return cluster.alive[0]

    def _wait(self, cluster: Cluster, ms: Millis) -> None:
        end = cluster.clock.now + ms
        self._until(cluster, lambda: cluster.clock.now >= end, "time to pass")

    # --- requests -----------------------------------------------------------------------------

    def _until(self, cluster: Cluster, done: Callable[[], bool], what: str) -> None:
        end = cluster.clock.now + ALIVE_MAX
        while not done():
            stopped = [shell.stop_reason for shell in cluster.shells if shell.stop_reason]
            if stopped:
                raise Lost(f"Alive: a node stopped: {stopped[0]}")
            if cluster.clock.now > end:
                states = [(s.name, s.node.state) for s in cluster.shells]
                raise Lost(f"Alive: waited in vain for {what}: {states}")
            cluster.clock.step()
            cluster.changed.clear()
            cluster.sent_views.clear()

    def _together(self, cluster: Cluster) -> bool:
        return all(
            "Service" in shell.certificates
            and len(shell.node.consensus.nodes()) == len(cluster.shells)
            for shell in cluster.shells
        )

    def _govern(self, cluster: Cluster, act: str) -> None:
        """An act of governance, until it is done."""
        self._ask(cluster, f"/gov/sim/{act}", b"")

    def _write(self, cluster: Cluster) -> None:
        self._number += 1
        self._ask(cluster, "/app/write", b"%d" % (10_000 + self._number))

    def _ask(self, cluster: Cluster, path: str, body: bytes) -> None:
        """Ask the primary, again until it says yes."""
        answers: list[bytes] = []
        refused: list[bytes] = []
        retry: list[Millis] = [cluster.clock.now]

        def answered() -> bool:
            if any(data.startswith(b"HTTP/1.1 2") for data in answers):
                return True
            primary = cluster.primary()
            if primary is not None and cluster.clock.now >= retry[0]:
                refused[:] = answers
                answers.clear()
                retry[0] = cluster.clock.now + PAUSE
                self._send(primary, path, body, answers)
            return False

        try:
            self._until(cluster, answered, f"the answer to {path}")
        except Lost as e:
            raise Lost(f"{e}, answered was {refused}") from None

    def _send(self, shell: Shell, path: str, body: bytes, answers: list[bytes]) -> None:
        request = Request("POST", path, {}, body)
        shell.input(lambda: shell.serve(request, shell.session(), answers.append))

    # --- disasters ----------------------------------------------------------------------------

    def _disaster(self, remains: _Remains, heap: Path) -> None:
        """Each host's files, less those that are lost; ends torn off, bytes flipped."""
        chance = self._chance
        for number, (entries, committed) in enumerate(remains.hosts):
            folder = heap / f"host{number}"
            folder.mkdir(parents=True)
            if chance.random() < 0.25 and number:
                continue
            self._write_files(folder, entries, committed, remains.recovered_from)
            for file in sorted(folder.iterdir()):
                self.figures.files += 1
                luck = chance.random()
                if luck < 0.12:
                    file.unlink()
                    self.figures.files_lost += 1
                elif luck < 0.24 and file.stat().st_size > 1:
                    self._hurt(file)
                    self.figures.files_hurt += 1

    def _write_files(
        self, folder: Path, entries: list[Entry], committed: SeqNo, recovered_from: SeqNo
    ) -> None:
        """The files as this host's node had them when it died."""
        disk = LedgerDisk(folder)
        if recovered_from:
            disk.append(entries[:recovered_from])
            disk.commit(recovered_from)
            disk.begin_recovery(recovered_from)
            entries = entries[recovered_from:]
        if entries:
            disk.append(entries)
        if self._chance.random() < 0.8:
            disk.commit(committed)
        disk.close()

    def _hurt(self, file: Path) -> None:
        """Tear off the end, or flip a bit."""
        data = bytearray(file.read_bytes())
        if self._chance.random() < 0.6:
            del data[self._chance.randrange(len(data)) :]
        else:
            data[self._chance.randrange(len(data))] ^= 1 << self._chance.randrange(8)
        file.write_bytes(data)

    # --- judging ------------------------------------------------------------------------------

    def _collected(self, report: HeapReport, folder: Path) -> list[Entry]:
        """The entries that are to be recovered, out of the files collected for that."""
        if report.recoverable is None:
            return []
        collect(report, folder)
        checked = verify(folder)
        if not checked.ok or checked.last_valid != report.last or checked.unsigned:
            raise Lost(f"Provable: {report.recoverable} was promised, {checked} is there")
        disk = LedgerDisk(folder)
        found = [parse(data) for data in disk.read(1, disk.last)]
        disk.close()
        self.figures.entries += len(found)
        return [Entry(e.view, e.seqno, e.data, is_signature(e), e.leaf) for e in found]

    def _check_kept(self, remains: _Remains, heap: Path, entries: list[Entry]) -> None:
        """What was committed and is whole in the files must be recovered."""
        truth = remains.committed
        there = _surviving(heap, truth)
        kept = 0
        for seqno, data in enumerate(truth, 1):
            if seqno not in there:
                break
            if is_signature(parse(data)):
                kept = seqno
        if not _same([entry.data for entry in entries[:kept]], truth[:kept]):
            raise Lost(f"Kept: {kept} committed entries are left, {len(entries)} were recovered")
        if kept == len(truth):
            self.figures.nothing_lost += 1

    def _check_state(self, cluster: Cluster, entries: list[Entry], ended: SeqNo) -> None:
        """The tables are what the ledger says, on every node."""
        expected = _replayed(entries, cluster.alive[0].parts.secrets)
        for shell in cluster.alive:
            maps = shell.node.store.maps
            found = {
                name: {k: p.value for k, p in maps[name].data.items()} if name in maps else {}
                for name in MAPS
            }
            if found != expected:
                raise Lost(f"State: {shell.name} does not have what the ledger says")


def _replayed(entries: list[Entry], secrets: LedgerSecrets) -> dict[str, dict[bytes, bytes]]:
    """What the ledger says, entry by entry."""
    state: dict[str, dict[bytes, bytes]] = {name: {} for name in MAPS}
    for entry in entries:
        e = parse(entry.data)
        # A torn tag of the very last signature shows nowhere: nothing else signs it.
        private = (
            secrets.open(e.seqno, e.iv, e.tag, e.ciphertext, e.public) if e.ciphertext else b""
        )
        for name, rows in {**e.public_maps(), **wire.decode(private)}.items():
            if name in state:
                for key, value in rows.items():
                    if value is None:
                        state[name].pop(key, None)
                    else:
                        state[name][key] = value
    return state


def _same(found: list[bytes], truth: list[bytes]) -> bool:
    """Whether these are the same entries. Of the last one, a signature, nothing vouches for the tag
    and the digest of its evidence but a signature after it: what it signs must be the same."""
    if found[:-1] != truth[:-1] or len(found) != len(truth):
        return False
    return not found or parse(found[-1]).public_maps() == parse(truth[-1]).public_maps()


def _has_shares(entries: list[Entry]) -> bool:
    """Whether the ledger goes as far as its opening."""
    return any(tables.RECOVERY_SHARES in parse(entry.data).public_maps() for entry in entries)


def _surviving(heap: Path, truth: list[bytes]) -> set[SeqNo]:
    """Seqnos of the true entries that are whole somewhere in the files of a finished ledger."""
    contents = [
        file.read_bytes()
        for file in sorted(heap.rglob("ledger_*"))
        if not file.name.endswith((".recovery", ".ignored"))
    ]
    return {n for n, data in enumerate(truth, 1) if any(data in content for content in contents)}


def run(seed: int) -> DrillFigures:
    """One drill. Raises Lost."""
    folder = Path(tempfile.mkdtemp(prefix="drill"))
    try:
        with fast.collected_between(), fast.signatures_remembered():
            return Drill(seed, folder).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _from_the_beginning(setup: Setup) -> Setup:
    """Every node has the whole ledger: what is lost is what a drill takes away."""
    return msgspec.structs.replace(setup, fetch=False, snapshot_tx_count=10_000)
