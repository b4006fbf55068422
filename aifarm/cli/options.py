"""What the subcommands share: which farm, and the forms of values that people type."""

import json
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def on_farm(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the options that name a farm, and as first argument the connected Farm."""

    @click.option(
        "--url",
        "urls",
        multiple=True,
        metavar="URL",
        help="The farm's address, such as http://127.0.0.1:8765; once for each of its servers.",
    )
    @click.option(
        "--token-file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="File with the token (a token itself would show in the list of processes).",
    )
    @click.option(
        "--allow-plaintext", is_flag=True, help="Send the token over a network without TLS."
    )
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


as_json = click.option("--json", "json_", is_flag=True, help="Print JSON, for programs.")


def duration(text: str) -> float:
    """Seconds, from a number with a unit: 90s, 30m, 12h, 30d, 2w."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if not match:
        raise click.BadParameter(f"{text!r} is no duration: write 30m, 12h, 30d or 2w.")
    return float(match[1]) * UNITS[match[2]]


def setting(text: str) -> tuple[str, Any]:
    """KEY=VALUE, the value as JSON where it is JSON, else as text."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise click.BadParameter(f"{text!r} is no setting: write KEY=VALUE.")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
