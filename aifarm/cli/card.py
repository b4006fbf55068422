"""One task as a card, and its story."""

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from aifarm.cli.render import COLOURS, console
from aifarm.cli.words import duration, label, local, memory, number, size
from aifarm.sdk import Checkpoint
from aifarm.wire.rest import Check, EventFull, Missing, TaskFull, Why
from aifarm.wire.types import Requirements

WIDTH = 100


def show(task: TaskFull, why: Why | None, checkpoint: Checkpoint | None) -> None:
    """Prints the card."""
    out = console()
    rows = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    for name, value in _facts(task, checkpoint):
        rows.add_row(name, value)
    parts: list[RenderableType] = [_headline(task), rows]
    if why is not None:
        parts += ["", _waits(why)]
    title = Text(f" {task.title or label(task.name, task.version)} · {task.id} ", "bold")
    style = COLOURS.get(task.status, "")
    out.print(
        Panel(
            Group(*parts),
            title=title,
            title_align="left",
            border_style=style,
            padding=(0, 1),
            width=min(out.width, WIDTH),
        )
    )


def story(events: Sequence[EventFull], *, named: bool = False) -> None:
    """Prints what happened, oldest first, in the reader's time zone. `named`: and to which task."""
    out = console()
    for event in events:
        line = [Text(local(event.at), "dim"), Text(event.message)]
        if named:
            line.insert(1, Text(f"{(event.task_id or '')[:8]:8}", "cyan"))
        out.print(*line, soft_wrap=True)


def reasons(why: Why) -> None:
    """Prints why a task waits."""
    console().print(_waits(why))


def check(found: Check) -> None:
    """Prints what would become of a submission."""
    out = console()
    out.print(Text(found.summary, "green" if found.would_start else "yellow"))
    if found.fits:
        out.print(f"It fits now: {', '.join(found.fits)}")
    if found.could:
        out.print(f"It fits once they are free: {', '.join(found.could)}")
    for hint in found.hints:
        out.print(Text(f"  {hint}"))
    if found.pace:
        out.print(Text(found.pace))
    if found.misses:
        out.print(_misses(found.misses))


def _headline(task: TaskFull) -> RenderableType:
    line = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=100, completed=task.progress, width=32)
    wish = "" if task.desired in (task.status, "running") else f" (to be {task.desired})"
    state = Text(task.status + wish, COLOURS.get(task.status, ""))
    line.add_row(state, bar, Text(f"{task.progress:.1f} %"))
    return line


def _facts(task: TaskFull, checkpoint: Checkpoint | None) -> list[tuple[str, str | Text]]:
    facts: list[tuple[str, str | Text]] = []
    if task.message and task.status == "failed":
        facts.append(("cause", Text(f"{task.cause}: {task.message}", "red")))
    elif task.message:
        facts.append(("cause", task.message))
    if task.title:
        facts.append(("package", label(task.name, task.version)))
    for name, about in (("project", task.project), ("tags", ", ".join(task.tags))):
        if about:
            facts.append((name, about))
    if task.notes:
        facts.append(("notes", task.notes))
    if task.parent:
        facts.append(("parent", task.parent[:8]))
    if task.metrics:
        shown = (f"{name} {number(value)}" for name, value in sorted(task.metrics.items()))
        facts.append(("metrics", "   ".join(shown)))
    if task.clients:
        facts.append(("clients", _clients(task)))
    facts += [("attempt", _attempt(task)), ("needs", _needs(task))]
    if task.config:
        facts.append(("config", "   ".join(f"{key}={value}" for key, value in task.config.items())))
    if task.data:
        facts.append(("data", "\n".join(f"{key}={ref.url}" for key, ref in task.data.items())))
    if checkpoint is not None:
        facts.append(
            (
                "checkpoint",
                f"step {checkpoint.step}, {size(checkpoint.size)}, sha256 {checkpoint.sha256}",
            )
        )
    facts.append(("submitted", f"{local(task.created_at)} by {task.submitter}"))
    return facts


def _clients(task: TaskFull) -> str:
    if len(task.clients) == 1:
        return task.clients[0]
    return ", ".join(f"{client} (rank {rank})" for rank, client in enumerate(task.clients))


def _attempt(task: TaskFull) -> str:
    if not task.attempt:
        return "none yet"
    if not task.started_at:
        return f"{task.attempt}, starting"
    took = duration(((task.ended_at or datetime.now(UTC)) - task.started_at).total_seconds())
    since = f"took {took}" if task.ended_at else f"running for {took}"
    return f"{task.attempt}, {since}"


def _needs(task: TaskFull) -> str:
    needs: Requirements = task.requirements
    gpu = f", a GPU with {memory(needs.min_gpu_memory)}" if needs.min_gpu_memory else ""
    each = f"{task.n_clients} clients, each " if task.n_clients > 1 else ""
    if task.processes_per_client == "gpu":
        each += "a process for each GPU, each "
    elif task.processes_per_client > 1:
        each += f"{task.processes_per_client} processes, each "
    cores = f"{needs.min_cpu_cores} core{'s' * (needs.min_cpu_cores != 1)}"
    return f"{each}{cores}, {memory(needs.min_ram)} memory{gpu}"


def _waits(why: Why) -> RenderableType:
    place = f" It is number {why.position} in the queue." if why.position else ""
    hints = [Text(f"  {hint}") for hint in why.hints]
    misses = [_misses(why.clients)] if why.clients else []
    return Group(Text(why.summary + place, "bold"), *hints, *misses)


def _misses(missing: Sequence[Missing]) -> Table:
    rows = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 2))
    for one in missing:
        reason = Text(one.reason, "dim" if one.never else "")
        if one.tasks:
            held = ", ".join(f"{task.id[:8]} of {task.submitter}" for task in one.tasks)
            reason.append(f" (held by {held})")
        rows.add_row(one.client, reason)
    return rows
