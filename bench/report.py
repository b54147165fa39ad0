"""What comes out: the table, the JSON file and the plot."""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.errors import BenchError
from bench.generator import ROOT
from bench.measure import Outcome
from bench.rows import Row

FORMAT: Final = 1
_HEADINGS: Final = ("work", "edgeroot", "reference", "of", "ratio", "target", "")


@dataclass(frozen=True, slots=True)
class Finished:
    """A row that was measured, or the reason why it could not be."""

    row: Row
    outcome: Outcome

    @property
    def verdict(self) -> str:
        passed = self.row.passes(self.outcome)
        return "not measured" if passed is None else "pass" if passed else "FAIL"


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:,.3g} {unit}"


def _cells(done: Finished) -> tuple[str, ...]:
    row, outcome = done.row, done.outcome
    return (
        row.title,
        _figure(outcome.ours, row.unit),
        _figure(outcome.reference, row.unit),
        outcome.reference_name,
        "–" if outcome.ratio is None else f"{outcome.ratio:.2f} ×",
        f"{'≥' if row.at_least else '≤'} {row.target:g} ×",
        done.verdict,
    )


def _remarks(finished: Sequence[Finished]) -> list[str]:
    return [
        f"{done.row.key}: {text}" for done in finished for text in (*done.outcome.faults, *done.outcome.notes) if text
    ]


def print_table(finished: Sequence[Finished]) -> None:
    """The table on standard output: styled on a terminal, aligned plain text elsewhere."""
    lines = [_cells(done) for done in finished]
    if sys.stdout.isatty():
        _print_styled(lines)
    else:
        widths = [max(len(line[i]) for line in [_HEADINGS, *lines]) for i in range(len(_HEADINGS))]
        for line in [_HEADINGS, *lines]:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    for remark in _remarks(finished):
        print(f"  {remark}")


def _print_styled(lines: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*_HEADINGS)
    styles = {"pass": "green", "FAIL": "bold red"}
    for line in lines:
        table.add_row(*line, style=styles.get(line[-1], "yellow") if line[-1] != "pass" else None)
    Console().print(table)


def machine() -> dict[str, object]:
    """Where the figures come from."""
    cpu = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip() or None,
        "load_average": os.getloadavg(),
    }


def write_json(path: Path, finished: Sequence[Finished], context: Mapping[str, object]) -> None:
    """Everything that was seen, every round of it."""
    rows = [
        {
            "key": done.row.key,
            "title": done.row.title,
            "unit": done.row.unit,
            "edgeroot": done.outcome.ours,
            "reference": done.outcome.reference,
            "reference_name": done.outcome.reference_name,
            "ratio": done.outcome.ratio,
            "target": done.row.target,
            "bound": "at least" if done.row.at_least else "at most",
            "passed": done.row.passes(done.outcome),
            "faults": done.outcome.faults,
            "notes": done.outcome.notes,
            "rounds": done.outcome.rounds,
        }
        for done in finished
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"format": FORMAT, **context, "rows": rows}, indent=1, ensure_ascii=False) + "\n")


def write_plot(path: Path, finished: Sequence[Finished]) -> None:
    """How far each row is on the good side of its target: 1 is the target itself, right of it is better.

    Raises BenchError if matplotlib is not installed.
    """
    try:
        matplotlib = importlib.import_module("matplotlib")
        matplotlib.use("Agg")
        pyplot = importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        raise BenchError("no plot: matplotlib is not installed (pip install 'edgeroot[bench]')") from error
    measured = [done for done in finished if done.outcome.ratio]
    margins, labels, colours = [], [], []
    for done in measured:
        ratio, target = done.outcome.ratio or 1.0, done.row.target
        margins.append(ratio / target if done.row.at_least else target / ratio)
        sign = "≥" if done.row.at_least else "≤"
        labels.append(f"{done.row.title}\n{ratio:.2f} × (target {sign} {target:g} ×)")
        colours.append("#2f7d4f" if done.row.passes(done.outcome) else "#b3392f")
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.5 * len(measured)), layout="constrained")
    axes.barh(range(len(measured)), [margin - 1 for margin in margins], left=1, color=colours, height=0.6)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(measured)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("times better than the target (1: just reached)")
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10) if min([0.5, *margins]) <= tick <= max([2, *margins]) * 1.2]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.grid(axis="x", alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
