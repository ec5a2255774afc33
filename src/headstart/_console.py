"""What people see while a run goes on: a progress bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from headstart.protocol.training import Progress


@contextmanager
def progress(title: str, quiet: bool = False) -> Generator[Callable[[Progress], None]]:
    """A function to call with each `Progress` of a run; it writes to stderr, so that stdout stays for results."""
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        with _bar(title) as show:
            yield show
    else:
        yield lines(title)


def _speed(begun: list[float], reached: Progress) -> tuple[float, float]:
    """Steps a second since the first chunk (whose time is mostly compilation), and seconds left."""
    now = time.monotonic()
    if not begun:
        begun.extend((now, float(reached.steps)))
        return 0.0, 0.0
    rate = (reached.steps - begun[1]) / max(now - begun[0], 1e-9)
    return rate, (reached.budget - reached.steps) / max(rate, 1e-9)


def _busy(reached: Progress) -> str:
    """How busy the two sides of a host loop were; nothing where all is on the device."""
    if "simulating" not in reached.metrics:
        return ""
    simulating, learning = (100 * reached.metrics[side] for side in ("simulating", "learning"))
    deaths = f", {reached.metrics['deaths']:.0f} died" if reached.metrics["deaths"] else ""
    return f"  simulators {simulating:.0f} %, learner {learning:.0f} % busy{deaths}"


def lines(title: str) -> Callable[[Progress], None]:
    """A function that writes a line to stderr for each `Progress`."""
    begun: list[float] = []

    def show(reached: Progress) -> None:
        rate, left = _speed(begun, reached)
        speed = f"  {rate:,.0f} steps/s  {left:.0f} s left" if rate else ""
        print(
            f"{title}  {reached.steps:,}/{reached.budget:,} steps  return {reached.episode_return:.3f}"
            f"{speed}{_busy(reached)}",
            file=sys.stderr,
            flush=True,
        )

    return show


@contextmanager
def _bar(title: str) -> Generator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        "[bold]{task.description}",
        "{task.fields[steps]}",
        "{task.fields[more]}",
    )
    with Bar(
        TextColumn(columns[0]),
        BarColumn(),
        TextColumn(columns[1]),
        TextColumn(columns[2]),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as bar:
        line = bar.add_task(title, total=None, steps="", more="compiling")
        begun: list[float] = []

        def show(reached: Progress) -> None:
            rate, _ = _speed(begun, reached)
            steps = f"{reached.steps:,}/{reached.budget:,} steps"
            more = f"return {reached.episode_return:.3f}  {rate:,.0f} steps/s{_busy(reached)}"
            bar.update(line, total=reached.budget, completed=reached.steps, steps=steps, more=more)

        yield show


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table to stdout; the first column to the left, figures to the right."""
    from rich.console import Console
    from rich.table import Table

    grid = Table(title=title, title_justify="left", title_style="bold")
    for i, column in enumerate(columns):
        grid.add_column(column, justify="left" if i == 0 else "right")
    for row in rows:
        grid.add_row(*map(str, row))
    Console(width=None if sys.stdout.isatty() else 120).print(grid)
