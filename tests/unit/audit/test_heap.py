"""What can be recovered from a heap of files, and what is said of each."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from pyccf.audit.collecting import collect
from pyccf.audit.heap import HeapReport, inspect
from pyccf.audit.pieces import FileReport, Gap, Verdict
from pyccf.audit.verify import verify
from pyccf.errors import LocalError
from pyccf.ledger.chunk import parse_name
from pyccf.ledger.entry import Entry
from pyccf.shell.disk import LedgerDisk
from support.ledgers import Service

CHUNK = 3000


def grow(service: Service, rounds: int) -> None:
    """More transactions, a signature after every third."""
    for i in range(rounds):
        for j in range(3):
            service.record(b"value %d %d" % (i, j), private=bool(j % 2))
        service.sign()


def small(rounds: int = 6, seed: str = "service") -> Service:
    service = Service(seed, chunk_size=CHUNK)
    service.genesis()
    service.sign()
    grow(service, rounds)
    return service


def write(folder: Path, entries: list[Entry], *, committed: int | None = None) -> Path:
    disk = LedgerDisk(folder)
    disk.append(entries)
    disk.commit(len(entries) if committed is None else committed)
    disk.close()
    return folder


def files(folder: Path) -> list[Path]:
    """Chunks in order."""
    return sorted(
        folder.glob("ledger_*"), key=lambda f: int(f.name.split("_")[1].split("-")[0].split(".")[0])
    )


def by_name(report: HeapReport) -> dict[str, FileReport]:
    """Files by host and name."""
    return {"/".join(Path(f.path).parts[-2:]): f for f in report.files}


def verdicts(report: HeapReport) -> dict[str, Verdict]:
    return {name: f.verdict for name, f in by_name(report).items()}


@pytest.fixture
def service() -> Service:
    return small()


def test_one_whole_ledger(tmp_path: Path, service: Service) -> None:
    folder = write(tmp_path / "host", service.entries)
    assert len(files(folder)) >= 3
    report = inspect([folder])
    assert report.recoverable == f"2.{service.last}"
    assert (report.unsigned, report.missing, report.recovery_count) == (0, (), 0)
    assert report.identity == service.identity.service_cert
    assert set(verdicts(report).values()) == {Verdict.USED}
    assert [Path(link.path).name for link in report.chain] == [f.name for f in files(folder)]


def test_each_host_has_something(tmp_path: Path, service: Service) -> None:
    """No host has all; one went further; one has a torn end; all are needed."""
    whole = write(tmp_path / "whole", service.entries)
    names = [f.name for f in files(whole)]
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    for i, name in enumerate(names[:-1]):
        shutil.copy(whole / name, (one if i % 2 else two) / name)
    last = (whole / names[-1]).read_bytes()
    (two / names[-1]).write_bytes(last[:-100])
    shutil.copy(whole / names[0], one / names[0])
    shutil.rmtree(whole)
    report = inspect([tmp_path])
    assert report.last is not None
    assert report.last.seqno < service.last, "the last signature was torn"
    found = by_name(report)
    assert found[f"two/{names[-1]}"].torn_bytes > 0
    kept = {f.verdict for f in report.files} - {Verdict.USED, Verdict.COPY}
    assert kept <= {Verdict.UNPROVEN}
    assert report.unsigned == (found[f"two/{names[-1]}"].last or 0) - report.last.seqno
    target = tmp_path / "new" / "ledger"
    collect(report, target)
    checked = verify(target)
    assert checked.ok
    assert checked.last_valid == report.last
    assert checked.unsigned == 0


def test_what_was_never_committed_loses_to_what_was(tmp_path: Path, service: Service) -> None:
    """A deposed primary signed entries of its own; the others went on in a later view."""
    common = list(service.entries)
    grow(service, 2)
    deposed = list(service.entries)
    other = small()
    assert [e.data for e in other.entries] == [e.data for e in common]
    other.view = 4
    grow(other, 1)
    assert len(deposed) > len(other.entries)
    a = write(tmp_path / "deposed", deposed, committed=0)
    b = write(tmp_path / "later", other.entries)
    report = inspect([a, b])
    assert report.recoverable == f"4.{other.last}"
    forked = [f for f in report.files if f.verdict is Verdict.FORKED]
    assert forked
    assert all("deposed" in f.path for f in forked)
    assert f"from entry {len(common) + 1} on" in forked[0].reason
    collect(report, tmp_path / "new")
    assert verify(tmp_path / "new").last_valid == report.last


def test_a_gap_is_named(tmp_path: Path, service: Service) -> None:
    folder = write(tmp_path / "host", service.entries)
    gone = files(folder)[1]
    first, last = (
        int(n) for n in gone.name.removeprefix("ledger_").removesuffix(".committed").split("-")
    )
    after = files(folder)[2].name
    gone.unlink()
    report = inspect([folder])
    assert report.missing == (Gap(first, last),)
    assert report.last is not None
    assert report.last.seqno == first - 1
    found = by_name(report)[f"host/{after}"]
    assert found.verdict is Verdict.UNREACHABLE
    assert found.reason == f"entries {first} to {last} are missing"


def test_files_of_others_and_damaged_ones_are_told_apart(tmp_path: Path, service: Service) -> None:
    good = write(tmp_path / "good", service.entries)
    bad = tmp_path / "bad"
    shutil.copytree(good, bad)
    broken = files(bad)[1]
    data = bytearray(broken.read_bytes())
    data[len(data) // 3] ^= 1
    broken.write_bytes(data)
    write(tmp_path / "foreign", small(4, "another").entries)
    (bad / "ledger_900-901.committed.ignored").write_bytes(b"x")
    (bad / "ledger_900.recovery").write_bytes(files(good)[0].read_bytes()[:-1])
    (bad / "notes.txt").write_text("hello")
    report = inspect([tmp_path])
    assert report.recoverable == f"2.{service.last}"
    found = verdicts(report)
    assert found[f"bad/{broken.name}"] is Verdict.DAMAGED
    assert by_name(report)[f"bad/{broken.name}"].reason
    assert found["bad/ledger_900-901.committed.ignored"] is Verdict.SET_ASIDE
    assert found["bad/ledger_900.recovery"] is Verdict.UNFINISHED
    assert found["bad/notes.txt"] is Verdict.UNKNOWN
    others = [v for name, v in found.items() if name.startswith("foreign/")]
    assert set(others) <= {Verdict.FOREIGN, Verdict.UNREACHABLE}
    assert Verdict.FOREIGN in others


def test_damage_everywhere_ends_the_chain_before_it(tmp_path: Path, service: Service) -> None:
    folder = write(tmp_path / "host", service.entries)
    broken = files(folder)[1]
    data = bytearray(broken.read_bytes())
    data[len(data) // 2] ^= 1
    broken.write_bytes(data)
    report = inspect([folder])
    assert report.last is not None
    target = tmp_path / "new"
    collect(report, target)
    checked = verify(target)
    assert checked.ok
    assert checked.last_valid == report.last
    assert broken.read_bytes() == bytes(data), "nothing is changed"
    found = by_name(report)[f"host/{broken.name}"]
    assert found.reason


def test_two_damaged_copies_make_a_good_one(tmp_path: Path, service: Service) -> None:
    one = write(tmp_path / "one", service.entries)
    two = tmp_path / "two"
    shutil.copytree(one, two)
    name = files(one)[1].name
    begin = parse_name(name)
    assert begin is not None
    for folder, seqno in ((one, begin.first), (two, begin.first + 1)):
        entry = service.entries[seqno - 1].data
        data = (folder / name).read_bytes()
        at = data.index(entry) + len(entry) - 5
        (folder / name).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    report = inspect([tmp_path])
    assert report.recoverable == f"2.{service.last}"
    (link,) = (link for link in report.chain if link.path.endswith(name))
    assert len(link.others) == 1
    collect(report, tmp_path / "new")
    checked = verify(tmp_path / "new")
    assert checked.ok
    assert checked.last_valid == report.last
    alone = inspect([one])
    assert alone.last is not None
    assert alone.last.seqno < begin.first


def test_chunks_end_where_their_entries_say(tmp_path: Path) -> None:
    """Whatever file they are found in."""
    long = small(9)
    folder = tmp_path / "host"
    folder.mkdir()
    data = b"".join(entry.data for entry in long.entries)
    (folder / "ledger_1").write_bytes(bytes(8) + data)
    report = inspect([folder])
    names = collect(report, tmp_path / "new")
    as_written = files(write(tmp_path / "as", long.entries))
    assert len(names) > 1
    assert names[:-1] == [file.name for file in as_written[:-1]]
    checked = verify(tmp_path / "new")
    assert checked.ok
    assert checked.last_valid == report.last


def test_nothing_to_recover(tmp_path: Path) -> None:
    (tmp_path / "ledger_5-9.committed").write_bytes(b"\0" * 100)
    (tmp_path / "ledger_1").write_bytes(b"")
    report = inspect([tmp_path])
    assert report.recoverable is None
    assert report.chain == ()
    assert {f.verdict for f in report.files} == {Verdict.DAMAGED, Verdict.COPY} or all(
        f.verdict is Verdict.DAMAGED for f in report.files
    )
    with pytest.raises(LocalError, match="is not a directory"):
        inspect([tmp_path / "missing"])


def test_of_several_services_the_wanted_one(tmp_path: Path, service: Service) -> None:
    other = small(9, "another")
    write(tmp_path / "one", service.entries)
    write(tmp_path / "other", other.entries)
    longest = inspect([tmp_path])
    assert longest.identity == other.identity.service_cert
    wanted = inspect([tmp_path], service_cert_pem=service.identity.service_cert)
    assert wanted.identity == service.identity.service_cert
    assert wanted.recoverable == f"2.{service.last}"
    with pytest.raises(LocalError, match="cannot be read"):
        inspect([tmp_path], service_cert_pem="none")


def test_files_are_told_in_the_order_of_the_ledger(tmp_path: Path) -> None:
    long = small(40)
    report = inspect([write(tmp_path / "host", long.entries)])
    firsts = [f.first for f in report.files]
    assert len(firsts) > 10
    assert firsts == sorted(firsts, key=lambda first: first or 0)


def test_what_has_a_name_but_is_no_file(tmp_path: Path, service: Service) -> None:
    folder = write(tmp_path / "host", service.entries)
    os.mkfifo(folder / "ledger_900-901.committed")
    (folder / "ledger_902-903.committed").symlink_to("nowhere")
    (folder / "snapshot_5_6.committed").symlink_to("nowhere")
    (folder / "ledger_904-905.committed").mkdir()
    report = inspect([folder])
    assert report.recoverable == f"2.{service.last}"
    odd = [f for f in report.files if f.reason == "it is no file that can be read"]
    assert len(odd) == 3
    with pytest.raises(LocalError, match="is no file that can be read"):
        verify(folder)


def test_a_full_disk_is_named(
    tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = inspect([write(tmp_path / "host", service.entries)])

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(LocalError, match=r"copying .*ledger_1-.*: No space left on device"):
        collect(report, tmp_path / "new")


def test_nothing_is_written_over(tmp_path: Path, service: Service) -> None:
    report = inspect([write(tmp_path / "host", service.entries)])
    target = tmp_path / "new"
    target.mkdir()
    (target / "mine").write_text("x")
    with pytest.raises(LocalError, match="is not empty"):
        collect(report, target)
    assert [f.name for f in target.iterdir()] == ["mine"]


@pytest.mark.parametrize("renamed", range(4))
def test_a_recovery_that_was_complete_but_for_names_counts(tmp_path: Path, renamed: int) -> None:
    """None renamed: nobody knows that it was. Otherwise its host died between two renames."""
    service = small()
    end = service.last
    folder = write(tmp_path / "host", service.entries)
    service.recover("second")
    service.sign()
    grow(service, 6)
    disk = LedgerDisk(folder, keep=True)
    disk.begin_recovery(end, "it ends there")
    disk.append(service.entries[end:])
    disk.commit(service.last)
    disk.close()
    left = [file for file in files(folder) if file.name.endswith(".recovery")]
    assert len(left) > 3
    for file in left[:renamed]:
        file.rename(folder / file.name.removesuffix(".recovery"))
    report = inspect([folder])
    assert report.recoverable == (f"4.{service.last}" if renamed else f"2.{end}")
    found = [verdicts(report)[f"host/{file.name}"] for file in left[renamed:]]
    assert set(found) == {Verdict.USED if renamed else Verdict.UNFINISHED}
    collect(report, tmp_path / "new")
    assert not list((tmp_path / "new").glob("*.recovery"))
    checked = verify(tmp_path / "new")
    assert checked.ok
    assert checked.entries == (service.last if renamed else end)
