"""One line a task while it trains: a live display on a terminal, else a line now and then."""

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from aifarm.cli.render import COLOURS
from aifarm.cli.words import NONE, duration, label, number
from aifarm.sdk import Farm, Task
from aifarm.wire.rest import TaskFull

SHOWN = ("loss", "accuracy", "learning_rate")
WIDE = 100
"""Columns from which on a terminal has room for bars."""
STEP = 10.0
"""Percent between two lines of one task where no terminal shows the live ones."""


def follow(farm: Farm, tasks: Sequence[Task], out: Console | None = None) -> None:
    """Shows `tasks` on `out` (default: stderr) until all are over; their `info` is current then."""
    out = out or Console(stderr=True, highlight=False)
    if out.is_terminal:
        _live(farm, tasks, out)
    else:
        _lines(farm, tasks, out)


def _live(farm: Farm, tasks: Sequence[Task], out: Console) -> None:
    with Live(console=out, get_renderable=lambda: _table(tasks, out.width)) as display:
        for _ in farm.watch(*tasks):
            display.refresh()


def _lines(farm: Farm, tasks: Sequence[Task], out: Console) -> None:
    shown: dict[str, tuple[str, float]] = {}
    for task in farm.watch(*tasks):
        info = task.info
        state, progress = shown.get(info.id, ("", 0.0))
        if info.status != state or info.progress >= progress + STEP:
            shown[info.id] = info.status, info.progress - info.progress % STEP
            out.print(_line(info), soft_wrap=True)


def _line(info: TaskFull) -> Text:
    words = [label(info.name, info.version), info.id[:8], info.status, f"{info.progress:.0f} %"]
    words += [f"{name} {number(info.metrics[name])}" for name in SHOWN if name in info.metrics]
    if info.clients:
        words.append("on " + ", ".join(info.clients))
    if info.status == "failed" and info.message:
        words.append(info.message)
    return Text("  ".join(words))


def _table(tasks: Sequence[Task], width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    roomy = width >= WIDE
    for title in ("task", "state", *([""] if roomy else []), "", "loss", "accuracy", "lr", "time"):
        table.add_column(title, no_wrap=True)
    table.add_column("clients")
    for info in (task.info for task in tasks):
        bar = ProgressBar(total=100, completed=info.progress, width=16)
        table.add_row(
            f"{info.name} {info.id[:8]}",
            Text(info.status, COLOURS.get(info.status, "")),
            *([bar] if roomy else []),
            f"{info.progress:5.1f} %",
            *(number(info.metrics[name]) if name in info.metrics else NONE for name in SHOWN),
            _elapsed(info),
            ", ".join(info.clients) or info.message or NONE,
        )
    return table


def _elapsed(info: TaskFull) -> str:
    if info.started_at is None:
        return NONE
    return duration(((info.ended_at or datetime.now(UTC)) - info.started_at).total_seconds())
