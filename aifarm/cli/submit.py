"""`aifarm submit`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aifarm.cli import completion
from aifarm.cli.options import as_json, on_farm, pair, processes, setting

if TYPE_CHECKING:
    from aifarm.sdk import Farm


@click.command()
@click.argument("package", metavar="NAME[:VERSION]|FOLDER", shell_complete=completion.packages)
@click.argument("args", nargs=-1, metavar="[-- ARGS...]")
@click.option("--epochs", type=int)
@click.option("--batch-size", type=int)
@click.option("--learning-rate", type=float)
@click.option(
    "--set",
    "settings",
    type=setting,
    multiple=True,
    metavar="KEY=VALUE",
    help="A hyperparameter of your own; may be repeated.",
)
@click.option("--n-clients", type=int, help="Train distributed, on so many clients at once.")
@click.option(
    "--processes",
    "processes_per_client",
    type=processes,
    metavar="N|gpu",
    help="Train distributed, with so many processes on each client; gpu: one for each GPU.",
)
@click.option("--distributed", is_flag=True, default=None, help="Also on one client alone.")
@click.option("--min-gpu-memory", type=int, metavar="MIB", help="Default: no GPU needed.")
@click.option("--min-cpu-cores", type=int, metavar="N")
@click.option("--min-ram", type=int, metavar="MIB")
@click.option("--share-gpu", is_flag=True, default=None, help="With others that say so too.")
@click.option("--priority", type=int, help="Among your own tasks; higher goes first.")
@click.option("--max-retries", type=int, help="For failures of your code; a lost client is free.")
@click.option("--title", help="What people see in lists.")
@click.option("--project", metavar="NAME", help="To find it by, as are tags.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="May be repeated.")
@click.option("--notes", metavar="TEXT")
@click.option(
    "--best",
    type=pair,
    multiple=True,
    metavar="METRIC=min|max",
    help="Which end of a metric is the good one; may be repeated.",
)
@click.option(
    "--env",
    type=pair,
    multiple=True,
    metavar="NAME=VALUE",
    help="For the training process; only you and administrators see values. May be repeated.",
)
@click.option(
    "--data",
    type=pair,
    multiple=True,
    metavar="NAME=URL",
    help="What `aifarm put` printed, or any URL that clients can read; may be repeated.",
)
@click.option(
    "--from-checkpoint",
    metavar="ID",
    help="Begin with this checkpoint, or with the latest of this task (ID:best: its best).",
)
@click.option("--entry", metavar="FILE", help="Of FOLDER: the program to run, such as train.py.")
@click.option(
    "--resume-arg",
    "resume_args",
    multiple=True,
    metavar="ARG",
    help="Added to the program's ARGS from its second attempt on; may be repeated.",
)
@click.option(
    "--output",
    "outputs",
    multiple=True,
    metavar="GLOB",
    help="Files of the program to keep, and to give to its next attempt; may be repeated.",
)
@click.option(
    "--mount",
    "mounts",
    type=pair,
    multiple=True,
    metavar="PATH=HOSTPATH",
    help="A path of the client, to be seen under the working folder; may be repeated.",
)
@click.option("--environment", metavar="NAME", help="A Python that clients advertise.")
@click.option(
    "--progress-from",
    metavar="REGEX",
    help="Finds (?P<step>), (?P<total>) and metrics, such as (?P<loss>), in lines of its log.",
)
@click.option(
    "--location",
    metavar="URL",
    help="Where clients fetch the package that do so by themselves; aifarm-agent does not.",
)
@click.option("--check", is_flag=True, help="Submit nothing: say where it would run, and when.")
@click.option("--watch", is_flag=True, help="Stay until the task is over; exit 1 if it failed.")
@as_json
@on_farm
def submit(
    farm: "Farm",
    package: str,
    entry: str | None,
    settings: tuple[tuple[str, Any], ...],
    best: tuple[tuple[str, Any], ...],
    env: tuple[tuple[str, str], ...],
    mounts: tuple[tuple[str, str], ...],
    data: tuple[tuple[str, str], ...],
    location: str | None,
    check: bool,
    watch: bool,
    json_: bool,
    **given: Any,
) -> int:
    """Submit a training task, and print its id.

    Without VERSION it trains the one that was published last. A FOLDER with a program in it is
    published first; the program runs as `python FILE ARGS...` would run it there:

    aifarm submit ./folder --entry train.py -- --lr 0.1
    """
    from aifarm.cli import card, render, words

    name, _, version = package.partition(":")
    if entry is not None:
        made = farm.publish(Path(package), entry=entry, kind="script")
        name, version = made.name, made.version
    options = {
        "version": version or None,
        "url": location,
        "config": dict(settings),
        "best": dict(best),
        "env": dict(env),
        "mounts": dict(mounts),
        "data": dict(data),
        **given,
    }
    if check:
        found = farm.check(name, **options)
        render.json(found) if json_ else card.check(found)
        return 0
    task = farm.submit(name, **options)
    label = words.label(task.info.name, task.info.version)
    short = task.id[:8]
    click.echo(f"Submitted {label}. See it: aifarm show {short}", err=True)
    if json_:
        render.json(task.info)
    else:
        click.echo(task.id)
    if not watch:
        return 0
    sys.stdout.flush()
    from aifarm.cli.progress import follow

    try:
        follow(farm, [task])
    except KeyboardInterrupt:
        click.echo(f"The task goes on. Stop it: aifarm stop {short}", err=True)
        raise
    if task.info.status == "completed":
        return 0
    click.echo(f"Its output: aifarm logs {short}", err=True)
    return 1
