"""Writes the pages of docs/ that are drawn from the code: `make docs`. A test holds them to it."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from aifarm.core.lifecycle import IGNORED, TRANSITIONS
from aifarm.core.task import ACTIVE, FINAL, State

DOCS = Path(__file__).parent


def words(event: type) -> str:
    """RankEnded → rank ended."""
    return re.sub(r"(?<!^)([A-Z])", r" \1", event.__name__).lower()


def edges() -> dict[tuple[State, State], list[str]]:
    """The events that can lead from one state to another."""
    found = defaultdict(list)
    for (state, event), rule in TRANSITIONS.items():
        for target in rule.leads_to - {state}:
            found[state, target].append(words(event))
    return {edge: sorted(events) for edge, events in found.items()}


def diagram() -> Iterator[str]:
    """A Mermaid state diagram; what every active state can do is drawn once, from their frame."""
    arrows = edges()
    shared = {
        target: sorted(set.intersection(*(set(arrows.get((s, target), ())) for s in ACTIVE)))
        for target in State
        if target not in ACTIVE
    }
    yield "stateDiagram-v2"
    yield "    [*] --> pending"
    yield '    state "has clients" as active {'
    for (state, target), events in sorted(arrows.items()):
        if state in ACTIVE and target in ACTIVE:
            yield f"        {state} --> {target} : {', '.join(events)}"
    yield "    }"
    for target, events in shared.items():
        if events:
            yield f"    active --> {target} : {', '.join(events)}"
    for (state, target), events in sorted(arrows.items()):
        if {state, target} <= ACTIVE:
            continue
        own = [event for event in events if state not in ACTIVE or event not in shared[target]]
        if own:
            yield f"    {state} --> {target} : {', '.join(own)}"
    for state in sorted(FINAL):
        yield f"    {state} --> [*]"


def outcome(state: State, event: type) -> str:
    if rule := TRANSITIONS.get((state, event)):
        return ", ".join(target for target in State if target in rule.leads_to)
    return f"*nothing: {IGNORED[state, event]}*"


def table() -> Iterator[str]:
    """Every pair of state and event: where it can lead, or why it changes nothing."""
    yield "| in state | on event | leads to |"
    yield "|---|---|---|"
    events = sorted({event for _, event in TRANSITIONS}, key=words)
    for state in State:
        rows = defaultdict(list)
        for event in events:
            rows[outcome(state, event)].append(words(event))
        for leads_to, causes in rows.items():
            yield f"| {state} | {', '.join(causes)} | {leads_to} |"


def task_life() -> str:
    return "\n".join(
        [
            "# The life of a task",
            "",
            "<!-- Drawn from aifarm/core/lifecycle.py by `make docs`; changes here are lost. -->",
            "",
            "A task's state is what the farm last observed. What the submitter wants (running,",
            "paused or stopped) is kept beside it; *desired set* says that this wish changed. A",
            "gang shows the state of rank 0, or of the first rank that has not ended.",
            "",
            "```mermaid",
            *diagram(),
            "```",
            "",
            "Every pair of state and event is decided, and a test proves it:",
            "",
            *table(),
            "",
        ]
    )


def pages() -> dict[Path, str]:
    return {DOCS / "reference" / "task-life.md": task_life()}


if __name__ == "__main__":
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
