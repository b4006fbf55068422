"""Which tasks a command is for: named by their ids, or found by what they have in common."""

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from aifarm.cli import completion
from aifarm.cli.options import Command, moment

if TYPE_CHECKING:
    from aifarm.sdk import Farm, Task
    from aifarm.sdk.finding import Matching

GOING = ("pending", "assigned", "running", "paused", "unreachable")
UNFINISHED = ("failed", "stopped")
STATES = (*GOING, "completed", *UNFINISHED)

SHOWN = 5
"""Of the tasks that a question is about."""

OPTIONS: tuple[Callable[[Command], Command], ...] = (
    click.option("--status", type=click.Choice(STATES), multiple=True, help="May be repeated."),
    click.option("--project", metavar="NAME"),
    click.option(
        "--tag", "tags", multiple=True, metavar="TAG", help="May be repeated: all of them."
    ),
    click.option("--submitter", metavar="NAME"),
    click.option("--name", multiple=True, metavar="PACKAGE", help="May be repeated: any of them."),
    click.option("--search", metavar="TEXT", help="In title, package and notes."),
    click.option(
        "--where",
        multiple=True,
        metavar="CONDITION",
        help='Such as "config.learning_rate<0.01" or "metrics.loss.min<=0.5"; may be repeated.',
    ),
    click.option(
        "--since", type=moment, metavar="TIME", help="Submitted since 2026-11-04, or 3d ago."
    ),
    click.option("--until", type=moment, metavar="TIME", help="Submitted before."),
)

NAMES = ("status", "project", "tags", "submitter", "name", "search", "where", "since", "until")


class Selection(NamedTuple):
    """`matching`: what was asked for, empty where nothing was. `yes`: without a question."""

    ids: Sequence[str]
    matching: "Matching"
    yes: bool


def filters(command: Command) -> Command:
    """Gives a command the options that find tasks, as `matching`."""

    @wraps(command)
    def found(*args: Any, **kwargs: Any) -> Any:
        given = {name: kwargs.pop(name) for name in NAMES}
        matching = {name: value for name, value in given.items() if value not in (None, ())}
        return command(*args, matching=matching, **kwargs)

    for option in reversed(OPTIONS):
        found = option(found)
    return found


def selection(command: Command) -> Command:
    """Gives a command ids, or else the options that find tasks, as `selected`."""

    @filters
    @wraps(command)
    def selecting(
        *args: Any, task_ids: tuple[str, ...], matching: "Matching", yes: bool, **kwargs: Any
    ) -> Any:
        if task_ids and matching:
            raise click.UsageError("Name tasks, or say which are meant by options; not both.")
        if not (task_ids or matching):
            raise click.UsageError(
                "Say which tasks: their ids, or --project, --status and the like (see --help)."
            )
        return command(*args, selected=Selection(task_ids, matching, yes), **kwargs)

    yes = click.option("-y", "--yes", is_flag=True, help="Do not ask before doing it to many.")
    ids = click.argument("task_ids", metavar="[ID...]", nargs=-1, shell_complete=completion.tasks)
    return ids(yes(selecting))


def chosen(
    farm: "Farm", selected: Selection, verb: str, states: Sequence[str] = STATES
) -> "list[Task]":
    """Every task meant, before anything is done: an id that is not there stops the command, and
    what was found is asked about. Where no status was asked for, those in `states` are meant."""
    if selected.ids:
        return [farm.task(one) for one in selected.ids]
    matching: Matching = {"status": states, **selected.matching}
    found = farm.tasks(**matching, limit=None)
    if not found:
        click.echo("No such task.", err=True)
    elif not selected.yes:
        _ask(found, verb)
    return found


def _ask(found: "Sequence[Task]", verb: str) -> None:
    """Ends the command unless whoever sits there agrees."""
    from aifarm.cli.words import label

    count = f"{len(found)} task{'s' * (len(found) != 1)}"
    if not sys.stdin.isatty():
        raise click.UsageError(f"This would {verb} {count}, and nobody is there to ask: add --yes.")
    for info in (task.info for task in found[:SHOWN]):
        what = info.title or label(info.name, info.version)
        click.echo(f"  {info.id[:8]}  {info.status}  {what}", err=True)
    if len(found) > SHOWN:
        click.echo(f"  and {len(found) - SHOWN} more", err=True)
    if not click.confirm(f"{verb.capitalize()} {count}?", err=True):
        click.echo("Nothing was done.", err=True)
        raise click.exceptions.Exit(1)
