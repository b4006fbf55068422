"""What the subcommands share: which farm, which things in it, and forms of values people type."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any, Literal

import click

from aifarm.cli import completion

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

Command = Callable[..., Any]


def which_farm(command: Command) -> Command:
    """Gives a command the options that name a farm: urls, token_file and allow_plaintext."""
    for option in (
        click.option(
            "--allow-plaintext", is_flag=True, help="Send the token over a network without TLS."
        ),
        click.option(
            "--token-file",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="File with the token (a token itself would show in the list of processes).",
        ),
        click.option(
            "--url",
            "urls",
            multiple=True,
            metavar="URL",
            help="The farm's address, such as http://127.0.0.1:8765; once for each of its servers.",
        ),
    ):
        command = option(command)
    return command


def on_farm(command: Command) -> Command:
    """As `which_farm`, and gives the command the connected Farm as its first argument."""

    @which_farm
    @wraps(command)
    def connected(
        *args: Any,
        urls: tuple[str, ...],
        token_file: Path | None,
        allow_plaintext: bool,
        **kwargs: Any,
    ) -> Any:
        from aifarm.sdk import connect
        from aifarm.sdk.config import read_token

        token = read_token(token_file) if token_file else None
        with connect(urls or None, token, allow_plaintext=allow_plaintext) as farm:
            return command(farm, *args, **kwargs)

    return connected


as_json = click.option(
    "--json", "json_", is_flag=True, help="Print the API's JSON, for programs; it stays as it is."
)
reason = click.option("--reason", help="Is told in the story.")

task_id = click.argument("task_id", metavar="ID", shell_complete=completion.tasks)
client_id = click.argument("client_id", metavar="CLIENT", shell_complete=completion.clients)


def rank(text: str) -> int | Literal["all"]:
    """The number of a rank, or "all"."""
    if text == "all":
        return "all"
    if not re.fullmatch("[0-9]{1,9}", text):
        raise click.BadParameter(f'{text!r} is no rank: write its number, or "all".')
    return int(text)


def duration(text: str) -> float:
    """Seconds, from a number with a unit: 90s, 30m, 12h, 30d, 2w."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if not match:
        raise click.BadParameter(f"{text!r} is no duration: write 30m, 12h, 30d or 2w.")
    return float(match[1]) * UNITS[match[2]]


def moment(text: str) -> datetime:
    """A moment: 2026-11-04, 2026-11-04T12:00 (local time where no zone is named), or 3d ago."""
    if re.fullmatch(r"[\d.]+[smhdw]", text):
        return datetime.now(UTC) - timedelta(seconds=duration(text))
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no moment: write 2026-11-04, 2026-11-04T12:00, or 3d for three days ago."
        ) from None


def setting(text: str) -> tuple[str, Any]:
    """KEY=VALUE, the value as JSON where it is JSON, else as text."""
    key, value = pair(text)
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def processes(text: str) -> int | str:
    """A number of processes, or "gpu" for one on each GPU."""
    if text == "gpu" or (text.isdecimal() and int(text)):
        return text if text == "gpu" else int(text)
    raise click.BadParameter(f"{text!r} is no number of processes: write 2, or gpu.")


def pair(text: str) -> tuple[str, str]:
    """KEY=VALUE, both as text."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise click.BadParameter(f"{text!r} is no setting: write KEY=VALUE.")
    return key, value
