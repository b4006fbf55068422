"""`aifarm tasks`, `show`, `why`."""

from typing import TYPE_CHECKING

import click

from aifarm.cli.options import as_json, on_farm, task_id
from aifarm.cli.selection import filters

if TYPE_CHECKING:
    from aifarm.sdk import Farm
    from aifarm.sdk.finding import Matching


@click.command()
@filters
@click.option(
    "--sort",
    metavar="KEY",
    help="created_at, updated_at, title, status, config.NAME, metrics.NAME.min …; - reverses.",
)
@click.option(
    "--columns",
    metavar="LIST",
    help="Such as id,title,config.epochs,metrics.loss,metrics.loss.min.",
)
@click.option("--trash", is_flag=True, help="What was deleted in the last 7 days instead.")
@click.option("-n", "--limit", type=click.IntRange(1), default=50, show_default=True)
@click.option("--ids", is_flag=True, help="Print ids only, for xargs.")
@as_json
@on_farm
def tasks(
    farm: "Farm",
    matching: "Matching",
    sort: str | None,
    columns: str | None,
    trash: bool,
    limit: int,
    ids: bool,
    json_: bool,
) -> None:
    """List tasks, newest first.

    \b
    The ten best of a project:  aifarm tasks --project digits --sort metrics.loss.min -n 10
    Stop what is running of it: aifarm stop --project digits --status running
    """
    from aifarm.cli import render

    shown = _columns(columns)
    if trash and matching:
        raise click.UsageError("--trash shows the whole trash: leave the filters out.")
    found = (
        farm.trash(limit)
        if trash
        else farm.tasks(**matching, sort=sort, summaries=_summaries(shown), limit=limit)
    )
    infos = [task.info for task in found]
    if json_:
        render.json(infos)
    elif ids:
        for info in infos:
            click.echo(info.id)
    else:
        render.tasks(infos, shown, filtered=trash or bool(matching))


def _columns(text: str | None) -> list[str]:
    from aifarm.wire.rest import TaskFull

    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    for name in names:
        if name.partition(".")[0] not in TaskFull.__struct_fields__:
            raise click.BadParameter(
                f"There is no column {name!r}: take a field of `aifarm tasks --json`, "
                "config.NAME, metrics.NAME or metrics.NAME.min (max, last, best).",
                param_hint="--columns",
            )
    return names


def _summaries(columns: list[str]) -> list[str]:
    """The metrics of which a column shows more than the latest value."""
    parts = [name.split(".", 1)[1].rpartition(".") for name in columns if name[:8] == "metrics."]
    return sorted({name for name, _, stat in parts if name and stat in STATS})


STATS = ("last", "min", "max", "best")


@click.command()
@task_id
@click.option("--events", is_flag=True, help="Its story, in plain words and with times.")
@as_json
@on_farm
def show(farm: "Farm", task_id: str, events: bool, json_: bool) -> None:
    """Show one task; ID may be the first characters of it."""
    from aifarm.cli import card, render

    task = farm.task(task_id)
    if json_:
        render.json(task.events() if events else task.refresh())
        return
    waits = task.why() if task.info.status in ("pending", "unreachable") else None
    checkpoints = task.checkpoints()
    card.show(task.info, waits, checkpoints[0] if checkpoints else None)
    if events:
        card.story(task.events())


@click.command()
@task_id
@as_json
@on_farm
def why(farm: "Farm", task_id: str, json_: bool) -> None:
    """Say why a task waits, and what would let it start.

    Names the first thing that each client lacks.
    """
    from aifarm.cli import card, render

    reasons = farm.task(task_id).why()
    if json_:
        render.json(reasons)
    else:
        card.reasons(reasons)
