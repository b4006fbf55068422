"""Lists as tables for people and as JSON for programs; an empty one says what to do next."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from aifarm.cli.words import NONE, ago, label, local, memory, metrics, number, size, sparkline
from aifarm.sdk.differences import Difference
from aifarm.sdk.frames import History
from aifarm.wire.rest import (
    CheckpointFull,
    ClientFull,
    DataFull,
    OutputFull,
    PackageFull,
    TaskFull,
    TokenFull,
)

COLOURS = {
    "running": "green",
    "active": "green",
    "completed": "bold green",
    "failed": "bold red",
    "unreachable": "yellow",
    "paused": "yellow",
    "drained": "yellow",
    "pending": "cyan",
    "assigned": "cyan",
    "stopped": "dim",
    "offline": "dim",
}

WHOLE = frozenset({"ID", "STATUS", "PROGRESS", "CURVE", "AGE", "SIZE"})
"""Columns whose words are never broken over two lines."""

PIPED_WIDTH = 200
"""Columns where nobody's terminal limits the line."""


def console() -> Console:
    """For stdout: as wide as the terminal, and never cut for a pipe."""
    plain = Console(highlight=False)
    return plain if plain.is_terminal else Console(highlight=False, width=PIPED_WIDTH)


def json(value: object) -> None:
    """Prints `value` as the API's JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def line(value: object) -> None:
    """As `json`, on one line: one of many that come one by one."""
    click.echo(msgspec.json.encode(value))


def tasks(found: Sequence[TaskFull], columns: Sequence[str], *, filtered: bool) -> None:
    """The `columns` that were asked for, or else those that the line has room for."""
    hint = "No such task." if filtered else "No tasks yet. Submit one: aifarm submit NAME"
    if columns:
        table(found, hint, {name.upper(): partial(value, name=name) for name in columns})
        return
    table(
        found,
        hint,
        {
            "ID": lambda task: task.id[:8],
            "TITLE": lambda task: task.title or label(task.name, task.version),
            "STATUS": lambda task: status(task.status),
            "PROGRESS": lambda task: f"{task.progress:.0f} %",
            "METRICS": lambda task: metrics(task.metrics),
            "CLIENTS": lambda task: ", ".join(task.clients) or NONE,
            "SUBMITTER": lambda task: task.submitter,
            "PROJECT": lambda task: task.project or NONE,
            "TAGS": lambda task: ", ".join(task.tags) or NONE,
            "AGE": lambda task: ago(task.created_at),
        },
        spare=("TAGS", "PROJECT", "CLIENTS", "SUBMITTER", "METRICS"),
    )


def value(task: TaskFull, name: str) -> str:
    """A field of a task, `config.NAME`, or `metrics.NAME` with or without `.min` and the like."""
    if name == "id":
        return task.id[:8]
    group, _, inner = name.partition(".")
    found: object
    if group == "config" and inner:
        found = task.config
        for key in inner.split("."):
            found = found.get(key) if isinstance(found, dict) else None
    elif group == "metrics" and inner:
        metric, _, stat = inner.rpartition(".")
        summary = next((one for one in task.summaries or () if one.name == metric), None)
        found = getattr(summary, stat, None) if summary else task.metrics.get(inner)
    else:
        found = getattr(task, name)
    return _cell(found)


def _cell(found: object) -> str:
    if found is None or found == []:
        return NONE
    if isinstance(found, bool | str):
        return str(found)
    if isinstance(found, float):
        return number(found)
    if isinstance(found, datetime):
        return local(found)
    if isinstance(found, list) and all(isinstance(one, str) for one in found):
        return ", ".join(found)
    return msgspec.json.encode(found).decode()


def clients(found: Sequence[ClientFull]) -> None:
    hint = (
        "No clients yet. On a workstation: aifarm-agent --server ws://HOST:8765 --token-file FILE\n"
        "(make its token here: aifarm token create --role agent --name NAME)"
    )
    table(
        found,
        hint,
        {
            "ID": lambda client: client.id,
            "STATUS": lambda client: status("drained" if client.drained else client.status),
            "CORES": lambda client: str(client.resources.cpu.cores) if client.resources else NONE,
            "MEMORY": lambda client: (
                memory(client.resources.ram.total) if client.resources else NONE
            ),
            "GPUS": _gpus,
            "ENVIRONMENTS": lambda client: (
                ", ".join(one.name for one in client.environments) or NONE
            ),
            "TASKS": lambda client: ", ".join(task.id[:8] for task in client.tasks) or NONE,
            "LAST SEEN": lambda client: (
                "now" if client.status == "active" else f"{ago(client.last_seen)} ago"
            ),
        },
        spare=("ENVIRONMENTS", "CORES", "MEMORY"),
    )


def checkpoints(found: Sequence[CheckpointFull], task_id: str) -> None:
    best = next((one for one in found if one.best), None)
    table(
        found,
        f"Task {task_id[:8]} has no checkpoint yet: the first follows an epoch.",
        {
            "ID": lambda one: one.id[:8],
            "STEP": lambda one: str(one.step),
            "EPOCH": lambda one: NONE if one.epoch is None else str(one.epoch),
            "PROGRESS": lambda one: f"{one.progress:.0f} %",
            "SIZE": lambda one: size(one.size),
            "METRICS": lambda one: metrics(one.metrics),
            "KEPT": lambda one: _kept(one, best) or NONE,
            "AGE": lambda one: ago(one.created_at),
        },
        spare=("METRICS", "EPOCH"),
    )


def outputs(found: Sequence[OutputFull], task_id: str) -> None:
    table(
        found,
        f"Task {task_id[:8]} keeps no files yet: its `outputs` name them.",
        {
            "PATH": lambda one: one.path,
            "SIZE": lambda one: size(one.size),
            "ATTEMPT": lambda one: str(one.attempt) if one.attempt else NONE,
            "AGE": lambda one: ago(one.created_at),
        },
    )


def _kept(one: CheckpointFull, best: CheckpointFull | None) -> str:
    return " ".join(["pinned"] * one.pinned + ["best"] * (one is best) + ["final"] * one.final)


def curves(history: History, task_id: str, names: Sequence[str] = ()) -> None:
    which = f"metric {' or '.join(names)}" if names else "metrics yet"
    table(
        list(history.items()),
        f"Task {task_id[:8]} has reported no {which}.",
        {
            "METRIC": lambda one: one[0],
            "LAST": lambda one: number(one[1]["value"][-1]),
            "MIN": lambda one: number(_end(one[1]["min"], min)),
            "MAX": lambda one: number(_end(one[1]["max"], max)),
            "STEP": lambda one: str(one[1]["step"][-1]),
            "CURVE": lambda one: sparkline(one[1]["value"]),
        },
        spare=("STEP",),
    )


def differences(found: Sequence[Difference], first_id: str, second_id: str) -> None:
    table(
        found,
        "They do not differ.",
        {
            "WHAT": lambda one: one.what,
            first_id[:8]: lambda one: _exact(one.first),
            second_id[:8]: lambda one: _exact(one.second),
        },
    )


def packages(found: Sequence[PackageFull]) -> None:
    table(
        found,
        "No packages yet. Publish one: aifarm publish DIR --name NAME --version VERSION",
        {
            "NAME": lambda package: package.name,
            "VERSION": lambda package: package.version,
            "KIND": lambda package: package.kind,
            "SIZE": lambda package: size(package.size),
            "SHA256": lambda package: package.sha256[:12],
            "PUBLISHER": lambda package: package.publisher,
            "AGE": lambda package: ago(package.created_at),
        },
        spare=("SHA256", "KIND"),
    )


def data(found: Sequence[DataFull]) -> None:
    table(
        found,
        "No data yet. Put a file or folder: aifarm put PATH",
        {
            "NAME": lambda one: one.name,
            "KIND": lambda one: one.kind,
            "SIZE": lambda one: size(one.size),
            "SHA256": lambda one: one.sha256[:12],
            "PUT BY": lambda one: one.putter,
            "AGE": lambda one: ago(one.created_at),
        },
        spare=("KIND",),
    )


def tokens(found: Sequence[TokenFull]) -> None:
    table(
        found,
        "No tokens yet. Make one: aifarm token create --role researcher --name NAME",
        {
            "ID": lambda token: token.id[:8],
            "NAME": lambda token: token.name,
            "ROLE": lambda token: token.role,
            "CLIENT": lambda token: token.client_id or token.label or NONE,
            "STATUS": _validity,
            "AGE": lambda token: ago(token.created_at),
        },
    )


# ---------------------------------------------------------------- parts


def _exact(found: object) -> str:
    """With every digit: two numbers that differ are not to look the same."""
    if found is None:
        return NONE
    return found if isinstance(found, str) else msgspec.json.encode(found).decode()


def status(word: str) -> Text:
    return Text(word, COLOURS.get(word, ""))


Cell = str | Text


def table(
    rows: Sequence[Any],
    hint: str,
    columns: Mapping[str, Callable[[Any], Cell]],
    *,
    spare: Sequence[str] = (),
) -> None:
    """Prints the rows, or on stderr `hint` where there are none.

    Where the line is too short, the columns in `spare` go, the first one first.
    """
    if not rows:
        click.echo(hint, err=True)
        return
    out = console()
    kept = dict(columns)
    made = grid(rows, kept)
    endless = out.options.update(width=10_000)
    for title in spare:
        if Measurement.get(out, endless, made).maximum <= out.width:
            break
        del kept[title]
        made = grid(rows, kept)
    out.print(made)


def grid(rows: Iterable[Any], columns: Mapping[str, Callable[[Any], Cell]]) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in columns:
        made.add_column(title, overflow="fold", no_wrap=title in WHOLE)
    for row in rows:
        cells = (show(row) for show in columns.values())
        made.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))
    return made


def _end(
    values: Sequence[float | None], choose: Callable[[Iterable[float]], float]
) -> float | None:
    known = [one for one in values if one is not None]
    return choose(known) if known else None


def _gpus(client: ClientFull) -> str:
    gpus = client.resources.gpu if client.resources else ()
    return ", ".join(f"{gpu.name} ({memory(gpu.memory.total)})" for gpu in gpus) or "none"


def _validity(token: TokenFull) -> Text:
    if token.revoked_at:
        return Text("revoked", "dim")
    if token.expires_at and token.expires_at <= datetime.now(UTC):
        return Text("expired", "dim")
    until = f"until {token.expires_at:%Y-%m-%d}" if token.expires_at else "valid"
    return Text(until, "green")
