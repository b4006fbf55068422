"""Lists as tables for people and as JSON for programs; an empty one says what to do next."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aifarm.sdk.errors import InvalidRequest, NotFound
from aifarm.wire.rest import ClientFull, PackageFull, TaskFull, TokenFull
from aifarm.wire.types import Metrics

COLOURS = {
    "running": "green",
    "active": "green",
    "completed": "bold green",
    "failed": "bold red",
    "unreachable": "yellow",
    "paused": "yellow",
    "pending": "cyan",
    "assigned": "cyan",
    "stopped": "dim",
    "offline": "dim",
}

NONE = "-"

PIPED_WIDTH = 200
"""Columns where nobody's terminal limits the line."""


def console() -> Console:
    """For stdout: as wide as the terminal, and never cut for a pipe."""
    plain = Console(highlight=False)
    return plain if plain.is_terminal else Console(highlight=False, width=PIPED_WIDTH)


def json(value: object) -> None:
    """Prints `value` as the API's JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def only(ids: Sequence[str], prefix: str, what: str) -> str:
    """The one of `ids` that is, or begins with, `prefix`. Raises NotFound, InvalidRequest."""
    matches = [one for one in ids if one == prefix] or [
        one for one in ids if one.startswith(prefix)
    ]
    if not matches:
        raise NotFound(f"There is no {what} {prefix}.")
    if len(matches) > 1:
        raise InvalidRequest(f"{len(matches)} {what}s begin with {prefix}: give more of it.")
    return matches[0]


def tasks(found: Sequence[TaskFull], *, filtered: bool) -> None:
    hint = "No such task." if filtered else "No tasks yet. Submit one: aifarm submit NAME"
    _table(
        found,
        hint,
        {
            "ID": lambda task: task.id[:8],
            "NAME": lambda task: label(task.name, task.version),
            "STATUS": lambda task: status(task.status),
            "PROGRESS": lambda task: f"{task.progress:.0f} %",
            "METRICS": lambda task: metrics(task.metrics),
            "CLIENTS": lambda task: ", ".join(task.clients) or NONE,
            "SUBMITTER": lambda task: task.submitter,
            "AGE": lambda task: ago(task.created_at),
        },
    )


def clients(found: Sequence[ClientFull]) -> None:
    hint = (
        "No clients yet. On a workstation: aifarm-agent --server ws://HOST:8765 --token-file FILE\n"
        "(make its token here: aifarm token create --role agent --name NAME)"
    )
    _table(
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
            "TASKS": lambda client: ", ".join(task.id[:8] for task in client.tasks) or NONE,
            "LAST SEEN": lambda client: (
                "now" if client.status == "active" else f"{ago(client.last_seen)} ago"
            ),
        },
    )


def packages(found: Sequence[PackageFull]) -> None:
    _table(
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
    )


def tokens(found: Sequence[TokenFull]) -> None:
    _table(
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


def label(name: str, version: str | None) -> str:
    return f"{name}:{version}" if version else name


def status(word: str) -> Text:
    return Text(word, COLOURS.get(word, ""))


def metrics(values: Metrics, names: Iterable[str] = ("loss", "accuracy")) -> str:
    """The named ones that there are, or else the first two of all."""
    shown = [name for name in names if name in values] or sorted(values)[:2]
    return "  ".join(f"{name} {number(values[name])}" for name in shown) or NONE


def number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4g}"


def memory(mebibytes: float) -> str:
    return size(int(mebibytes) << 20)


def size(count: float) -> str:
    """Bytes, in the unit that leaves at most four digits."""
    units = iter(("B", "KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while count >= 1024 and unit != "TiB":
        count, unit = count / 1024, next(units)
    return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"


def duration(seconds: float) -> str:
    """In the two largest units: 42 s, 3 min 5 s, 2 h 10 min, 4 d 3 h."""
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def ago(moment: datetime) -> str:
    return duration((datetime.now(UTC) - moment).total_seconds())


def local(moment: datetime) -> str:
    """In the reader's own time zone."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def _table(rows: Sequence[Any], hint: str, columns: dict[str, Callable[[Any], str | Text]]) -> None:
    if not rows:
        click.echo(hint, err=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in columns:
        table.add_column(title, overflow="fold", no_wrap=title in ("ID", "STATUS", "PROGRESS"))
    for row in rows:
        cells = (show(row) for show in columns.values())
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))
    console().print(table)


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
