"""Still pictures of a task and of a farm, in HTML that needs no script: they stay in a notebook."""

from collections.abc import Iterable, Sequence
from html import escape

from aifarm.sdk import Farm, Task

WIDTH, HEIGHT, MARGIN = 420, 120, 4
"""Of a curve, in pixels."""

POINTS = 200


def task(task: Task) -> str:
    """A task's state, its latest metrics, and a picture of each curve."""
    info = task.refresh()
    head = (
        f"<b>{escape(info.title or info.name)}</b> {escape(info.status)}, {info.progress:.0f} %"
        f" <small>{escape(info.submitter)}, <code>{escape(info.id[:8])}</code></small>"
    )
    message = f"<p>{escape(info.message)}</p>" if info.message else ""
    history = task.metrics(points=POINTS)
    curves = "".join(
        curve(name, columns["step"], columns["value"]) for name, columns in history.items()
    )
    return f"<div><p>{head}</p>{message}{curves}</div>"


def curve(name: str, steps: Sequence[float], values: Sequence[float | None]) -> str:
    """One metric over its steps, with the numbers at its ends in words."""
    points = [(s, v) for s, v in zip(steps, values, strict=True) if v is not None]
    if not points:
        return ""
    xs, ys = [s for s, _ in points], [v for _, v in points]
    wide, high = (max(xs) - min(xs)) or 1, (max(ys) - min(ys)) or 1
    drawn = " ".join(
        f"{MARGIN + (x - min(xs)) / wide * (WIDTH - 2 * MARGIN):.1f},"
        f"{HEIGHT - MARGIN - (y - min(ys)) / high * (HEIGHT - 2 * MARGIN):.1f}"
        for x, y in points
    )
    words = f"{escape(name)}: {ys[-1]:.4g} at step {xs[-1]} ({min(ys):.4g} to {max(ys):.4g})"
    return (
        f'<figure style="display:inline-block;margin:0 1em 1em 0"><svg width="{WIDTH}"'
        f' height="{HEIGHT}" role="img" aria-label="{words}"><polyline fill="none" stroke="#1f5fbf"'
        f' stroke-width="1.5" points="{drawn}"/></svg><figcaption><small>{words}</small>'
        "</figcaption></figure>"
    )


def runs(tasks: Iterable[Task]) -> str:
    """A table of tasks."""
    rows = [
        (
            one.info.title or one.info.name,
            one.info.status,
            f"{one.info.progress:.0f} %",
            one.info.submitter,
            one.info.id[:8],
        )
        for one in tasks
    ]
    return (
        _table(("task", "state", "progress", "submitter", "id"), rows) if rows else "No task yet."
    )


def farm(farm: Farm) -> str:
    """The machines of a farm and what each does."""
    rows = []
    for client in farm.clients():
        resources = client.info.resources
        gpus = ", ".join(gpu.name for gpu in resources.gpu) if resources else ""
        held = ", ".join(f"{one.id[:8]} {one.status}" for one in client.info.tasks)
        rows.append((client.id, client.status, gpus, held))
    words = _table(("machine", "state", "GPUs", "tasks"), rows) if rows else "No machine yet."
    return f"<div><p><b>AI Farm</b> at {escape(farm.url)}</p>{words}</div>"


def problem(sentence: str) -> str:
    """Why there is nothing to show."""
    return f"<p>{escape(sentence)}</p>"


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
