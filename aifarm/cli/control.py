"""`aifarm pause`, `resume`, `stop`, `retry`, `delete`, `restore`, `tag`, `untag`, `edit`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from aifarm.cli import completion
from aifarm.cli.options import on_farm, reason, task_id, task_ids

if TYPE_CHECKING:
    from aifarm.sdk import Farm, Task
    from aifarm.wire.requests import BulkAction


@click.command()
@task_ids
@reason
@on_farm
def pause(farm: "Farm", task_ids: tuple[str, ...], reason: str | None) -> int:
    """Let tasks hold until `resume`; they keep their places."""
    return _steer(farm, "pause", task_ids, reason)


@click.command()
@task_ids
@reason
@on_farm
def resume(farm: "Farm", task_ids: tuple[str, ...], reason: str | None) -> int:
    """Let paused tasks go on."""
    return _steer(farm, "resume", task_ids, reason)


@click.command()
@task_ids
@reason
@on_farm
def stop(farm: "Farm", task_ids: tuple[str, ...], reason: str | None) -> int:
    """End tasks; each writes a checkpoint first."""
    return _steer(farm, "stop", task_ids, reason)


@click.command()
@task_ids
@click.option(
    "--from",
    "from_checkpoint",
    metavar="CHECKPOINT",
    help='The id of a checkpoint, "best" or "start"; default: the latest.',
)
@on_farm
def retry(farm: "Farm", task_ids: tuple[str, ...], from_checkpoint: str | None) -> None:
    """Submit tasks that are over once more.

    Each goes on from the latest checkpoint of the one it repeats; the new ids are printed.
    """
    where = None if from_checkpoint == "start" else from_checkpoint or "latest"
    for task in _found(farm, task_ids):
        made = task.retry(where)
        click.echo(f"Task {task.id[:8]} is repeated as {made.id[:8]}.", err=True)
        click.echo(made.id)


@click.command()
@task_ids
@on_farm
def delete(farm: "Farm", task_ids: tuple[str, ...]) -> int:
    """Put tasks into the trash.

    What runs is stopped first. For 7 days `aifarm restore` brings a task back.
    """
    return _bulk(farm, "delete", _found(farm, task_ids), "is in the trash")


@click.command()
@click.argument(
    "task_ids", metavar="ID...", nargs=-1, required=True, shell_complete=completion.trash
)
@on_farm
def restore(farm: "Farm", task_ids: tuple[str, ...]) -> int:
    """Take tasks out of the trash.

    `aifarm tasks --trash` lists what is in it.
    """
    return _bulk(farm, "restore", _found(farm, task_ids, deleted=True), "is back")


@click.command()
@click.argument("tag", metavar="TAG")
@task_ids
@on_farm
def tag(farm: "Farm", tag: str, task_ids: tuple[str, ...]) -> int:
    """Give tasks a tag, for `aifarm tasks --tag TAG`."""
    return _bulk(farm, "tag", _found(farm, task_ids), f"is tagged {tag}", tags=[tag])


@click.command()
@click.argument("tag", metavar="TAG")
@task_ids
@on_farm
def untag(farm: "Farm", tag: str, task_ids: tuple[str, ...]) -> int:
    """Take a tag away from tasks."""
    return _bulk(farm, "untag", _found(farm, task_ids), f"is not tagged {tag}", tags=[tag])


@click.command()
@task_id
@click.option("--title")
@click.option("--project", metavar="NAME")
@click.option("--notes", metavar="TEXT")
@click.option("--tags", metavar="LIST", help="All of them, with commas between.")
@on_farm
def edit(farm: "Farm", task_id: str, **given: str | None) -> None:
    """Change a task's title, project, tags or notes.

    Also after its end. "" removes.
    """
    changes: dict[str, object] = {
        name: text or None for name, text in given.items() if text is not None
    }
    if not changes:
        raise click.UsageError("Say what to change: --title, --project, --notes, --tags.")
    if "tags" in changes:
        changes["tags"] = [tag for tag in (given["tags"] or "").split(",") if tag]
    task = farm.task(task_id)
    task.update(**changes)  # type: ignore[arg-type]
    click.echo(f"Changed {' and '.join(changes)} of task {task.id[:8]}.")


# ---------------------------------------------------------------- parts


def _found(farm: "Farm", ids: Sequence[str], *, deleted: bool = False) -> "list[Task]":
    """Every task meant, before anything is changed: one that is not there stops the command."""
    return [farm.task(one, deleted=deleted) for one in ids]


WANTED = {"pause": "paused", "resume": "running", "stop": "stopped"}


def _steer(farm: "Farm", action: "BulkAction", ids: Sequence[str], reason: str | None) -> int:
    tasks = _found(farm, ids)
    desired = WANTED[action]
    if len(tasks) > 1:
        return _bulk(farm, action, tasks, f"is to be {desired}", reason=reason)
    (task,) = tasks
    # One alone is waited for a moment, so that the answer says what has become of it.
    steer = {"pause": task.pause, "resume": task.resume, "stop": task.stop}[action]
    observed = steer(reason).observed
    if observed == desired:
        click.echo(f"Task {task.id[:8]} is {observed}.")
    else:
        click.echo(f"Task {task.id[:8]} is to be {desired}; for now it is {observed}.")
    return 0


def _bulk(
    farm: "Farm",
    action: "BulkAction",
    tasks: "list[Task]",
    done: str,
    *,
    tags: Sequence[str] = (),
    reason: str | None = None,
) -> int:
    """One line each; 1 where one of them failed."""
    failed = 0
    for result in farm.bulk(action, tasks, tags=tags, reason=reason):
        if result.error is None:
            click.echo(f"Task {result.id[:8]} {done}.")
        else:
            failed = 1
            click.echo(f"aifarm: task {result.id[:8]}: {result.error.message}", err=True)
    return failed
