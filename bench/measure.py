"""How each kind of row is measured: services in turn under the same load, ratios of pairs within a round."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from bench.errors import BenchError
from bench.generator import Generator, Load, LoadResult
from bench.services import Edgeroot, Running, upstream

KEPT_REQUESTS: Final = 1000
IDLE_CONNECTIONS: Final = 2000
DRIBBLERS: Final = 64
KEY_GENERATORS: Final = 64
MEMORY_LIMIT_MB: Final = 60.0
IDLE_CPU_LIMIT_PERCENT: Final = 2.0
# Users without an entry in the password file: the clients, and those who disturb them.
CLIENT_UID: Final = 64002
OTHER_UID: Final = 64003

Start = Callable[[], AbstractContextManager[Running]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row's figures: medians over the rounds; ``ratio`` is the median of the rounds' ratios, None if not measured."""

    ours: float | None
    reference: float | None
    reference_name: str
    ratio: float | None
    rounds: Sequence[object] = ()
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()  # what makes the row fail whatever the ratio


@dataclass(slots=True)
class Bench:
    """What the rows share: the services, the generator, and how long and how often to measure."""

    generator: Generator
    folder: Path  # on a real disk; both services keep their keys below it
    edgeroot: Edgeroot | None
    with_upstream: bool
    rounds: int
    seconds: float
    warm_up_s: float
    many_keys: int
    say: Callable[[str], None]
    filled: set[str] = field(default_factory=set)

    def ours(self, store: str = "main") -> AbstractContextManager[Running]:
        """Our service on a store that keeps its keys from one start to the next."""
        if self.edgeroot is None:
            raise BenchError("edgeroot is not there to be measured")
        return self.edgeroot(store)

    def run(self, load: Load, service: Running, *, seconds: float | None = None) -> LoadResult:
        """One load for the usual time, as the client user where this process may change users."""
        if load.uid is None and os.geteuid() == 0:
            load = replace(load, uid=CLIENT_UID)
        return self.generator.run(
            load, service.socket_path, seconds=self.seconds if seconds is None else seconds, warm_up_s=self.warm_up_s
        )

    def store_with(self, keys: int) -> str:
        """The name of a store of ours that holds this many P-256 keys, created through the service if need be."""
        store = f"keys-{keys}"
        if store not in self.filled:
            with self.ours(store) as service:
                if keys:
                    self.say(f"creating {keys} keys")
                    began = time.monotonic()
                    made = self.run(Load("mkkeys", clients=32, count=keys, timeout_ms=120_000), service)
                    if made.ok != keys:
                        raise BenchError(f"only {made.ok} of {keys} keys could be created: {dict(made.errors)}")
                    self.say(f"created {keys} keys in {time.monotonic() - began:.0f} s")
            self.filled.add(store)
        return store


def _failures(name: str, results: Sequence[LoadResult]) -> tuple[str, ...]:
    """A line about answers with an error, if there were any; a load that got nothing done counts as one."""
    counts: dict[str, int] = {}
    for result in results:
        for kind, count in result.errors.items():
            counts[kind] = counts.get(kind, 0) + count
        if not result.ok:
            counts["nothing answered"] = counts.get("nothing answered", 0) + 1
    return (f"{name}: errors {counts}",) if counts else ()


def _in_turn(bench: Bench, load: Load, contenders: dict[str, Start]) -> dict[str, list[LoadResult]]:
    """Run the load on each contender, one at a time, once a round; another one begins each round."""
    results: dict[str, list[LoadResult]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(bench.rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            with contenders[name]() as service:
                results[name].append(bench.run(load, service))
        seen = ", ".join(f"{name} {results[name][-1].rate:,.0f}/s" for name in names)
        bench.say(f"round {number + 1}/{bench.rounds}: {seen}")
    return results


def _contenders(bench: Bench, idle_sleeps_ms: Sequence[int | None]) -> dict[str, Start]:
    contenders: dict[str, Start] = {}
    if bench.edgeroot is not None:
        contenders["edgeroot"] = bench.ours
    for idle_sleep_ms in idle_sleeps_ms if bench.with_upstream else ():
        name = "upstream" if idle_sleep_ms is None else f"upstream, idle {idle_sleep_ms} ms"
        contenders[name] = partial(upstream, idle_sleep_ms=idle_sleep_ms, folder=bench.folder)
    return contenders


def _compare(
    bench: Bench,
    load: Load,
    idle_sleeps_ms: Sequence[int | None],
    figure: Callable[[LoadResult], float],
    *,
    more_is_better: bool,
) -> Outcome:
    """Ours against upstream in the tuning that suits it better; the ratio says how many times better ours is."""
    results = _in_turn(bench, load, _contenders(bench, idle_sleeps_ms))
    figures = {name: [figure(result) for result in runs] for name, runs in results.items()}
    ours = figures.pop("edgeroot", None)
    best = (max if more_is_better else min)(figures, key=lambda name: median(figures[name]), default=None)
    ratio = None
    if ours is not None and best is not None and all(ours) and all(figures[best]):
        pairs = zip(ours, figures[best], strict=True)
        ratio = median(mine / theirs if more_is_better else theirs / mine for mine, theirs in pairs)
    notes = [line for name in figures for line in _failures(name, results[name])]
    notes += [f"{name}: {median(figures[name]):,.0f}" for name in figures if name != best]
    return Outcome(
        ours=median(ours) if ours else None,
        reference=median(figures[best]) if best else None,
        reference_name=best or "upstream",
        ratio=ratio,
        rounds=[{name: asdict(runs[number]) for name, runs in results.items()} for number in range(bench.rounds)],
        notes=tuple(notes),
        faults=_failures("edgeroot", results.get("edgeroot", [])),
    )


def against_upstream(bench: Bench, load: Load) -> Outcome:
    """Requests a second, against upstream at the better of its two busy tunings."""
    return _compare(bench, load, (0, 1), lambda result: result.rate, more_is_better=True)


def lone_latency(bench: Bench) -> Outcome:
    """Median latency of one client, against upstream as it is shipped."""
    return _compare(bench, Load("ping", clients=1), (None,), lambda result: result.p50_us, more_is_better=False)


def _own_pair(
    bench: Bench,
    first: Callable[[], LoadResult],
    second: Callable[[], LoadResult],
    *,
    number: int,
) -> tuple[LoadResult, LoadResult]:
    """Both loads; which one is run first changes from round to round."""
    if number % 2:
        later = second()
        return first(), later
    earlier = first()
    return earlier, second()


def _own_outcome(
    pairs: Sequence[tuple[LoadResult, LoadResult]],
    figure: Callable[[LoadResult], float],
    reference_name: str,
    *,
    notes: tuple[str, ...] = (),
) -> Outcome:
    """Our figure over our reference figure, for pairs of (the case in question, the reference)."""
    faults = _failures("edgeroot", [result for pair in pairs for result in pair])
    sound = [(figure(case), figure(reference)) for case, reference in pairs if case.ok and reference.ok]
    return Outcome(
        ours=median(case for case, _ in sound) if sound else None,
        reference=median(reference for _, reference in sound) if sound else None,
        reference_name=reference_name,
        ratio=median(case / reference for case, reference in sound) if sound else None,
        rounds=[{"case": asdict(case), "reference": asdict(reference)} for case, reference in pairs],
        notes=notes,
        faults=faults,
    )


def _rate(result: LoadResult) -> float:
    return result.rate


def _p99(result: LoadResult) -> float:
    return result.p99_us


def _cost(result: LoadResult) -> float:
    """Microseconds of the whole service's time for one request."""
    return 1e6 / result.rate


def kept_connections(bench: Bench, load: Load) -> Outcome:
    """Rate with kept connections over the rate with a new connection for each request."""
    kept = replace(load, requests_per_connection=KEPT_REQUESTS)
    pairs = []
    for number in range(bench.rounds):
        with bench.ours() as service:
            case, new = _own_pair(
                bench, lambda: bench.run(kept, service), lambda: bench.run(load, service), number=number
            )
        bench.say(f"round {number + 1}/{bench.rounds}: kept {case.rate:,.0f}/s, new {new.rate:,.0f}/s")
        pairs.append((case, new))
    return _own_outcome(pairs, _rate, "edgeroot, new connections")


def start_up(bench: Bench) -> Outcome:
    """Milliseconds from starting the process to its first answered ping, with many keys and with none."""
    none, many = bench.store_with(0), bench.store_with(bench.many_keys)
    pairs: list[tuple[float, float]] = []
    for number in range(max(bench.rounds, 5)):
        taken_ms = {}
        for store in (none, many) if number % 2 else (many, none):
            with bench.ours(store) as service:
                taken_ms[store] = service.start_s * 1000
        pairs.append((taken_ms[many], taken_ms[none]))
        bench.say(f"start {number + 1}: {taken_ms[many]:.0f} ms with keys, {taken_ms[none]:.0f} ms without")
    return Outcome(
        ours=median(case for case, _ in pairs),
        reference=median(reference for _, reference in pairs),
        reference_name="edgeroot, no keys",
        ratio=median(case / reference for case, reference in pairs),
        rounds=[{"case_ms": case, "reference_ms": reference} for case, reference in pairs],
        notes=(f"{bench.many_keys} keys",),
    )


def same_key(bench: Bench) -> Outcome:
    """Time that signing with always the same key takes, among many keys and among ten."""
    few, many = bench.store_with(10), bench.store_with(bench.many_keys)

    def sign_in(store: str) -> LoadResult:
        with bench.ours(store) as service:
            return bench.run(Load("sign"), service)

    pairs = []
    for number in range(bench.rounds):
        pairs.append(_own_pair(bench, lambda: sign_in(many), lambda: sign_in(few), number=number))
        bench.say(f"round {number + 1}/{bench.rounds}: {pairs[-1][0].rate:,.0f}/s, of ten {pairs[-1][1].rate:,.0f}/s")
    return _own_outcome(pairs, _cost, "edgeroot, 10 keys", notes=(f"{bench.many_keys} keys",))


def random_key(bench: Bench) -> Outcome:
    """Rate of signing with a random one of many keys over that with always the same of them."""
    rotating, pairs = Load("signrot", count=bench.many_keys), []
    store = bench.store_with(bench.many_keys)
    for number in range(bench.rounds):
        with bench.ours(store) as service:
            any_of_them, one = _own_pair(
                bench, lambda: bench.run(rotating, service), lambda: bench.run(Load("sign"), service), number=number
            )
        bench.say(f"round {number + 1}/{bench.rounds}: any {any_of_them.rate:,.0f}/s, the same {one.rate:,.0f}/s")
        pairs.append((any_of_them, one))
    return _own_outcome(pairs, _rate, "edgeroot, one key", notes=(f"{bench.many_keys} keys",))


@contextmanager
def disturbed(bench: Bench, service: Running, loads: Sequence[Load], settle_s: float) -> Iterator[list[object]]:
    """The loads of another user run inside the block; the yielded list then holds what they report."""
    reports: list[object] = []
    with ExitStack() as stack:
        seen = [stack.enter_context(bench.generator.background(load, service.socket_path)) for load in loads]
        time.sleep(settle_s)
        yield reports
    reports += seen


def _beside(bench: Bench, load: Load, disturbing: Sequence[Load], *, settle_s: float) -> Outcome:
    """The p99 of a load beside another user's over its quiet p99."""
    pairs, reports, store = [], [], "two-users"
    seconds = max(bench.seconds, 2.0)  # a 99th percentile needs more samples than a mean
    for number in range(bench.rounds):
        with bench.ours(store) as service:
            quiet = bench.run(load, service, seconds=seconds)
            with disturbed(bench, service, disturbing, settle_s) as seen:
                beside = bench.run(load, service, seconds=seconds)
        bench.say(f"round {number + 1}/{bench.rounds}: p99 {beside.p99_us:,.0f} µs, quiet {quiet.p99_us:,.0f} µs")
        pairs.append((beside, quiet))
        reports.append(seen)
    outcome = _own_outcome(pairs, _p99, "edgeroot, quiet")
    rounds = [{"round": one, "other_user": report} for one, report in zip(outcome.rounds, reports, strict=True)]
    return replace(outcome, rounds=rounds)


def beside_idle_connections(bench: Bench, load: Load) -> Outcome:
    """p99 beside idle connections, re-opened a second after they were closed, and clients that send byte by byte."""
    idle = Load("idle", clients=IDLE_CONNECTIONS, uid=OTHER_UID)
    dribble = Load("dribble", clients=DRIBBLERS, uid=OTHER_UID)
    # Long enough for the first of them to have been closed for their silence and opened again.
    return _beside(bench, load, (idle, dribble), settle_s=2.0)


def beside_key_generation(bench: Bench) -> Outcome:
    """p99 of signing beside another user's RSA-4096 key generation."""
    generate = Load("rsagen", clients=KEY_GENERATORS, threads=1, uid=OTHER_UID, timeout_ms=300_000, drain_ms=0)
    return _beside(bench, Load("sign"), (generate,), settle_s=1.0)


def idle_cpu(bench: Bench) -> Outcome:
    """Processor time of the idle service, in per cent of one core, against the limit."""
    shares = []
    for _ in range(min(bench.rounds, 3)):
        with bench.ours() as service:
            time.sleep(0.5)
            before, began = service.cpu_s(), time.monotonic()
            time.sleep(2)
            shares.append(100 * (service.cpu_s() - before) / (time.monotonic() - began))
    share = median(shares)
    return Outcome(share, IDLE_CPU_LIMIT_PERCENT, "limit", share / IDLE_CPU_LIMIT_PERCENT, rounds=shares)


def _memory_mb(pid: int) -> dict[str, float]:
    """Resident and proportional memory of a process in MB (10^6 bytes)."""
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        if name in {"Rss", "Pss"}:
            sizes[name.lower()] = int(rest.split()[0]) * 1024 / 1e6
    return sizes


def memory(bench: Bench) -> Outcome:
    """The largest resident memory among the service's child processes, after work and a second's rest."""
    with bench.ours() as service:
        for load in (Load("sign"), Load("rsasign"), Load("keygen")):
            bench.run(load, service)
        time.sleep(1)
        sizes = {pid: _memory_mb(pid) for pid in service.processes()}
    children = [size["rss"] for pid, size in sizes.items() if pid != service.pid]
    largest = max(children, default=sizes[service.pid]["rss"])
    described = ", ".join(f"{size['rss']:.0f} ({size['pss']:.0f})" for size in sizes.values())
    return Outcome(
        ours=largest,
        reference=MEMORY_LIMIT_MB,
        reference_name="limit",
        ratio=largest / MEMORY_LIMIT_MB,
        rounds=[{str(pid): size for pid, size in sizes.items()}],
        notes=(f"resident (proportional) MB, first process first: {described}",),
    )


def progress(text: str) -> None:
    """Progress goes to standard error, so that the table alone is the output."""
    print(text, file=sys.stderr, flush=True)
