"""`aifarm logs`, `events`, `metrics`, `outputs`, `checkpoint …`: what a task says and leaves."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import click

from aifarm.cli import completion
from aifarm.cli.options import as_json, on_farm, rank, task_id

if TYPE_CHECKING:
    from aifarm.sdk import Checkpoint, Farm

checkpoint_id = click.argument("checkpoint_id", metavar="CHECKPOINT")


@click.command()
@task_id
@click.option("-f", "--follow", is_flag=True, help="Go on until the task is over.")
@click.option("-n", "--tail", type=click.IntRange(1), help="Only the last so many lines.")
@click.option(
    "--rank",
    type=rank,
    default="0",
    show_default=True,
    metavar="NUMBER",
    help='Or "all": each line comes after the number of its rank.',
)
@click.option("--attempt", type=click.IntRange(1), help="Default: the latest.")
@on_farm
def logs(
    farm: "Farm",
    task_id: str,
    follow: bool,
    tail: int | None,
    rank: 'int | Literal["all"]',
    attempt: int | None,
) -> None:
    """Print what a task's training code wrote."""
    from aifarm.cli import lines

    task = farm.task(task_id)
    read = partial(task.logs, rank, attempt=attempt, tail=tail, follow=follow)
    if not lines.show(read, followed=follow):
        whose = "any rank" if rank == "all" else f"rank {rank}"
        click.echo(f"No output of {whose} (the task is {task.info.status}).", err=True)


@click.command()
@click.argument("task_id", metavar="[ID]", required=False, shell_complete=completion.tasks)
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on.")
@click.option("-n", "--limit", type=click.IntRange(1), default=50, show_default=True)
@as_json
@on_farm
def events(farm: "Farm", task_id: str | None, follow: bool, limit: int, json_: bool) -> None:
    """Tell what happened on the farm, or to one task.

    The latest stands last. With --follow and --json each event is a line of its own.
    """
    from aifarm.cli import card, render
    from aifarm.wire.live import Happened, Snapshot
    from aifarm.wire.rest import EventFull

    task = farm.task(task_id) if task_id else None

    def tell(found: list[EventFull]) -> None:
        if json_:
            for event in found:
                render.line(event)
        else:
            card.story(found, named=task is None)

    messages = farm.live(f"task:{task.id}" if task else "farm")
    # The first message is a snapshot: what is not in the story by then comes as a message.
    now = next(message.event for message in messages if isinstance(message, Snapshot))
    story = task.events() if task else farm.events(after=max(0, now - limit))
    shown = story[-limit:]
    if not follow:
        render.json(shown) if json_ else tell(shown)
        return
    tell(shown)
    last = shown[-1].id if shown else now
    for message in messages:
        if isinstance(message, Happened) and message.event.id > last:
            tell([message.event])


@click.command()
@task_id
@click.argument("names", metavar="[NAME...]", nargs=-1)
@click.option("--csv", "csv", is_flag=True, help="Print every point: name, step, time, value.")
@as_json
@on_farm
def metrics(farm: "Farm", task_id: str, names: tuple[str, ...], csv: bool, json_: bool) -> None:
    """Show a task's metrics and their curves.

    All of them, or those that are named.
    """
    from aifarm.cli import render

    if csv and json_:
        raise click.UsageError("Choose one of --csv and --json.")
    task = farm.task(task_id)
    if csv:
        task.metrics_csv(sys.stdout.buffer, names)
        return
    history = task.metrics(names)
    if json_:
        render.json(history)
    else:
        render.curves(history, task.id, names)


@click.command()
@task_id
@click.option(
    "-d",
    "--download",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write every one of them to its own path under this folder.",
)
@click.option(
    "--zip",
    "archive",
    type=click.File("wb", lazy=True, atomic=True),
    metavar="FILE",
    help="Write all of them to one zip archive; - is stdout.",
)
@as_json
@on_farm
def outputs(
    farm: "Farm", task_id: str, download: Path | None, archive: BinaryIO | None, json_: bool
) -> None:
    """List or download the files that a task keeps.

    What arrives has the farm's sha256; what is there already is not fetched again.
    """
    from aifarm.cli import render
    from aifarm.cli.words import size

    if archive is not None and (download is not None or json_):
        raise click.UsageError("Choose one of --zip, --download and --json.")
    task = farm.task(task_id)
    if archive is not None:
        task.outputs_zip(archive)
        return
    found = task.outputs()
    if download is not None:
        total = sum(one.size for one in found)
        with click.progressbar(length=total, label="Downloading", file=sys.stderr) as bar:
            for one in found:
                one.download_under(download)
                bar.update(one.size)
        click.echo(f"{len(found)} files ({size(total)}) are in {download}.", err=json_)
    if json_:
        render.json([one.info for one in found])
    elif download is None:
        render.outputs([one.info for one in found], task.id)


# ---------------------------------------------------------------- checkpoints


@click.group()
def checkpoint() -> None:
    """List, download, pin, delete checkpoints."""


@checkpoint.command("list")
@task_id
@as_json
@on_farm
def list_(farm: "Farm", task_id: str, json_: bool) -> None:
    """List a task's checkpoints, newest first."""
    from aifarm.cli import render

    task = farm.task(task_id)
    found = [one.info for one in task.checkpoints()]
    if json_:
        render.json(found)
    else:
        render.checkpoints(found, task.id)


@checkpoint.command()
@task_id
@click.argument("checkpoint_id", metavar="[CHECKPOINT]", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("."),
    metavar="PATH",
    help="A file or a folder; default: here.",
)
@on_farm
def download(farm: "Farm", task_id: str, checkpoint_id: str | None, output: Path) -> None:
    """Download a checkpoint, the newest where none is named, and print where it is.

    What arrives has the farm's sha256; a download that broke off goes on where it ended.
    """
    click.echo(_one(farm, task_id, checkpoint_id).download(output))


@checkpoint.command()
@task_id
@checkpoint_id
@as_json
@on_farm
def pin(farm: "Farm", task_id: str, checkpoint_id: str, json_: bool) -> None:
    """Keep a checkpoint, whatever the farm clears away."""
    found = _one(farm, task_id, checkpoint_id)
    found.pin()
    _tell(found, "is pinned", json_)


@checkpoint.command()
@task_id
@checkpoint_id
@as_json
@on_farm
def unpin(farm: "Farm", task_id: str, checkpoint_id: str, json_: bool) -> None:
    """Leave a checkpoint to the farm again."""
    found = _one(farm, task_id, checkpoint_id)
    found.unpin()
    _tell(found, "is not pinned", json_)


@checkpoint.command()
@task_id
@checkpoint_id
@on_farm
def delete(farm: "Farm", task_id: str, checkpoint_id: str) -> None:
    """Delete a checkpoint for good."""
    found = _one(farm, task_id, checkpoint_id)
    found.delete()
    click.echo(f"Checkpoint {found.id[:8]} is deleted.")


def _tell(found: "Checkpoint", done: str, json_: bool) -> None:
    from aifarm.cli import render

    if json_:
        render.json(found.info)
    else:
        click.echo(f"Checkpoint {found.id[:8]} {done}.")


def _one(farm: "Farm", task_id: str, checkpoint_id: str | None) -> "Checkpoint":
    from aifarm.sdk.choice import chosen

    task = farm.task(task_id)
    if checkpoint_id is None:
        return task.checkpoint()
    found = {one.id: one for one in task.checkpoints()}
    steps = {one.id: f"step {one.step}" for one in found.values()}
    return found[chosen(steps, checkpoint_id, "checkpoint")]
