"""A follower's ledger on disk against a list: appended, cut, committed, reopened, joined anew.

After each step the ledger gives what the list holds, and so does another one opened on a copy of
the directory as it is at that moment; no file contradicts itself.
"""

from __future__ import annotations

import shutil
import struct
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pyccf.ledger import chunk
from pyccf.ledger.entry import FORCE_CHUNK_AFTER, FORCE_CHUNK_BEFORE, HEADER_SIZE, Entry
from pyccf.shell.disk import LedgerDisk
from pyccf.shell.set_aside import WHY
from pyccf.shell.tail import Tail

sizes = st.integers(140, 200)
ends = st.sampled_from([0, 0, 0, FORCE_CHUNK_AFTER])
begins = st.sampled_from([0] * 9 + [FORCE_CHUNK_BEFORE])


def entry(seqno: int, view: int, size: int, flags: int) -> Entry:
    """Something with the header of an entry."""
    body = bytes(16) + struct.pack("<QI", seqno, view) + bytes(size - 36)
    data = bytes([1, flags]) + (size - HEADER_SIZE).to_bytes(6, "little") + body
    return Entry(view, seqno, data, flags & FORCE_CHUNK_AFTER != 0, b"")


class Follower(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.view = 1
        self.held: list[Entry] = []
        self.joined = False
        """The node joined anew: files of before may lie there until they are replaced."""
        self.before: list[Entry] = []
        """What was here then."""
        self.disk = self.opened(self.folder / "ledger")

    def opened(self, path: Path) -> LedgerDisk:
        made = LedgerDisk(path)
        made._tail = Tail(made.last, bytes_max=1000)
        return made

    def teardown(self) -> None:
        self.disk.close()
        shutil.rmtree(self.folder)

    @rule(made=st.lists(st.tuples(sizes, ends, begins), min_size=1, max_size=8))
    def append(self, made: list[tuple[int, int, int]]) -> None:
        first = len(self.held) + 1
        new = [
            entry(first + n, self.view, size, after | (before if first + n > 1 else 0))
            for n, (size, after, before) in enumerate(made)
        ]
        self.disk.append(new)
        self.held += new

    @precondition(lambda self: len(self.before) > len(self.held))
    @rule(count=st.integers(1, 12))
    def append_what_was_here(self, count: int) -> None:
        first = len(self.held)
        new = self.before[first : first + count]
        if first and self.held != self.before[:first]:
            return
        self.disk.append(new)
        self.held += new

    @rule(share=st.integers(0, 100))
    def truncate(self, share: int) -> None:
        seqno = len(self.held) * share // 100
        cuts = self.disk.cuts
        self.disk.truncate(seqno)
        if self.disk.committed <= seqno < len(self.held):
            del self.held[seqno:]
            assert self.disk.cuts > cuts
            self.view += 1

    @rule(share=st.integers(0, 100))
    def commit(self, share: int) -> None:
        seqno = len(self.held) * share // 100
        committed = self.disk.committed
        self.disk.commit(seqno)
        assert self.disk.committed == max(committed, seqno)

    @precondition(lambda self: not self.joined)
    @rule()
    def reopen(self) -> None:
        self.disk.close()
        self.disk = self.opened(self.folder / "ledger")
        self.view += 1

    @precondition(lambda self: not self.joined)
    @rule(torn=st.integers(0, 60))
    def crash(self, torn: int) -> None:
        """The end of the newest open file is lost."""
        self.disk.close()
        newest = [
            (name.first, path)
            for path in (self.folder / "ledger").iterdir()
            if (name := chunk.parse_name(path.name)) and not name.committed and not name.ignored
        ]
        if newest:
            path = max(newest)[1]
            data = path.read_bytes()
            path.write_bytes(data[: max(0, len(data) - torn)])
        self.disk = self.opened(self.folder / "ledger")
        assert self.disk.last <= len(self.held)
        del self.held[self.disk.last :]
        self.view += 1

    @rule()
    def join_anew(self) -> None:
        self.disk.close()
        self.disk = self.opened(self.folder / "ledger")
        self.disk.initialise(0)
        self.disk._reader.tail = Tail(0, bytes_max=1000)
        self.joined = True
        self.before, self.held = self.held, []
        self.view += 1

    @rule(first=st.integers(0, 60), count=st.integers(0, 60), bytes_max=st.integers(1, 2000))
    def read_some(self, first: int, count: int, bytes_max: int) -> None:
        last = first + count - 1
        data, upto = self.disk.raw(first, last, bytes_max)
        expected = [e.data for e in self.held[first - 1 : last]] if first > 0 else []
        assert data == b"".join(expected[: upto - first + 1])
        assert bool(data) == bool(expected)
        assert len(data) <= bytes_max or upto == first
        if first > 0:
            assert self.disk.read(first, last) == expected

    @invariant()
    def holds_what_the_list_holds(self) -> None:
        held = [e.data for e in self.held]
        assert self.disk.last == len(held)
        assert self.disk.read(1, len(held)) == held
        at, parts = 0, []
        while at < len(held):
            data, upto = self.disk.raw(at + 1, len(held), 500)
            assert upto > at
            parts.append(data)
            at = upto
        assert b"".join(parts) == b"".join(held)

    @invariant()
    def files_are_sound(self) -> None:
        seen: dict[int, str] = {}
        for path in (self.folder / "ledger").iterdir():
            if path.name.startswith(WHY):
                continue
            name = chunk.parse_name(path.name)
            assert name is not None
            if name.ignored:
                continue
            assert name.first not in seen
            seen[name.first] = path.name
            data = path.read_bytes()
            table = chunk.parse_table_offset(data[:8].ljust(8, b"\0"), len(data))
            if table:
                positions = chunk.parse_table(data[table:])
                assert name.last is None or len(positions) == name.last - name.first + 1
            else:
                assert not name.committed

    @invariant()
    def another_process_sees_the_same(self) -> None:
        if self.joined:
            return
        copy = self.folder / "copy"
        shutil.copytree(self.folder / "ledger", copy)
        other = LedgerDisk(copy)
        assert other.last == len(self.held)
        assert other.read(1, other.last) == [e.data for e in self.held]
        other.close()
        shutil.rmtree(copy)


TestFollower = Follower.TestCase
TestFollower.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,  # the machine is shared
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
