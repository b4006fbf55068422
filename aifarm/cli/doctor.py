"""`aifarm doctor`: what is wrong between here and the farm, and what to do about it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aifarm.cli.options import as_json, which_farm

if TYPE_CHECKING:
    from aifarm.cli.checks import Finding

MARKS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "wrong": ("WRONG", "bold red")}


@click.command()
@as_json
@which_farm
def doctor(
    json_: bool, urls: tuple[str, ...], token_file: Path | None, allow_plaintext: bool
) -> int:
    """Say what is wrong, and what to do about it.

    Looks at the way to the farm, the farm, and its clients; the exit code is 1 where something
    is wrong.
    """
    from aifarm.cli import checks, render

    findings = []
    for finding in checks.findings(urls, token_file, allow_plaintext):
        findings.append(finding)
        if not json_:
            _tell(finding)
    if json_:
        render.json(findings)
    return int(any(finding.state == "wrong" for finding in findings))


def _tell(finding: "Finding") -> None:
    from rich.table import Table
    from rich.text import Text

    from aifarm.cli.render import console

    mark, style = MARKS[finding.state]
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_column(width=5)
    row.add_column(width=9, style="bold")
    row.add_column(overflow="fold")
    row.add_row(Text(mark, style), finding.check, Text(finding.message))
    console().print(row)
