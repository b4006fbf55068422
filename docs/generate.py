"""Writes the pages of docs/ that are drawn from the code: `make docs`. A test holds them to it."""

import inspect
import json
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from aifarm.cli.app import app
from aifarm.core.lifecycle import IGNORED, TRANSITIONS
from aifarm.core.task import ACTIVE, FINAL, State, TaskEvent
from aifarm.web.asyncapi import asyncapi
from aifarm.web.openapi import openapi
from aifarm.web.routes import BASES, ROUTES
from aifarm_agent.cli import main as agent

DOCS = Path(__file__).parent

EVENTS: tuple[type[TaskEvent], ...] = TaskEvent.__args__

MEANING = {
    State.PENDING: "It waits for clients; `aifarm show ID` says what each of them lacks.",
    State.ASSIGNED: "Its clients are chosen and prepare; nothing has run yet.",
    State.RUNNING: "It trains.",
    State.PAUSED: "It is held on its clients, or waits without any until it is resumed.",
    State.UNREACHABLE: "Contact with one of its clients is lost; training may go on there.",
    State.COMPLETED: "Every rank has reached its end. Final.",
    State.FAILED: "It ended for the cause it names. Final.",
    State.STOPPED: "It ended because somebody wanted it to. Final.",
}

COMMON = {"urls", "token_file", "allow_plaintext"}
"""Options of every command that speaks to a farm: the page has them once."""

COMMANDS = """\
# The commands of `aifarm` and `aifarm-agent`

<!-- Drawn from aifarm/cli and aifarm_agent/cli.py by `make docs`; changes here are lost. -->

Every command that speaks to a farm takes `--url URL`, `--token-file FILE` and `--allow-plaintext`;
[how to use the command line](../how-to/use-the-command-line.md) says what happens without them.
The program of a [workstation](../how-to/second-workstation.md), `aifarm-agent`, comes last.

{commands}"""

TASK_LIFE = """\
# The life of a task

<!-- Drawn from aifarm/core/lifecycle.py by `make docs`; changes here are lost. -->

A task's state is what the farm last observed. What the submitter wants (running, paused or stopped)
is kept beside it; *desired set* says that this wish changed. A gang shows the state of rank 0; once
that has ended, of the first rank that has not.

{diagram}

## States

{states}

## Events

An event that speaks for an attempt that is over, or for a rank that never was, is *stale*: it is
refused and changes nothing, in any state. The others mean:

{events}

## What leads where

Every pair of state and event is decided, and a test proves it. Where several states are named, the
task's budgets, its desired state and its other ranks decide.

{transitions}

## What changes nothing

{ignored}
"""


def task_life() -> str:
    return TASK_LIFE.format(
        diagram=_diagram(),
        states=_table(("state", "meaning"), ((f"`{s}`", MEANING[s]) for s in State)),
        events=_table(("event", "meaning"), ((_words(e), _summary(e)) for e in EVENTS)),
        transitions=_table(
            ("in state", "when", "it is then"),
            (
                (f"`{state}`", _words(event), _either(TRANSITIONS[state, event].leads_to))
                for state in State
                for event in EVENTS
                if (state, event) in TRANSITIONS
            ),
        ),
        ignored=_table(("in state", "these change nothing", "since"), _ignored()),
    )


def _diagram() -> str:
    """Edges of the table; those that every active state has leave their common box."""
    edges: dict[tuple[str, State], list[str]] = defaultdict(list)
    for event in EVENTS:
        for target in State:
            sources = [
                state
                for state in State
                if state is not target
                and (state, event) in TRANSITIONS
                and target in TRANSITIONS[state, event].leads_to
            ]
            if target not in ACTIVE and set(sources) >= ACTIVE:
                edges["active", target].append(_words(event))
                sources = [state for state in sources if state not in ACTIVE]
            for state in sources:
                edges[state, target].append(_words(event))
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> pending"]
    lines += ['    state "has clients" as active {']
    lines += [f"        {state}" for state in State if state in ACTIVE]
    lines += ["    }"]
    lines += [f"    {start} --> {end} : {', '.join(on)}" for (start, end), on in edges.items()]
    lines += [f"    {state} --> [*]" for state in State if state in FINAL]
    return "\n".join([*lines, "```"])


def _ignored() -> Iterable[tuple[str, str, str]]:
    groups: dict[tuple[State, str], list[str]] = defaultdict(list)
    for state in State:
        for event in EVENTS:
            if reason := IGNORED.get((state, event)):
                groups[state, reason].append(_words(event))
    for (state, reason), events in groups.items():
        every = len(events) == len(EVENTS)
        yield f"`{state}`", "all events" if every else ", ".join(events), reason


def _words(event: type[TaskEvent]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", " ", event.__name__).lower()


def _summary(event: type[TaskEvent]) -> str:
    return " ".join((inspect.getdoc(event) or "").split("\n\n")[0].split())


def _either(states: Iterable[State]) -> str:
    names = [f"`{state}`" for state in State if state in states]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def commands() -> str:
    shown = [_command(("aifarm", name), one) for name, one in app.commands.items()]
    return COMMANDS.format(commands="\n".join([*shown, _command(("aifarm-agent",), agent)]))


def _command(words: tuple[str, ...], command: click.Command) -> str:
    """A heading, the usage, what it says of itself, and its options."""
    context = click.Context(command, info_name=words[-1])
    usage = " ".join((*words, *command.collect_usage_pieces(context)[1:]))
    about = inspect.cleandoc(command.help or "").replace("\b\n", "")
    own = [one for one in command.params if isinstance(one, click.Option)]
    if {one.name for one in own} >= COMMON:  # a server's --allow-plaintext is another thing
        own = [one for one in own if one.name not in COMMON]
    options = [one.get_help_record(context) or ("", "") for one in own]
    parts = [f"## {' '.join(words).removeprefix('aifarm ')}", f"```\n{usage}\n```", _listed(about)]
    if options:
        rows = ((f"`{_cell(name)}`", _cell(text)) for name, text in options)
        parts.append(_table(("option", ""), rows))
    if isinstance(command, click.Group):
        parts += (_command((*words, name), one) for name, one in command.commands.items())
    return "\n\n".join(parts) + "\n"


def _listed(text: str) -> str:
    """Lines that are set in columns stay as they are set."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(f"```\n{one}\n```" if "  " in one else one for one in paragraphs)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def pages() -> dict[Path, str]:
    return {
        DOCS / "reference" / "task-life.md": task_life(),
        DOCS / "reference" / "commands.md": commands(),
        DOCS / "reference" / "openapi.json": _json(openapi(ROUTES, BASES)),
        DOCS / "reference" / "asyncapi.json": _json(asyncapi()),
    }


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
