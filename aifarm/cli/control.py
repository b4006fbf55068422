"""`aifarm pause`, `resume`, `stop`, `retry`, `delete`, `restore`, `tag`, `untag`, `edit`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from aifarm.cli import completion
from aifarm.cli.options import as_json, on_farm, reason, task_id
from aifarm.cli.selection import GOING, UNFINISHED, Selection, chosen, selection

if TYPE_CHECKING:
    from aifarm.sdk import Farm, Task
    from aifarm.wire.requests import BulkAction
    from aifarm.wire.rest import BulkResult


@click.command()
@selection
@reason
@as_json
@on_farm
def pause(farm: "Farm", selected: Selection, reason: str | None, json_: bool) -> int:
    """Let tasks hold until `resume`; they keep their places."""
    return _steer(farm, "pause", selected, reason, json_)


@click.command()
@selection
@reason
@as_json
@on_farm
def resume(farm: "Farm", selected: Selection, reason: str | None, json_: bool) -> int:
    """Let paused tasks go on."""
    return _steer(farm, "resume", selected, reason, json_)


@click.command()
@selection
@reason
@as_json
@on_farm
def stop(farm: "Farm", selected: Selection, reason: str | None, json_: bool) -> int:
    """End tasks; each writes a checkpoint first.

    \b
    One:   aifarm stop ab12
    Many:  aifarm stop --project digits --status pending
    """
    return _steer(farm, "stop", selected, reason, json_)


@click.command()
@selection
@click.option(
    "--from",
    "from_checkpoint",
    metavar="CHECKPOINT",
    help='The id of a checkpoint, "best" or "start"; default: the latest.',
)
@as_json
@on_farm
def retry(farm: "Farm", selected: Selection, from_checkpoint: str | None, json_: bool) -> None:
    """Submit tasks that are over once more.

    Each goes on from the latest checkpoint of the one it repeats; the new ids are printed.
    """
    from aifarm.cli import render

    where = None if from_checkpoint == "start" else from_checkpoint or "latest"
    made = []
    for task in chosen(farm, selected, "retry", UNFINISHED):
        made.append(task.retry(where))
        click.echo(f"Task {task.id[:8]} is repeated as {made[-1].id[:8]}.", err=True)
        if not json_:
            click.echo(made[-1].id)
    if json_:
        render.json([task.info for task in made])


@click.command()
@selection
@as_json
@on_farm
def delete(farm: "Farm", selected: Selection, json_: bool) -> int:
    """Put tasks into the trash.

    What runs is stopped first. For 7 days `aifarm restore` brings a task back.
    """
    return _bulk(farm, "delete", chosen(farm, selected, "delete"), "is in the trash", json_)


@click.command()
@click.argument(
    "task_ids", metavar="ID...", nargs=-1, required=True, shell_complete=completion.trash
)
@as_json
@on_farm
def restore(farm: "Farm", task_ids: tuple[str, ...], json_: bool) -> int:
    """Take tasks out of the trash.

    `aifarm tasks --trash` lists what is in it.
    """
    tasks = [farm.task(one, deleted=True) for one in task_ids]
    return _bulk(farm, "restore", tasks, "is back", json_)


@click.command()
@click.argument("tag", metavar="TAG")
@selection
@as_json
@on_farm
def tag(farm: "Farm", tag: str, selected: Selection, json_: bool) -> int:
    """Give tasks a tag, for `aifarm tasks --tag TAG`."""
    tasks = chosen(farm, selected, "tag")
    return _bulk(farm, "tag", tasks, f"is tagged {tag}", json_, tags=[tag])


@click.command()
@click.argument("tag", metavar="TAG")
@selection
@as_json
@on_farm
def untag(farm: "Farm", tag: str, selected: Selection, json_: bool) -> int:
    """Take a tag away from tasks."""
    tasks = chosen(farm, selected, "untag")
    return _bulk(farm, "untag", tasks, f"is not tagged {tag}", json_, tags=[tag])


@click.command()
@task_id
@click.option("--title")
@click.option("--project", metavar="NAME")
@click.option("--notes", metavar="TEXT")
@click.option("--tags", metavar="LIST", help="All of them, with commas between.")
@as_json
@on_farm
def edit(farm: "Farm", task_id: str, json_: bool, **given: str | None) -> None:
    """Change a task's title, project, tags or notes.

    Also after its end. "" removes.
    """
    from aifarm.cli import render

    changes: dict[str, object] = {
        name: text or None for name, text in given.items() if text is not None
    }
    if not changes:
        raise click.UsageError("Say what to change: --title, --project, --notes, --tags.")
    if "tags" in changes:
        changes["tags"] = [tag for tag in (given["tags"] or "").split(",") if tag]
    task = farm.task(task_id)
    task.update(**changes)  # type: ignore[arg-type]
    if json_:
        render.json(task.info)
    else:
        click.echo(f"Changed {' and '.join(changes)} of task {task.id[:8]}.")


# ---------------------------------------------------------------- parts

WANTED = {"pause": "paused", "resume": "running", "stop": "stopped"}


def _steer(
    farm: "Farm", action: "BulkAction", selected: Selection, reason: str | None, json_: bool
) -> int:
    tasks = chosen(farm, selected, action, GOING)
    desired = WANTED[action]
    if len(tasks) != 1:
        return _bulk(farm, action, tasks, f"is to be {desired}", json_, reason=reason)
    (task,) = tasks
    # One alone is waited for a moment, so that the answer says what has become of it.
    steer = {"pause": task.pause, "resume": task.resume, "stop": task.stop}[action]
    observed = steer(reason).observed
    if json_:
        from aifarm.wire.rest import BulkResult

        return _tell([BulkResult(task.id, task.refresh())], "", json_)
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
    json_: bool,
    *,
    tags: Sequence[str] = (),
    reason: str | None = None,
) -> int:
    return _tell(farm.bulk(action, tasks, tags=tags, reason=reason), done, json_)


def _tell(results: "Sequence[BulkResult]", done: str, json_: bool) -> int:
    """What became of each, one line each or as JSON; 1 where one of them failed."""
    from aifarm.cli import render

    if json_:
        render.json(results)
    for result in results:
        if result.error is not None:
            click.echo(f"aifarm: task {result.id[:8]}: {result.error.message}", err=True)
        elif not json_:
            click.echo(f"Task {result.id[:8]} {done}.")
    return int(any(result.error is not None for result in results))
