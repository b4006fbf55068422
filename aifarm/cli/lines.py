"""A log on the terminal: its lines, and below them the one that has not ended."""

from collections.abc import Callable, Iterable
from typing import Protocol

import click
from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

ERASE = Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))


class Read(Protocol):
    def __call__(self, *, unfinished: Callable[[str], None] | None = None) -> Iterable[str]:
        """Lines as they come; `unfinished` is told what the next one shows so far."""


def show(read: Read, out: Console | None = None, *, followed: bool) -> bool:
    """Prints the lines to `out` (default: stdout), with those to come where they are `followed`.
    Whether there were any."""
    out = out or Console(highlight=False)
    return _drawn(read, out) if followed and out.is_terminal else _printed(read, out)


def _printed(read: Read, out: Console) -> bool:
    any_ = False
    for line in read():
        click.echo(line, out.file)
        any_ = True
    return any_


def _drawn(read: Read, out: Console) -> bool:
    """The unfinished line is drawn in place, cut to the terminal's width, and gives way to what
    follows."""
    any_ = drawn = False

    def draw(line: str) -> None:
        nonlocal drawn
        if drawn:
            out.control(ERASE)
        text = Text.from_ansi(line)
        text.truncate(out.width - 1, overflow="ellipsis")
        out.print(text, end="")
        drawn = bool(line)

    try:
        for line in read(unfinished=draw):
            draw("")
            click.echo(line, out.file)
            any_ = True
    finally:
        draw("")
    return any_
