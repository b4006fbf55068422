"""`aifarm submit`."""

import sys
from typing import TYPE_CHECKING, Any

import click

from aifarm.cli.options import on_farm, setting

if TYPE_CHECKING:
    from aifarm.sdk import Farm


@click.command()
@click.argument("package", metavar="NAME[:VERSION]")
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
@click.option("--min-gpu-memory", type=int, metavar="MIB", help="Default: no GPU needed.")
@click.option("--min-cpu-cores", type=int, metavar="N")
@click.option("--min-ram", type=int, metavar="MIB")
@click.option("--priority", type=int, help="Among your own tasks; higher goes first.")
@click.option("--max-retries", type=int, help="For failures of your code; a lost client is free.")
@click.option("--watch", is_flag=True, help="Stay until the task is over; exit 1 if it failed.")
@on_farm
def submit(
    farm: "Farm",
    package: str,
    settings: tuple[tuple[str, Any], ...],
    watch: bool,
    **given: Any,
) -> int:
    """Submit a training task, and print its id.

    Without VERSION it trains the one that was published last.
    """
    name, _, version = package.partition(":")
    task = farm.submit(name, version=version or None, config=dict(settings), **given)
    label = f"{task.info.name} {task.info.version or ''}".strip()
    short = task.id[:8]
    click.echo(f"Submitted {label}. See it: aifarm show {short}", err=True)
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
