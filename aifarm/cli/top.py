"""`aifarm top`: the farm as it is now, and as it goes on."""

import select
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from aifarm.cli.options import on_farm

if TYPE_CHECKING:
    from aifarm.sdk import Farm

REFRESH = 0.5
"""Seconds between two looks at the keyboard, and two pictures."""

ASK = 5.0
"""Seconds between two questions for what the live feed does not tell: use, and reasons."""


@click.command()
@click.option("--once", is_flag=True, help="One picture, as for a pipe.")
@on_farm
def top(farm: "Farm", once: bool) -> None:
    """Watch the farm live; q or Ctrl-C ends it.

    Machines and their GPUs, what runs and how fast, what waits and why. "n/a" is what nobody
    measured.
    """
    from rich.live import Live

    from aifarm.cli.board import Board
    from aifarm.cli.render import console

    out = console()
    board = Board(farm.url)
    messages = farm.live()
    board.hear(next(messages))
    board.ask(farm)
    if once or not out.is_terminal:
        out.print(board.picture(out.width))
        return
    ended = threading.Event()

    def hear() -> None:
        for message in messages:
            board.hear(message)

    def ask() -> None:
        while not ended.wait(ASK):
            board.ask(farm)

    for work in (hear, ask):
        threading.Thread(target=work, daemon=True).start()
    with (
        _keys() as pressed,
        Live(console=out, screen=True, auto_refresh=False) as display,
    ):
        try:
            while pressed() not in ("q", "Q"):
                display.update(board.picture(out.width, out.height), refresh=True)
        except KeyboardInterrupt:
            pass  # it is how one leaves
    ended.set()


@contextmanager
def _keys() -> Iterator[Callable[[], str]]:
    """What gives the key pressed within REFRESH seconds, or "". Elsewhere than on a POSIX terminal
    Ctrl-C is the only one."""
    try:
        import termios
        import tty

        before = termios.tcgetattr(sys.stdin)
    except (ImportError, OSError, termios.error):
        pause = threading.Event()

        def nothing() -> str:
            pause.wait(REFRESH)
            return ""

        yield nothing
        return

    def pressed() -> str:
        ready, _, _ = select.select([sys.stdin], [], [], REFRESH)
        return sys.stdin.read(1) if ready else ""

    tty.setcbreak(sys.stdin)
    try:
        yield pressed
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
