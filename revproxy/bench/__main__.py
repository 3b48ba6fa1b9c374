"""The command line, the rounds and the table."""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from revproxy.bench.load import CONNECTIONS
from revproxy.bench.proxies import PROXIES, installed

if TYPE_CHECKING:
    from revproxy.bench.measure import Result

#: Workloads whose figure is seconds of CPU for a gigabyte, not microseconds for a request.
BY_SIZE = ("download", "upload")
#: What the ratios are to, where it is installed.
REFERENCE = "nginx"
#: A run is called noisy when others took more of the proxy's core than this share.
FOREIGN = 0.10
#: Two medians of the same thing can lie this far apart; what spreads more is called noisy.
SPREAD = 0.25


def positive(most: float) -> Callable[[str], float]:
    """A parser of numbers from above 0 to ``most``. It raises ArgumentTypeError."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value <= most:
            raise argparse.ArgumentTypeError(f"expected a number above 0, {most:g} at most")
        return value

    return parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (without the program's name); return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m revproxy.bench", description="CPU per request, side by side.")
    parser.add_argument("--seconds", type=positive(60), default=2.0, help="of each run (2)")
    parser.add_argument("--rounds", type=positive(20), default=3, help="of all proxies, one after another (3)")
    parser.add_argument("--workload", nargs="+", choices=list(CONNECTIONS), default=list(CONNECTIONS))
    parser.add_argument("--proxy", nargs="+", choices=list(PROXIES), help="those that are installed, by default")
    options = parser.parse_args(arguments)
    if not sys.platform.startswith("linux"):
        print("revproxy.bench: reads /proc and binds processes to cores; that is Linux only")
        return 1
    there = installed()
    absent = [name for name in PROXIES if name not in there]
    if absent:
        print(f"not installed: {', '.join(absent)}")
    wanted = [name for name in PROXIES if name in (options.proxy or there)]
    if missing := [name for name in wanted if name in absent]:
        print(f"revproxy.bench: {', '.join(missing)} can't be measured, install it first")
        return 1
    return compare(wanted, options.workload, options.seconds, max(1, round(options.rounds)))


def compare(names: Sequence[str], workloads: Sequence[str], seconds: float, rounds: int) -> int:
    """Measure and print; 1 when something gave no figure."""
    from revproxy.bench.measure import Failed, cores, measure, origins

    on = cores()
    if on.proxy == on.load:
        print("there is one core only: proxy, origin and load share it, so take no figure at its word")
    failed = False
    with tempfile.TemporaryDirectory(prefix="revproxy-bench-") as made, origins(Path(made), on) as ports:
        for workload in workloads:
            runs: dict[str, list[Result | None]] = {name: [] for name in names}
            for round_ in range(rounds):
                for name in names:
                    progress(f"{workload}: round {round_ + 1} of {rounds}, {name}")
                    try:
                        runs[name].append(measure(name, workload, seconds, Path(made), ports, on))
                    except Failed as e:
                        print(f"{workload}, {name}: {e}", file=sys.stderr)
                        runs[name].append(None)
                        failed = True
            progress("")
            print("\n".join(table(workload, runs, shared=on.proxy == on.load)), flush=True)
    return int(failed)


def progress(text: str) -> None:
    """Say on a terminal what goes on, in place of what was said before."""
    if sys.stderr.isatty():
        print(f"\r{text:60}\r", end="", file=sys.stderr, flush=True)


def table(workload: str, runs: Mapping[str, Sequence[Result | None]], shared: bool = False) -> list[str]:
    """The lines of one workload's table.

    :param runs: for each proxy the results of its rounds, ``None`` where one failed.
    :param shared: whether everything ran on one core.
    """
    by_size = workload in BY_SIZE
    figures = {name: [figure(workload, run) for run in of_name] for name, of_name in runs.items()}
    reference = figures.get(REFERENCE)
    unit = "CPU s/GB" if by_size else "CPU µs/request"
    lines = ["", f"{workload:10} {unit:>16} {'min-max':>15} {'x ' + REFERENCE:>8} {'rate':>14} {'errors':>7}  notes"]
    for name, of_name in runs.items():
        there = [value for value in figures[name] if value is not None]
        done = [run for run in of_name if run is not None]
        if not there:
            lines.append(f"{name:10} {'failed':>16}")
            continue
        middle = statistics.median(there)
        ratio = "-"
        if reference is not None:
            # of runs of the same round: what disturbs a machine lasts longer than a run
            pairs = [a / b for a, b in zip(figures[name], reference, strict=True) if a is not None and b]
            ratio = f"{statistics.median(pairs):.2f}" if pairs else "-"
        amount = statistics.median([(run.bytes / 1e9 if by_size else run.requests) / run.seconds for run in done])
        rate = f"{amount:.2f} GB/s" if by_size else f"{amount:,.0f}/s"
        digits = 2 if by_size else 1
        spread = f"{min(there):.{digits}f}-{max(there):.{digits}f}"
        errors = sum(run.errors for run in done)
        notes = notes_on(there, max(run.foreign for run in done), shared)
        if errors:
            notes.append(next(run.error for run in done if run.errors))
        lines.append(
            f"{name:10} {middle:16.{digits}f} {spread:>15} {ratio:>8} {rate:>14} {errors:7}"
            f"  {'; '.join(notes)}".rstrip()
        )
    return lines


def figure(workload: str, run: Result | None) -> float | None:
    """What a run cost: seconds for a gigabyte, or microseconds for a request; ``None`` when it failed."""
    if run is None:
        return None
    return run.cpu / (run.bytes / 1e9) if workload in BY_SIZE else run.cpu / run.requests * 1e6


def notes_on(figures: Sequence[float], foreign: float, shared: bool) -> list[str]:
    """What makes the figures doubtful, in words."""
    notes = []
    if shared:
        notes.append("noisy: one core for everything")
    elif foreign > FOREIGN:
        notes.append(f"noisy: others had {foreign:.0%} of its core")
    if max(figures) - min(figures) > SPREAD * statistics.median(figures):
        notes.append("noisy: rounds differ")
    return notes


def _terminated(number: int, frame: object) -> None:
    sys.exit(128 + number)  # what was started is stopped on the way out


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
