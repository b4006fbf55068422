"""`make bench`: every scenario, or those named; a table, and JSON in build/bench.json."""

import importlib
import json
import platform
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.stats import Figure, Unmeasured

SCENARIOS = (
    "footprint",
    "control",
    "forked",
    "first_step",
    "ingest",
    "engine",
    "pausing",
    "reporting",
    "stall",
    "callers",
    "crowd",
    "growth",
    "history",
    "recovery",
    "pixel",
    "curve",
    "live50",
    "install",
)


def show(figures: list[Figure]) -> Table:
    table = Table("scenario", "figure", "value", "unit", "goal", "", "note", title="AI Farm")
    for figure in figures:
        verdict = {True: "[green]meets[/]", False: "[red]misses[/]", None: ""}[figure.meets]
        value = f"{figure.value:,.3f}" if figure.value < 10 else f"{figure.value:,.1f}"
        words = map(escape, (figure.scenario, figure.name, value, figure.unit, figure.goal))
        table.add_row(*words, verdict, escape(figure.note))
    return table


def main() -> None:
    figures: list[Figure] = []
    for name in sys.argv[1:] or SCENARIOS:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        try:
            figures += importlib.import_module(f"bench.{name}").run()
        except Unmeasured as reason:
            print(f"{name} is not measured: {reason}", file=sys.stderr)
    Console(width=None if sys.stdout.isatty() else 160).print(show(figures))
    target = Path("build/bench.json")
    target.parent.mkdir(exist_ok=True)
    machine = {"python": platform.python_version(), "machine": platform.platform()}
    rows = [figure._asdict() for figure in figures]
    target.write_text(json.dumps({**machine, "figures": rows}, indent=1))


if __name__ == "__main__":
    main()
