"""Disaster drills: everything dies at once, some files are left, the service comes back.

    a network lives, with faults      all nodes are killed     files are lost, torn and damaged
    the best of them are collected    a node recovers          members accept it, hand in shares
    others join meanwhile             clients write            and everything dies again

Snapshots are among the files: whole, torn or damaged, of this service or of an earlier one, older
than the ledger that is left or newer, now and then without the ledger before them.

What is judged is what an operator must be able to rely on:

    Kept       every transaction that was committed and that, with all before it or all after a
               snapshot before it, is whole in some file that is left, is in the recovered ledger
    Provable   the recovered ledger is proven from its first entry, or the snapshot that it begins
               with, to its last signature
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
from pyccf.audit.snapshots import begin_after
from pyccf.audit.verify import verify
from pyccf.errors import InvalidLedger, InvalidReceipt
from pyccf.http.message import Request
from pyccf.kv import wire
from pyccf.ledger import chunk
from pyccf.ledger.certchain import key_of
from pyccf.ledger.entry import Entry, parse
from pyccf.ledger.secrets import LedgerSecret, LedgerSecrets
from pyccf.ledger.signature import is_signature
from pyccf.ledger.snapshot import parse as parse_snapshot
from pyccf.ledger.snapshot import parse_name
from pyccf.node.restore import Restorable
from pyccf.node.states import PART_OF_NETWORK
from pyccf.service import tables
from pyccf.shell.disk import LedgerDisk
from pyccf.shell.snapshot_files import SnapshotFiles
from pyccf.shell.startup_snapshot import choose_to_recover
from pyccf.sim import app, explore, fast, identities
from pyccf.sim.cluster import Cluster
from pyccf.sim.schedule import generate
from pyccf.types import Millis, SeqNo, TxID

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
WITHOUT_BEGINNING = 0.2
"""How often nobody kept the ledger before some snapshot."""
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
    snapshots: int = 0
    snapshots_lost: int = 0
    snapshots_hurt: int = 0
    from_snapshots: int = 0
    """Recoveries that began with a snapshot."""
    of_earlier_service: int = 0
    """Those among them whose snapshot an earlier service had taken."""
    without_beginning: int = 0
    """Recoveries of a ledger whose beginning was lost."""
    entries: int = 0
    """In recovered ledgers."""
    unrecoverable: int = 0
    """Disasters after which nothing was left up to the opening, which issues the first shares."""
    nothing_lost: int = 0
    """Disasters after which everything that was committed was recovered."""
    cut_short: int = 0
    """Recoveries that were themselves interrupted by the next disaster."""
    joined: int = 0
    joined_late: int = 0
    """Nodes that joined when the service was open again."""
    successions: int = 0
    """Primaries that died between the last share and the opening."""

    def add(self, other: DrillFigures) -> None:
        """Sum up."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class _Host(msgspec.Struct):
    """What one host has when its node dies."""

    base: SeqNo
    """The entries up to there it never had."""
    entries: list[Entry]
    committed: SeqNo
    """How far it knew that they are committed."""
    snapshots: dict[str, bytes]


class _Remains(msgspec.Struct):
    """What one life leaves."""

    hosts: list[_Host]
    committed: list[bytes]
    """What was committed, in order."""
    truth: list[Entry]
    """The same, and what follows it on the host that had committed the most."""
    secrets: list[LedgerSecret]
    """Of all services so far."""
    recovered_from: SeqNo = 0
    """Where the life before ended, if the recovery was not completed."""


class _Found(msgspec.Struct):
    """What is recovered."""

    entries: list[Entry]
    """From the first on; those that were lost but stand in a snapshot as the judge knows them."""
    identity: str
    base: SeqNo = 0
    """The last entry that is lost."""
    snapshot: Restorable | None = None
    snapshots: dict[str, bytes] = {}
    """Snapshots that lie on the recovering host, and that it would offer to others."""


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
            found = self._collected(remains, heap, self._folder / f"host{life}")
            self._check_kept(remains, heap, found.entries)
            if not _has_shares(found.entries):
                self.figures.unrecoverable += 1
                break
            remains = self._life(life, found, remains, last=life == LIVES)
            self.figures.lives += 1
        return self.figures

    # --- lives --------------------------------------------------------------------------------

    def _first_life(self) -> _Remains:
        """A network that was used and hurt, with the simulator's judges looking on."""
        simulation = explore.Simulation(generate(self.seed, ACTS))
        outcome = simulation.live()
        if outcome is not None:
            raise Lost(f"the network failed before the disaster: {outcome}")
        self._nodes = len(simulation.cluster.shells)
        committed = max(shell.node.consensus.committed for shell in simulation.cluster.shells)
        return self._leave(simulation.cluster, committed, [])

    def _life(self, life: int, found: _Found, before: _Remains, *, last: bool) -> _Remains:
        """A service that goes on with what was collected."""
        chance = self._chance
        entries = found.entries
        setup = generate(self.seed, 1).setup
        setup = msgspec.structs.replace(
            setup,
            seed=self.seed * 100 + life,
            # Nobody can begin with entries that are lost, or whose secrets nobody knows.
            fetch=setup.fetch or found.snapshot is not None,
            # A snapshot that is not to be had ends the joiner then.
            wander=0.0,
            # The service takes one when it opens: it must be able to rely on that.
            decay=0.0,
        )
        cluster = Cluster(setup, first=self._nodes)
        service = identities.new_service(f"{self.seed} life {life}")
        first = cluster.recover(
            entries,
            found.identity,
            service,
            base=found.base,
            snapshot=found.snapshot,
            snapshots=found.snapshots,
        )
        self._until(cluster, lambda: "Service" in first.certificates, "the recovery of the ledger")
        started = len(entries)
        if not last and chance.random() < 0.15:
            # The next disaster does not wait.
            self.figures.cut_short += 1
            self._nodes += len(cluster.shells)
            remains = self._leave(cluster, started, before.secrets)
            remains.recovered_from = started
            remains.secrets = before.secrets
            return remains
        joins = chance.choice((0, 0, 1, 2, 2))
        late = chance.random() < 0.3
        for _ in range(joins):
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
        if late:
            self._join_late(cluster)
        former = [secret for secret in before.secrets if secret.version <= started]
        self._check_state(cluster, entries, former)
        for _ in range(chance.randrange(1, WRITES_MAX)):
            self._write(cluster)
            if chance.random() < 0.1:
                self._govern(cluster, "rekey")
        goal = first.node.store.version
        self._until(cluster, lambda: first.node.consensus.committed >= goal, "the commit of writes")
        self._nodes += len(cluster.shells)
        return self._leave(cluster, first.node.consensus.committed, former)

    def _join_late(self, cluster: Cluster) -> None:
        """A node joins when the service is open again."""
        self._until(cluster, lambda: _agreed(cluster), "a primary that all know")
        target = cluster.alive[0]
        joiner = cluster.join(target)
        self._ask(cluster, "/gov/sim/trust", joiner.node.node_id.encode())
        goal = target.node.store.version
        self._until(
            cluster,
            lambda: (
                joiner.node.state == PART_OF_NETWORK
                and joiner.node.app.open
                and joiner.node.store.version >= goal
            ),
            "a node to join the open service",
        )
        self.figures.joined_late += 1

    def _leave(self, cluster: Cluster, committed: SeqNo, former: list[LedgerSecret]) -> _Remains:
        """Everything dies."""
        best = max(cluster.shells, key=lambda shell: shell.node.consensus.committed)
        known = {s.version: s for s in (*former, *best.parts.secrets.all())}
        return _Remains(
            hosts=[
                _Host(
                    s.disk.base,
                    list(s.disk.entries),
                    s.node.consensus.committed,
                    dict(s.disk.snapshots.files),
                )
                for s in cluster.shells
            ],
            committed=[entry.data for entry in best.disk.entries[:committed]],
            truth=list(best.disk.entries),
            secrets=[known[version] for version in sorted(known)],
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
        for number, host in enumerate(remains.hosts):
            folder = heap / f"host{number}"
            folder.mkdir(parents=True)
            if chance.random() < 0.25 and number:
                continue
            self._write_files(folder, host, remains.recovered_from)
            for file in sorted(folder.iterdir()):
                lost, hurt = self._befalls(file)
                self.figures.files += 1
                self.figures.files_lost += lost
                self.figures.files_hurt += hurt
            for name, data in host.snapshots.items():
                file = folder / name
                file.write_bytes(data)
                lost, hurt = self._befalls(file)
                self.figures.snapshots += 1
                self.figures.snapshots_lost += lost
                self.figures.snapshots_hurt += hurt
        if chance.random() < WITHOUT_BEGINNING:
            self._lose_beginning(heap)

    def _befalls(self, file: Path) -> tuple[bool, bool]:
        """Lose a file, or hurt it, or neither."""
        luck = self._chance.random()
        if luck < 0.12:
            file.unlink()
        elif luck < 0.24 and file.stat().st_size > 1:
            self._hurt(file)
            return False, True
        return luck < 0.12, False

    def _lose_beginning(self, heap: Path) -> None:
        """Nobody kept the ledger before one of the snapshots."""
        names = [parse_name(file.name) for file in sorted(heap.rglob("snapshot_*"))]
        seqnos = sorted({name.seqno for name in names if name is not None})
        if not seqnos:
            return
        before = self._chance.choice(seqnos)
        for file in sorted(heap.rglob("ledger_*")):
            name = chunk.parse_name(file.name)
            if name is not None and name.last is not None and name.last <= before:
                file.unlink()

    def _write_files(self, folder: Path, host: _Host, recovered_from: SeqNo) -> None:
        """The files as this host's node had them when it died."""
        disk = LedgerDisk(folder)
        entries = host.entries[host.base :]
        if host.base:
            disk.initialise(host.base)
        if recovered_from:
            former = recovered_from - host.base
            disk.append(entries[:former])
            disk.commit(recovered_from)
            disk.begin_recovery(recovered_from)
            entries = entries[former:]
        if entries:
            disk.append(entries)
        if self._chance.random() < 0.8:
            disk.commit(host.committed)
        disk.close()

    def _hurt(self, file: Path) -> None:
        """Tear off the end, or flip a bit."""
        data = bytearray(file.read_bytes())
        if self._chance.random() < 0.6:
            del data[self._chance.randrange(len(data)) :]
        else:
            data[self._chance.randrange(len(data))] ^= 1 << self._chance.randrange(8)
        file.write_bytes(data)

    # --- collecting ---------------------------------------------------------------------------

    def _collected(self, remains: _Remains, heap: Path, folder: Path) -> _Found:
        """What is to be recovered: the ledger files that were collected for that, and a snapshot,
        as a node program finds them on its disk."""
        report = inspect([heap])
        last = report.last
        if last is None:
            return _Found([], "")
        collect(report, folder / "ledger")
        shelf = self._snapshots(report, heap, folder / "snapshots")
        disk = LedgerDisk(folder / "ledger", keep=True)
        snapshot, whole = choose_to_recover(disk, shelf, report.identity, _silent)
        base = 0 if snapshot is None or whole else snapshot.seqno
        found = remains.truth[:base]
        if disk.last > base:
            found += [_entry(data) for data in disk.read(base + 1, disk.last)]
        disk.close()
        self._check_proven(report, folder, snapshot if base else None, len(found))
        if snapshot is not None:
            self.figures.from_snapshots += 1
            self.figures.of_earlier_service += snapshot.by_itself
        self.figures.without_beginning += base > 0
        self.figures.entries += len(found)
        offered = {
            file.name: Path(file.path).read_bytes()
            for file in shelf.candidates()
            if file.name not in shelf.refused or file == shelf.begun
        }
        return _Found(found, report.identity, base, snapshot, offered)

    def _snapshots(self, report: HeapReport, heap: Path, folder: Path) -> SnapshotFiles:
        """The snapshot that was found to be the best, or all that there are on any host."""
        folder.mkdir(parents=True)
        files = [] if report.snapshot is None else [Path(report.snapshot)]
        if self._chance.random() < 0.5:
            files += sorted(heap.rglob("snapshot_*"))
        for file in files:
            if not (folder / file.name).exists():
                shutil.copyfile(file, folder / file.name)
        return SnapshotFiles(folder)

    # --- judging ------------------------------------------------------------------------------

    def _check_proven(
        self, report: HeapReport, folder: Path, snapshot: Restorable | None, entries: SeqNo
    ) -> None:
        """What was collected must be proven to where it was promised."""
        auditor = None
        if snapshot is not None:
            (file,) = (folder / "snapshots").glob(f"snapshot_{snapshot.seqno}_*.committed")
            name = parse_name(file.name)
            assert name is not None
            auditor = begin_after(parse_snapshot(file.read_bytes()), name).auditor
        if snapshot is not None and entries == snapshot.seqno:
            ok, reached = True, snapshot.snapshot.txid
            unsigned = 0
        else:
            checked = verify(folder / "ledger", beginning=auditor)
            ok, unsigned = checked.ok, checked.unsigned
            reached = checked.last_valid or TxID(0, 0)
        if not ok or unsigned or reached != report.last:
            raise Lost(f"Provable: {report.recoverable} was promised, {reached} is there")

    def _check_kept(self, remains: _Remains, heap: Path, entries: list[Entry]) -> None:
        """What was committed and is whole in the files must be recovered."""
        truth = remains.committed
        there = _surviving(heap, truth)
        kept = _signed_until(0, truth, there)
        known = _services(truth[:kept])
        for file in heap.rglob("snapshot_*"):
            name = parse_name(file.name)
            try:
                found = begin_after(parse_snapshot(file.read_bytes()), name) if name else None
            except (InvalidLedger, InvalidReceipt):
                continue
            # Of files that do not say that they belong together, those of the ledger count.
            if found is not None and (not known or known & found.keys):
                kept = max(kept, _signed_until(found.auditor.entries, truth, there))
        if not _same([entry.data for entry in entries[:kept]], truth[:kept]):
            raise Lost(f"Kept: {kept} committed entries are left, {len(entries)} were recovered")
        if kept == len(truth):
            self.figures.nothing_lost += 1

    def _check_state(
        self, cluster: Cluster, entries: list[Entry], former: list[LedgerSecret]
    ) -> None:
        """The tables are what the ledger says, on every node."""
        known = {s.version: s for s in (*former, *cluster.alive[0].parts.secrets.all())}
        expected = _replayed(entries, LedgerSecrets(known.values()))
        for shell in cluster.alive:
            maps = shell.node.store.maps
            found = {
                name: {k: p.value for k, p in maps[name].data.items()} if name in maps else {}
                for name in MAPS
            }
            if found != expected:
                raise Lost(f"State: {shell.name} does not have what the ledger says")


def _agreed(cluster: Cluster) -> bool:
    """Whether all nodes take the same one for the primary, and it is."""
    primary = cluster.primary()
    return primary is not None and all(
        shell.node.consensus.primary == primary.node.node_id for shell in cluster.alive
    )


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


def _signed_until(begin: SeqNo, truth: list[bytes], there: set[SeqNo]) -> SeqNo:
    """The last signature that all true entries after `begin` lead to; `begin` if none."""
    reached = begin
    for seqno in range(begin + 1, len(truth) + 1):
        if seqno not in there:
            break
        if is_signature(parse(truth[seqno - 1])):
            reached = seqno
    return reached


def _services(entries: list[bytes]) -> set[str]:
    """Ids of the keys of all services that a ledger names."""
    found: set[str] = set()
    for data in entries:
        raw = parse(data).public_maps().get(tables.SERVICE_INFO, {}).get(tables.UNIT)
        row = None if raw is None else tables.decode_row(tables.SERVICE_INFO, raw)
        if isinstance(row, dict):
            found.add(key_of(str(row.get("cert"))).id)
    return found


def _entry(data: bytes) -> Entry:
    e = parse(data)
    return Entry(e.view, e.seqno, e.data, is_signature(e), e.leaf)


def _silent(level: str, text: str) -> None:
    """Nobody reads what the recovering node says."""


def run(seed: int) -> DrillFigures:
    """One drill. Raises Lost."""
    folder = Path(tempfile.mkdtemp(prefix="drill"))
    try:
        with fast.collected_between(), fast.signatures_remembered():
            return Drill(seed, folder).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
