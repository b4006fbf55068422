"""`aifarm token …`, for administrators."""

from typing import TYPE_CHECKING

import click

from aifarm.cli.options import as_json, duration, on_farm

if TYPE_CHECKING:
    from aifarm.sdk import Farm
    from aifarm.sdk.farm import Role


@click.group()
def token() -> None:
    """Make, list and revoke tokens (for administrators)."""


@token.command("create")
@click.option(
    "--role", required=True, type=click.Choice(["admin", "researcher", "viewer", "agent"])
)
@click.option("--name", required=True, help="Whose it is; a researcher's tasks carry this name.")
@click.option("--client-id", metavar="ID", help="Bind an agent's token to this one client.")
@click.option("--label", metavar="NAME=VALUE", help="Bind it to agents started with this label.")
@click.option("--expires", type=duration, metavar="TIME", help="30d, 12h, …; default: never.")
@as_json
@on_farm
def create(
    farm: "Farm",
    role: "Role",
    name: str,
    client_id: str | None,
    label: str | None,
    expires: float | None,
    json_: bool,
) -> None:
    """Make a token, and print it alone on stdout. It is shown only now."""
    from aifarm.cli import render

    made = farm.create_token(name, role, client_id=client_id, label=label, expires=expires)
    until = f", valid until {made.expires_at:%Y-%m-%d %H:%M} UTC" if made.expires_at else ""
    click.echo(f"A token for {name} ({role}){until}. It is not shown again:", err=True)
    if json_:
        render.json(made)
    else:
        click.echo(made.token)


@token.command("list")
@as_json
@on_farm
def list_(farm: "Farm", json_: bool) -> None:
    """List all tokens, without their secrets."""
    from aifarm.cli import render

    found = farm.tokens()
    if json_:
        render.json(found)
    else:
        render.tokens(found)


@token.command("revoke")
@click.argument("token_id", metavar="ID")
@on_farm
def revoke(farm: "Farm", token_id: str) -> None:
    """End a token at once, and every connection that uses it."""
    from aifarm.sdk.choice import chosen

    names = {one.id: f"{one.role} {one.name}" for one in farm.tokens()}
    found = chosen(names, token_id, "token")
    farm.revoke_token(found)
    click.echo(f"Revoked {found}.", err=True)
