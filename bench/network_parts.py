"""The parts of the network's benchmark: what is measured, and how.

On a machine with as many cores as here all nodes, the load and the sampling share what there is, so
that the rates say what the whole costs; the processor times say what each part of it costs.

Committed latency is sampled: a client of its own sends one write after the other and asks for the
answer once it is committed. The rate of commits is that of answers, times the part of the entries
made meanwhile that was committed by the end of the round.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from bench.load import WRK_MARGIN_S, Counted, Target, WrkMissing, wrk
from bench.network_nodes import KEYS, Network, Node
from bench.servers import BENCH, MESSAGE, ROOT, machine_cpu_s
from pyccf.client import Client
from pyccf.types import Json, SeqNo

PATH = "/app/records"
SAMPLE_PAUSE_S = 0.05
WARM_UP_S = 2
PACE_SCRIPT = BENCH / "network.lua"
PACE_CONNECTIONS = 16
PACE_PAUSE_MS = 30
"""Together at most 530 writes in a second: what goes on while a node catches up."""
PACE_BASE_S = 10
PACE_ROUND_S = 5
FILL_CONNECTIONS = 64
FILL_ROUND_S = 10
FILL_ROUNDS_MAX = 60
POLL_S = 0.05
CATCH_UP_MAX_S = 600.0

Say = Callable[[str], None]


class WriteRound(msgspec.Struct, frozen=True):
    """One run of writes to the primary."""

    answered_rate: float
    """Writes answered in a second."""
    committed_rate: float
    """Writes committed in a second."""
    p50_ms: float
    p95_ms: float
    p99_ms: float
    committed_ms: list[float]
    """Times until sampled writes were answered as committed."""
    primary_cpu_us: float
    """Processor time of the primary per write."""
    backup_cpu_us: list[float]
    """Processor time of each backup per entry."""
    primary_share: float
    """Part of one core that the primary used."""
    others_share: float
    """Part of one core that neither nodes nor load used: the machine was not ours alone."""
    entries: int
    """Entries made, signatures among them."""
    requests: int
    errors: int


class WriteFigure(msgspec.Struct, frozen=True):
    """Medians over rounds, latencies of commits over all samples."""

    nodes: int
    connections: int
    answered_rate: float
    committed_rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    committed_p50_ms: float
    committed_p95_ms: float
    committed_p99_ms: float
    primary_cpu_us: float
    backup_cpu_us: float
    primary_share: float
    others_share: float
    errors: int
    rounds: list[WriteRound]


class ReadFigure(msgspec.Struct, frozen=True):
    """Reads sent to one node, and to all at once; medians of the rates of rounds."""

    nodes: int
    connections: int
    one_rate: float
    all_rate: float
    all_p99_ms: float
    cpu_us: float
    """Processor time of all nodes per read, when reads are spread."""
    errors: int


class CatchUp(msgspec.Struct, frozen=True):
    """A node that joined with so many entries to fetch."""

    entries: int
    seconds: float
    entries_per_s: float
    node_cpu_us: float
    """Processor time of the new node per entry."""
    primary_cpu_us: float
    """Processor time of the primary per entry, what it did for clients included."""
    pace_rate: float
    """Writes in a second that clients sent before; they are the same clients meanwhile."""
    p99_before_ms: float
    p99_meanwhile_ms: float
    errors: int


# -- writes --------------------------------------------------------------------------------------


class _Sampler:
    """Writes, one after the other, each answered once committed."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._failed: Exception | None = None
        self.samples_ms: list[float] = []

    def __enter__(self) -> _Sampler:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        try:
            number = 0
            while not self._stop.wait(SAMPLE_PAUSE_S):
                number = (number + 1) % KEYS
                body: Json = {"id": f"{number:08}", "msg": MESSAGE}
                started = time.perf_counter()
                self._client.post(PATH, json=body, wait="commit").check()
                self.samples_ms.append(1000 * (time.perf_counter() - started))
        except Exception as error:
            self._failed = error


def _target(node: Node, kind: str) -> Target:
    return Target(kind, node, kind, PATH, KEYS)


def write_round(network: Network, connections: int, seconds: int) -> WriteRound:
    """Writes to the primary from wrk, as fast as they go."""
    start = network.settle()
    cpu = [node.cpu_s() for node in network.nodes]
    ours_before, all_before = _ours_s(), machine_cpu_s()
    with _Sampler(network.client()) as sampler, network.client() as client:
        counted = wrk(_target(network.primary, "write"), connections, seconds)
        committed = client.last_committed().seqno
    used = [node.cpu_s() - before for node, before in zip(network.nodes, cpu, strict=True)]
    others = machine_cpu_s() - all_before - (_ours_s() - ours_before) - sum(used)
    last = network.settle()
    network.check()
    entries = last - start
    took_s = counted.duration_us / 1e6
    rate = counted.requests / took_s
    return WriteRound(
        answered_rate=round(rate, 1),
        committed_rate=round(rate * (committed - start) / entries, 1),
        p50_ms=counted.p50_us / 1000,
        p95_ms=counted.p95_us / 1000,
        p99_ms=counted.p99_us / 1000,
        committed_ms=[round(one, 2) for one in sampler.samples_ms],
        primary_cpu_us=round(1e6 * used[0] / counted.requests, 2),
        backup_cpu_us=[round(1e6 * one / entries, 2) for one in used[1:]],
        primary_share=round(used[0] / took_s, 3),
        others_share=round(max(others, 0.0) / took_s, 3),
        entries=entries,
        requests=counted.requests,
        errors=counted.errors.total,
    )


def _ours_s() -> float:
    """Processor time of this process and of the children that have ended, such as wrk."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def write_figure(nodes: int, connections: int, rounds: list[WriteRound]) -> WriteFigure:
    """Medians of rounds; samples of all rounds together; errors added up."""

    def median(name: str) -> float:
        values: list[float] = [getattr(r, name) for r in rounds]
        return round(statistics.median(values), 3)

    samples = [one for r in rounds for one in r.committed_ms]
    backups = [one for r in rounds for one in r.backup_cpu_us]
    return WriteFigure(
        nodes=nodes,
        connections=connections,
        answered_rate=median("answered_rate"),
        committed_rate=median("committed_rate"),
        p50_ms=median("p50_ms"),
        p95_ms=median("p95_ms"),
        p99_ms=median("p99_ms"),
        committed_p50_ms=percentile(samples, 0.50),
        committed_p95_ms=percentile(samples, 0.95),
        committed_p99_ms=percentile(samples, 0.99),
        primary_cpu_us=median("primary_cpu_us"),
        backup_cpu_us=round(statistics.median(backups), 2) if backups else 0.0,
        primary_share=median("primary_share"),
        others_share=median("others_share"),
        errors=sum(r.errors for r in rounds),
        rounds=rounds,
    )


def writes(
    networks: Sequence[Network], connections: int, seconds: int, rounds: int
) -> list[WriteFigure]:
    """All networks in turn, every other time backwards."""
    found: dict[int, list[WriteRound]] = {len(one.nodes): [] for one in networks}
    for network in networks:
        _target(network.primary, "write").warm_up(connections)
    for number in range(rounds):
        for network in networks if number % 2 == 0 else reversed(networks):
            found[len(network.nodes)].append(write_round(network, connections, seconds))
    return [write_figure(size, connections, done) for size, done in found.items()]


# -- reads ---------------------------------------------------------------------------------------


def reads(network: Network, connections: int, seconds: int, rounds: int) -> ReadFigure:
    """Reads sent to a backup alone, then spread over all nodes; as many connections in all."""
    one, spread, p99, cpu_us, errors = [], [], [], [], 0
    backup = network.nodes[-1]
    each = connections // len(network.nodes)
    for _ in range(rounds):
        alone = wrk(_target(backup, "read"), connections, seconds)
        one.append(alone.requests / alone.duration_us * 1e6)
        before = sum(node.cpu_s() for node in network.nodes)
        with ThreadPoolExecutor(len(network.nodes)) as pool:
            jobs = [
                pool.submit(wrk, _target(node, "read"), each, seconds) for node in network.nodes
            ]
            counted: list[Counted] = [job.result() for job in jobs]
        used = sum(node.cpu_s() for node in network.nodes) - before
        spread.append(sum(c.requests / c.duration_us * 1e6 for c in counted))
        p99.append(max(c.p99_us for c in counted) / 1000)
        cpu_us.append(1e6 * used / sum(c.requests for c in counted))
        errors += alone.errors.total + sum(c.errors.total for c in counted)
    network.check()
    return ReadFigure(
        nodes=len(network.nodes),
        connections=connections,
        one_rate=round(statistics.median(one), 1),
        all_rate=round(statistics.median(spread), 1),
        all_p99_ms=round(statistics.median(p99), 3),
        cpu_us=round(statistics.median(cpu_us), 2),
        errors=errors,
    )


# -- catching up ---------------------------------------------------------------------------------


def _pace(node: Node, seconds: int) -> Counted:
    """Writes at a steady, moderate pace. Raises WrkMissing or RuntimeError."""
    command = [
        *("wrk", "--threads", "1", "--connections", str(PACE_CONNECTIONS)),
        *("--duration", f"{seconds}s", "--latency", "--timeout", "5s"),
        *("--script", str(PACE_SCRIPT), node.url),
        *("--", "write", PATH, str(KEYS), str(PACE_PAUSE_MS)),
    ]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + WRK_MARGIN_S
        )
    except FileNotFoundError:
        raise WrkMissing from None
    last = done.stdout.strip().rpartition("\n")[2]
    if done.returncode != 0 or not last.startswith("{"):
        raise RuntimeError(f"wrk failed ({done.returncode}): {done.stdout}{done.stderr}")
    return msgspec.json.decode(last, type=Counted)


def fill(network: Network, entries: SeqNo, say: Say) -> None:
    """Write until the ledger has so many entries."""
    for _ in range(FILL_ROUNDS_MAX):
        have = network.committed()
        if have >= entries:
            return
        say(f"catch-up: {have} of {entries} entries …")
        wrk(_target(network.primary, "write"), FILL_CONNECTIONS, FILL_ROUND_S)
    raise RuntimeError(f"{entries} entries were not written in time")


def catch_up(network: Network, entries: SeqNo, say: Say) -> CatchUp:
    """A node joins with so many entries to fetch, while clients write at a steady pace.

    The latencies meanwhile are those of rounds that began before it had caught up.
    """
    fill(network, entries, say)
    network.settle()
    say("catch-up: clients alone …")
    before = _pace(network.primary, PACE_BASE_S)
    target = network.settle()
    say("catch-up: a node joins …")
    meanwhile: list[Counted] = []
    done = threading.Event()

    def clients() -> None:
        while not done.is_set():
            meanwhile.append(_pace(network.primary, PACE_ROUND_S))

    with ThreadPoolExecutor(1) as pool:
        pace = pool.submit(clients)
        try:
            node, node_id = network.join()
            primary_cpu, started = network.primary.cpu_s(), time.monotonic()
            while network.ack(node_id) < target:
                if time.monotonic() - started > CATCH_UP_MAX_S:
                    raise RuntimeError("the node does not catch up")
                if node.ended:
                    raise node.explain_end()
                time.sleep(POLL_S)
            took_s = time.monotonic() - started
            primary_used, node_used = network.primary.cpu_s() - primary_cpu, node.cpu_s()
        finally:
            done.set()
        pace.result()
    network.check()
    return CatchUp(
        entries=target,
        seconds=round(took_s, 2),
        entries_per_s=round(target / took_s, 1),
        node_cpu_us=round(1e6 * node_used / target, 2),
        primary_cpu_us=round(1e6 * primary_used / target, 2),
        pace_rate=round(before.requests / before.duration_us * 1e6, 1),
        p99_before_ms=before.p99_us / 1000,
        p99_meanwhile_ms=round(overall_p99_ms(meanwhile, took_s), 3),
        errors=before.errors.total + sum(c.errors.total for c in meanwhile),
    )


def overall_p99_ms(rounds: Sequence[Counted], took_s: float) -> float:
    """The worst p99 of the rounds that fell into the time."""
    count = max(1, min(len(rounds), int(took_s // PACE_ROUND_S) + 1))
    return max(c.p99_us for c in rounds[:count]) / 1000
