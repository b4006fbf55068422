"""`aifarm publish`, `unpublish` and `packages`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aifarm.cli import completion
from aifarm.cli.options import as_json, on_farm, pair

if TYPE_CHECKING:
    from aifarm.packages import Kind
    from aifarm.sdk import Farm


@click.command()
@click.argument("code", metavar="DIR", type=click.Path(exists=True, path_type=Path))
@click.option("--name", help="Default: the folder's name.")
@click.option("--version", help="Default: a short hash of the content.")
@click.option("--entry", default="model.py", show_default=True, help="The file to begin with.")
@click.option(
    "--kind",
    type=click.Choice(["declarative", "script"]),
    default="declarative",
    show_default=True,
    help="Functions that the farm's trainer calls, or your own loop.",
)
@click.option(
    "--data",
    type=pair,
    multiple=True,
    metavar="NAME=URL",
    help="For all its tasks: what `aifarm put` printed, or a URL; may be repeated.",
)
@as_json
@on_farm
def publish(
    farm: "Farm",
    code: Path,
    name: str | None,
    version: str | None,
    entry: str,
    kind: "Kind",
    data: tuple[tuple[str, str], ...],
    json_: bool,
) -> None:
    """Put model code on the farm, and print NAME:VERSION.

    DIR is a folder, or one .py file. A published version never changes: the same content again
    is no error, other content is.
    """
    from aifarm.cli import render
    from aifarm.cli.words import size

    made = farm.publish(code, name, version, entry=entry, kind=kind, data=dict(data))
    reference = f"{made.name}:{made.version}"
    click.echo(f"Published {size(made.size)}. Train it: aifarm submit {reference}", err=True)
    if json_:
        render.json(made)
    else:
        click.echo(reference)


@click.command()
@click.argument("package", metavar="NAME:VERSION", shell_complete=completion.packages)
@on_farm
def unpublish(farm: "Farm", package: str) -> None:
    """Delete a package that no task needs.

    Only who published it may, and administrators.
    """
    name, colon, version = package.partition(":")
    if not (name and colon and version):
        raise click.BadParameter(
            f"{package!r} names no version: write NAME:VERSION, as `aifarm packages` lists them."
        )
    farm.delete_package(name, version)
    click.echo(f"Deleted {package}.", err=True)


@click.command()
@click.option("--name", help="Only this package's versions.")
@as_json
@on_farm
def packages(farm: "Farm", name: str | None, json_: bool) -> None:
    """List published packages, newest first."""
    from aifarm.cli import render

    found = sorted(farm.packages(name), key=lambda package: package.created_at, reverse=True)
    if json_:
        render.json(found)
    else:
        render.packages(found)
