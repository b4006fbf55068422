"""`aifarm reproduce`, `compare`: once more, and what is not the same."""

from typing import TYPE_CHECKING

import click

from aifarm.cli.options import as_json, on_farm, task_id

if TYPE_CHECKING:
    from aifarm.sdk import Farm, Task


@click.command()
@task_id
@click.option("--watch", is_flag=True, help="Stay until it is over, and show what differs.")
@as_json
@on_farm
def reproduce(farm: "Farm", task_id: str, watch: bool, json_: bool) -> int:
    """Submit a task that is over once more, just as it was.

    With the same package, config, seed, requirements and arguments, from the same beginning; the
    new id is printed. `aifarm compare` shows later what differs.
    """
    from aifarm.cli import progress, render

    first = farm.task(task_id)
    second = first.reproduce()
    click.echo(f"Task {first.id[:8]} is repeated as {second.id[:8]}.", err=True)
    if not watch:
        render.json(second.info) if json_ else click.echo(second.id)
        return 0
    progress.follow(farm, [second])
    _show(first, second, json_)
    return 0 if second.info.status == "completed" else 1


@click.command()
@task_id
@click.argument("other_id", metavar="OTHER")
@as_json
@on_farm
def compare(farm: "Farm", task_id: str, other_id: str, json_: bool) -> None:
    """Show what two tasks do not have in common.

    What was asked for, the provenance of their last attempts, and their latest metrics.
    """
    _show(farm.task(task_id), farm.task(other_id), json_)


def _show(first: "Task", second: "Task", json_: bool) -> None:
    from aifarm.cli import render

    found = first.differences(second)
    if json_:
        render.json(found)
    else:
        render.differences(found, first.id, second.id)
