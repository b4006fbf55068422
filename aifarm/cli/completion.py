"""`aifarm completion`, and what a shell completes from the farm: tasks, clients, packages."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem, get_completion_class

if TYPE_CHECKING:
    from aifarm.sdk import Farm

VARIABLE = "_AIFARM_COMPLETE"

WHERE = {
    "bash": "~/.bashrc",
    "zsh": "~/.zshrc",
    "fish": "~/.config/fish/completions/aifarm.fish",
}

LIMIT = 50


@click.command()
@click.argument("shell", type=click.Choice(sorted(WHERE)))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete words.

    Commands and options, and the farm's tasks, clients and packages.

    \b
    bash:  aifarm completion bash >> ~/.bashrc
    zsh:   aifarm completion zsh >> ~/.zshrc
    fish:  aifarm completion fish > ~/.config/fish/completions/aifarm.fish
    """
    root = ctx.find_root()
    made = get_completion_class(shell)
    assert made is not None  # noqa: S101  one of WHERE
    click.echo(made(root.command, {}, "aifarm", VARIABLE).source())


Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _from_farm(find: Callable[["Farm", str], Iterable[CompletionItem]]) -> Complete:
    """Items from the farm that the command line so far names; none where it does not answer."""

    def complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            from aifarm.sdk import connect
            from aifarm.sdk.config import read_token

            given = ctx.params
            token = read_token(given["token_file"]) if given.get("token_file") else None
            plaintext = bool(given.get("allow_plaintext"))
            with connect(given.get("urls") or None, token, allow_plaintext=plaintext) as farm:
                return list(find(farm, incomplete))
        except Exception:
            return []  # a shell that waits for a word is no place for a message

    return complete


@_from_farm
def tasks(farm: "Farm", incomplete: str) -> Iterable[CompletionItem]:
    for task in farm.tasks(limit=LIMIT):
        if task.id.startswith(incomplete):
            info = task.info
            yield CompletionItem(info.id[:8], help=f"{info.title or info.name} ({info.status})")


@_from_farm
def trash(farm: "Farm", incomplete: str) -> Iterable[CompletionItem]:
    for task in farm.trash(limit=LIMIT):
        if task.id.startswith(incomplete):
            yield CompletionItem(task.id[:8], help=task.info.title or task.info.name)


@_from_farm
def clients(farm: "Farm", incomplete: str) -> Iterable[CompletionItem]:
    for client in farm.clients():
        if client.id.startswith(incomplete):
            yield CompletionItem(client.id, help=client.status)


@_from_farm
def packages(farm: "Farm", incomplete: str) -> Iterable[CompletionItem]:
    for package in farm.packages():
        name = f"{package.name}:{package.version}"
        if name.startswith(incomplete):
            yield CompletionItem(name, help=f"by {package.publisher}")
