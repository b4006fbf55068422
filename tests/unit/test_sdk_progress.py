"""Who waits for a task sees how far it is, where somebody looks, and may leave without harm."""

import io
from contextlib import redirect_stderr, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aifarm.sdk.progress import picture, shown
from aifarm.wire.rest import TaskFull


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def task(**changes: Any) -> TaskFull:
    fields: dict[str, Any] = dict.fromkeys(TaskFull.__struct_fields__)
    fields |= {"id": "0123456789", "name": "digits", "status": "running", "attempt": 1}
    fields |= {"progress": 50.0, "metrics": {"loss": 0.25, "other": 1.0}}
    return TaskFull(**{**fields, **changes})


def test_a_terminal_shows_a_bar_with_state_and_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    with redirect_stderr(Terminal()) as said, shown(task(progress=0.0)) as show:
        show(task(title="[red]Mine"))
    assert "[red]Mine 01234567: running, loss 0.25" in said.getvalue()
    assert "50 %" in said.getvalue()


def interrupted(said: io.StringIO, wanted: bool = True) -> str:
    """What is said where a wait is interrupted."""
    with redirect_stderr(said), suppress(KeyboardInterrupt), shown(task(), wanted) as show:
        show(task())
        raise KeyboardInterrupt
    return said.getvalue()


def test_an_interrupt_says_that_the_task_goes_on() -> None:
    assert interrupted(Terminal()).endswith("Task 01234567 goes on; stop() would end it.\n")


def test_nothing_is_shown_where_nobody_looks() -> None:
    assert interrupted(io.StringIO()) == ""
    assert interrupted(Terminal(), wanted=False) == ""
    over = task(status="completed")
    with redirect_stderr(Terminal()) as said, shown(over) as show:
        show(over)
    assert said.getvalue() == ""


def test_a_notebook_gets_a_bar_and_words_that_stay() -> None:
    begun = datetime.now(UTC) - timedelta(minutes=5)
    going = picture(task(title="<Mine>", started_at=begun))
    assert 'value="50.0"' in going["text/html"]
    assert "&lt;Mine&gt;" in going["text/html"]
    assert going["text/plain"].endswith("running, loss 0.25, 0:05:00 left, 50 %")
    again = picture(task(attempt=2, started_at=begun))  # it may have waited in between
    assert "left" not in again["text/plain"]
    over = picture(task(status="completed", started_at=begun, ended_at=begun + timedelta(hours=1)))
    assert "completed, loss 0.25, took 1:00:00" in over["text/plain"]
