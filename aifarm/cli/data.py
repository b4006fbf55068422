"""`aifarm put`, and `aifarm data …`: what tasks train on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aifarm.cli.options import as_json, on_farm

if TYPE_CHECKING:
    from aifarm.sdk import Farm


@click.command()
@click.argument("path", metavar="PATH", type=click.Path(exists=True, path_type=Path))
@click.option("--name", help="Default: the file's or folder's name.")
@on_farm
def put(farm: "Farm", path: Path, name: str | None) -> None:
    """Put a file or folder on the farm, and print how tasks name it.

    What is there already is not sent again; what broke off goes on.
    """
    from aifarm.cli.words import size

    with _bar(path.name) as progress:
        made = farm.put(path, name, progress=progress)
    click.echo(
        f"Put {size(made.size)}. Train on it: aifarm submit … --data NAME={made.url}", err=True
    )
    click.echo(made.url)


@contextmanager
def _bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """Takes the bytes stored and those of all; seen on a terminal alone."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, TransferSpeedColumn(), console=console, disable=not console.is_terminal
    ) as bar:
        row = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(row, completed=done, total=total)


class _Listing(click.Group):
    """Lists where no subcommand is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = bool(args) and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if named else ["list", *args])


@click.group(cls=_Listing)
def data() -> None:
    """List what was put on the farm, delete it."""


@data.command("list")
@click.option("--name", help="Only what was put under this name.")
@as_json
@on_farm
def list_(farm: "Farm", name: str | None, json_: bool) -> None:
    """List data, newest first; the same as `aifarm data`."""
    from aifarm.cli import render

    found = farm.data(name)
    if json_:
        render.json(found)
    else:
        render.data(found)


@data.command()
@click.argument("sha256", metavar="SHA256")
@on_farm
def delete(farm: "Farm", sha256: str) -> None:
    """Delete data that no task needs.

    SHA256 may be its first characters. Only who put it may, and administrators.
    """
    from aifarm.sdk.choice import chosen

    names = {one.sha256: one.name for one in farm.data()}
    sha256 = chosen(names, sha256.removeprefix("aifarm:"), "data")
    farm.delete_data(sha256)
    click.echo(f"Deleted {names[sha256]} ({sha256[:12]}).", err=True)
