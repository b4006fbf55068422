"""The `aifarm` command. Each module here holds some of its subcommands; `app` joins them."""

import sys


def main() -> None:
    """Entry point of the `aifarm` script."""
    from aifarm.cli.app import run

    sys.exit(run())
