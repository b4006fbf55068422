"""`aifarm clients`, `client`, `drain`, `undrain`, `forget`."""

from typing import TYPE_CHECKING

import click

from aifarm.cli.options import as_json, client_id, on_farm, reason

if TYPE_CHECKING:
    from aifarm.sdk import Farm


@click.command()
@as_json
@on_farm
def clients(farm: "Farm", json_: bool) -> None:
    """List the farm's workstations."""
    from aifarm.cli import render

    found = [client.info for client in farm.clients()]
    if json_:
        render.json(found)
    else:
        render.clients(found)


@click.command()
@client_id
@click.option("--events", is_flag=True, help="Its story too.")
@as_json
@on_farm
def client(farm: "Farm", client_id: str, events: bool, json_: bool) -> None:
    """Show one workstation: what it has, does and did.

    CLIENT may be the first characters of its id.
    """
    from aifarm.cli import card, clientcard, render

    found = farm.client(client_id)
    if json_:
        render.json(found.events() if events else found.refresh())
        return
    clientcard.show(found.refresh(), found.history(points=clientcard.POINTS))
    if events:
        card.story(found.events(), named=True)


@click.command()
@client_id
@reason
@as_json
@on_farm
def drain(farm: "Farm", client_id: str, reason: str | None, json_: bool) -> None:
    """Give a workstation no new tasks.

    What it runs goes on. For administrators.
    """
    from aifarm.cli import render

    found = farm.client(client_id)
    found.drain(reason)
    if json_:
        render.json(found.info)
        return
    left = f"; it still runs {len(found.tasks)}" if found.tasks else ""
    click.echo(f"Client {found.id} gets no new tasks{left}.")


@click.command()
@client_id
@as_json
@on_farm
def undrain(farm: "Farm", client_id: str, json_: bool) -> None:
    """Give a workstation tasks again.

    For administrators.
    """
    from aifarm.cli import render

    found = farm.client(client_id)
    found.undrain()
    if json_:
        render.json(found.info)
    else:
        click.echo(f"Client {found.id} gets tasks again.")


@click.command()
@client_id
@on_farm
def forget(farm: "Farm", client_id: str) -> None:
    """Take a retired workstation off the list.

    Its history stays with the attempts. For administrators.
    """
    found = farm.client(client_id)
    found.forget()
    click.echo(f"Client {found.id} is forgotten.")
