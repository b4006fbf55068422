"""`aifarm tasks`, `show`, `logs`, `pause`, `resume`, `stop`."""

from typing import TYPE_CHECKING

import click

from aifarm.cli.options import as_json, on_farm

if TYPE_CHECKING:
    from aifarm.sdk import Farm, Task

STATES = (
    "pending",
    "assigned",
    "running",
    "paused",
    "unreachable",
    "completed",
    "failed",
    "stopped",
)

task_id = click.argument("task_id", metavar="ID")
reason = click.option("--reason", help="Is told in the task's story.")


@click.command()
@click.option("--status", type=click.Choice(STATES))
@click.option("--submitter", metavar="NAME")
@click.option("-n", "--limit", type=click.IntRange(1), default=50, show_default=True)
@as_json
@on_farm
def tasks(farm: "Farm", status: str | None, submitter: str | None, limit: int, json_: bool) -> None:
    """List tasks, newest first."""
    from aifarm.cli import render

    found = [task.info for task in farm.tasks(status=status, submitter=submitter, limit=limit)]
    if json_:
        render.json(found)
    else:
        render.tasks(found, filtered=bool(status or submitter))


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
        render.json(task.events() if events else task.info)
        return
    waits = task.why() if task.info.status in ("pending", "unreachable") else None
    checkpoints = task.checkpoints()
    card.show(task.info, waits, checkpoints[0] if checkpoints else None)
    if events:
        card.story(task.events())


@click.command()
@task_id
@click.option("-f", "--follow", is_flag=True, help="Go on until the task is over.")
@click.option("--rank", type=click.IntRange(0), default=0, show_default=True)
@click.option("--attempt", type=click.IntRange(1), help="Default: the latest.")
@on_farm
def logs(farm: "Farm", task_id: str, follow: bool, rank: int, attempt: int | None) -> None:
    """Print what a task's training code wrote."""
    task = farm.task(task_id)
    empty = True
    for line in task.logs(rank, attempt=attempt, follow=follow):
        click.echo(line)
        empty = False
    if empty:
        click.echo(f"No output of rank {rank} (the task is {task.info.status}).", err=True)


@click.command()
@task_id
@reason
@on_farm
def pause(farm: "Farm", task_id: str, reason: str | None) -> None:
    """Let a task hold; it keeps its place and goes on with `resume`."""
    task = farm.task(task_id)
    _tell(task, "paused", task.pause(reason).observed)


@click.command()
@task_id
@reason
@on_farm
def resume(farm: "Farm", task_id: str, reason: str | None) -> None:
    """Let a paused task go on."""
    task = farm.task(task_id)
    _tell(task, "running", task.resume(reason).observed)


@click.command()
@task_id
@reason
@on_farm
def stop(farm: "Farm", task_id: str, reason: str | None) -> None:
    """End a task; it writes a checkpoint first."""
    task = farm.task(task_id)
    _tell(task, "stopped", task.stop(reason).observed)


def _tell(task: "Task", desired: str, observed: str) -> None:
    short = task.id[:8]
    if observed == desired:
        click.echo(f"Task {short} is {observed}.")
    else:
        click.echo(f"Task {short} is to be {desired}; for now it is {observed}.")
