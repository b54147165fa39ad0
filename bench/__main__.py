"""``python -m bench``: measure edgeroot against its targets, beside upstream's genuine service.

Exit code: 0 if every row that could be measured keeps its promise, 1 if one does not, 2 if nothing could be measured,
130 if interrupted.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Never

from bench.errors import BenchError
from bench.generator import ROOT, Generator
from bench.measure import Bench, Outcome, progress
from bench.report import Finished, machine, print_table, write_json, write_plot
from bench.rows import ROWS, Row
from bench.services import Edgeroot
from peers import PeersRoot, PeersUnavailableError

_MEMORY_FILE_SYSTEMS = {"tmpfs", "ramfs"}
_SERVICE_UID = 64001


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.partition(":")[2].partition("\n")[0])
    parser.add_argument("--rows", help="only these, by comma: " + " ".join(row.key for row in ROWS))
    parser.add_argument("--rounds", type=int, help="how often each row is measured (default 5)")
    parser.add_argument("--seconds", type=float, help="measured time of each load (default 1.5)")
    parser.add_argument("--keys", type=int, help="what 'many keys' means (default 100000)")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 0.5 s, 10000 keys: a look, not a measurement")
    parser.add_argument("--json", type=Path, default=ROOT / "build/bench/results.json", metavar="PATH")
    parser.add_argument("--plot", type=Path, metavar="PATH", help="default: beside the JSON file")
    parser.add_argument("--skip-upstream", action="store_true", help="measure edgeroot alone")
    parser.add_argument("--edgeroot", default=str(ROOT / ".venv/bin/edgeroot"), metavar="COMMAND")
    parser.add_argument("--state", type=Path, default=Path("/var/tmp"), metavar="DIR", help="a folder on a real disk")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.seconds = options.seconds or (0.5 if options.quick else 1.5)
    options.keys = options.keys or (10_000 if options.quick else 100_000)
    options.plot = options.plot or options.json.with_suffix(".png")
    known = {row.key: row for row in ROWS}
    wanted = options.rows.split(",") if options.rows else [row.key for row in ROWS if not row.by_name]
    for key in wanted:
        if key not in known:
            parser.error(f"no row {key}; there are: {' '.join(known)}")
    options.rows = [known[key] for key in wanted]
    if options.rounds < 1 or options.seconds <= 0 or options.keys < 1:
        parser.error("--rounds, --seconds and --keys must be above zero")
    return options


def _disk_of(folder: Path) -> str:
    """Type and device of the file system that holds the folder. Raises BenchError if it is only memory."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    here = [(len(where), kind, device) for device, where, kind, *_ in mounts if folder.is_relative_to(where)]
    _, kind, device = max(here)
    if kind in _MEMORY_FILE_SYSTEMS:
        raise BenchError(f"{folder} is on {kind}, where durable writes cost nothing: choose a real disk with --state")
    return f"{kind} on {device}"


def _edgeroot(options: argparse.Namespace, folder: Path) -> Edgeroot | None:
    command = shlex.split(options.edgeroot)
    if not command or shutil.which(command[0]) is None:
        progress(f"edgeroot itself is not measured: {options.edgeroot} is not there")
        return None
    return Edgeroot(command, folder=folder, uid=_SERVICE_UID)


def _upstream_there() -> bool:
    try:
        PeersRoot.ready()
    except PeersUnavailableError as error:
        progress(f"upstream is not measured: {error}")
        return False
    return True


def _lacking(row: Row, bench: Bench) -> str | None:
    """What the row can't be measured without. A comparison is worth its half when only one side is there."""
    if "root" in row.needs and os.geteuid() != 0:
        return "takes root, for a second user"
    sides = {"edgeroot": bench.edgeroot is not None, "upstream": bench.with_upstream}
    if not any(there for side, there in sides.items() if side in row.needs):
        return "the service is not there"
    return None


def _measure(rows: Sequence[Row], bench: Bench, finished: list[Finished]) -> None:
    for number, row in enumerate(rows, 1):
        progress(f"[{number}/{len(rows)}] {row.title}")
        lacking = _lacking(row, bench)
        try:
            outcome = Outcome(None, None, "", None, notes=(lacking,)) if lacking else row.measure(bench)
        except BenchError as error:
            outcome = Outcome(None, None, "", None, faults=(str(error),))
        finished.append(Finished(row, outcome))


def _bench(options: argparse.Namespace, folder: Path, finished: list[Finished]) -> dict[str, object]:
    """Measure all rows into ``finished``; what is returned is the context that the JSON file records."""
    started = machine()
    disk = _disk_of(folder)
    progress(f"both services keep their keys below {folder} ({disk})")
    bench = Bench(
        generator=Generator(),
        folder=folder,
        edgeroot=_edgeroot(options, folder),
        with_upstream=not options.skip_upstream and _upstream_there(),
        rounds=options.rounds,
        seconds=options.seconds,
        warm_up_s=min(0.4, options.seconds),
        many_keys=options.keys,
        say=lambda text: progress(f"    {text}"),
    )
    _measure(options.rows, bench, finished)
    notes = bench.edgeroot.notes if bench.edgeroot else []
    for note in notes:
        progress(note)
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": started,
        "settings": {
            "rounds": options.rounds,
            "seconds": options.seconds,
            "warm_up_s": bench.warm_up_s,
            "many_keys": options.keys,
            "quick": options.quick,
            "edgeroot": options.edgeroot if bench.edgeroot else None,
            "upstream": "Debian trixie's parsec-service" if bench.with_upstream else None,
            "stores": f"below {folder.parent} ({disk})",
        },
        "notes": notes,
    }


def _interrupt(number: int, _frame: object) -> Never:
    raise KeyboardInterrupt(signal.Signals(number).name)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):  # even where a shell without job control has it ignored
        signal.signal(number, _interrupt)
    finished: list[Finished] = []
    try:
        with tempfile.TemporaryDirectory(prefix="edgeroot-bench-", dir=options.state) as name:
            folder = Path(name).resolve()
            folder.chmod(0o755)
            context = _bench(options, folder, finished)
    except KeyboardInterrupt:
        progress("interrupted; what was measured until then:")
        print_table(finished)
        return 130
    except (BenchError, OSError) as error:
        progress(f"bench: {error}")
        return 2
    print_table(finished)
    write_json(options.json, finished, context)
    progress(f"results: {options.json}")
    try:
        write_plot(options.plot, finished)
        progress(f"plot: {options.plot}")
    except BenchError as error:
        progress(str(error))
    verdicts = [done.row.passes(done.outcome) for done in finished]
    if not any(verdict is not None for verdict in verdicts):
        return 2
    return 1 if False in verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
