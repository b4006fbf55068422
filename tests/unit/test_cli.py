"""The command line without a farm: help, values, exit codes, tables and cards."""

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from aifarm.cli import app, card, options, progress, render
from aifarm.sdk import errors
from aifarm.wire.rest import ClientFull, Missing, TaskFull, Why
from aifarm.wire.types import Requirements


def task(**changes: Any) -> TaskFull:
    now = datetime.now(UTC)
    fields: dict[str, Any] = dict.fromkeys(TaskFull.__struct_fields__)
    fields |= {
        "id": "0f3c9a7e-1111-4222-8333-444455556666",
        "type": "training",
        "name": "digits",
        "version": "1.0",
        "status": "running",
        "desired": "running",
        "attempt": 1,
        "progress": 45.5,
        "metrics": {"loss": 0.0023, "accuracy": 0.98, "val_loss": None},
        "config": {"epochs": 3},
        "requirements": Requirements(min_gpu_memory=4096, min_cpu_cores=4, min_ram=8192),
        "n_clients": 1,
        "submitter": "ada",
        "clients": ["ws1"],
        "created_at": now - timedelta(hours=1),
        "started_at": now - timedelta(minutes=5),
    }
    return TaskFull(**{**fields, **changes})


# ---------------------------------------------------------------- the command


def test_help_names_every_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["--help"]) == 0
    said = capsys.readouterr().out
    for word in [*app.app.commands, "130  interrupted", "AIFARM_URL", "config.toml"]:
        assert word in said


@pytest.mark.parametrize("command", sorted(app.app.commands))
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run([command, "--help"]) == 0
    assert command in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["unheard-of"],
        ["show"],
        ["tasks", "--status", "weird"],
        ["submit", "digits", "--set", "novalue"],
        ["token", "create", "--role", "king", "--name", "n"],
        ["token", "create", "--role", "agent", "--name", "n", "--expires", "soon"],
        ["publish", "/no/such/folder"],
        ["--url", "x"],
    ],
)
def test_wrong_usage_is_2_and_told_on_stderr(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Error: " in said.err
    assert "Traceback" not in said.err


def test_an_address_that_is_none_and_a_dead_one_are_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    token = tmp_path / "token"
    token.write_text("t")
    at = ["--token-file", str(token), "--url"]
    assert app.run(["tasks", *at, "farm:8765"]) == 2
    assert app.run(["tasks", *at, "http://farm.example:8765"]) == 2
    assert app.run(["tasks", *at, "http://127.0.0.1:9"]) == 5
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert all(line.startswith("aifarm: ") for line in said)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ServerError("x"), 1),
        (errors.Unavailable("x"), 1),
        (errors.RateLimited("x"), 1),
        (errors.InvalidRequest("x"), 2),
        (errors.Conflict("x"), 2),
        (errors.InsecureFarm("x"), 2),
        (errors.Unauthorized("x"), 3),
        (errors.Forbidden("x"), 3),
        (errors.NotFound("x"), 4),
        (errors.FarmUnreachable("x"), 5),
        (KeyError("a bug"), 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: Exception, code: int) -> None:
    assert app.exit_code(error) == code


# ---------------------------------------------------------------- values that people type


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("30d", 2592000)]
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert options.duration(text) == seconds


@pytest.mark.parametrize("text", ["30", "d", "-3d", "3 d", "3y", ""])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        options.duration(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner)
)


@given(st.text(min_size=1).filter(lambda key: "=" not in key), json_values)
def test_a_setting_is_its_json_value(key: str, value: Any) -> None:
    assert options.setting(f"{key}={json.dumps(value)}") == (key, value)


def test_a_setting_that_is_no_json_is_text() -> None:
    assert options.setting("activation=relu") == ("activation", "relu")
    assert options.setting("path=a=b") == ("path", "a=b")


def test_a_unique_prefix_is_enough_and_an_ambiguous_one_is_not() -> None:
    ids = ["abc", "abd", "ab", "x1"]
    assert render.only(ids, "x", "token") == "x1"
    assert render.only(ids, "ab", "token") == "ab"
    with pytest.raises(errors.InvalidRequest):
        render.only(ids, "a", "token")
    with pytest.raises(errors.NotFound):
        render.only(ids, "z", "token")


# ---------------------------------------------------------------- what people read


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (300 << 20, "300 MiB"), (5 << 40, "5.0 TiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert render.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3605, "1 h 0 min"),
        (200_000, "2 d 7 h"),
        (-5, "0 s"),
    ],
)
def test_durations_in_two_units(seconds: float, text: str) -> None:
    assert render.duration(seconds) == text


def test_an_empty_list_says_what_to_do_next(capsys: pytest.CaptureFixture[str]) -> None:
    render.tasks([], filtered=False)
    render.clients([])
    render.packages([])
    render.tokens([])
    said = capsys.readouterr()
    assert said.out == ""
    for hint in ("aifarm submit", "aifarm-agent --server", "aifarm publish", "aifarm token create"):
        assert hint in said.err


def test_a_task_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    render.tasks([task(), task(status="pending", clients=[], metrics={})], filtered=False)
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == [
        "ID", "NAME", "STATUS", "PROGRESS", "METRICS", "CLIENTS", "SUBMITTER", "AGE",
    ]  # fmt: skip
    for part in ("0f3c9a7e", "digits:1.0", "running", "46 %", "loss 0.0023", "ws1", "ada", "1 h"):
        assert part in first
    assert "pending" in second


def test_a_client_without_known_resources_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    client = ClientFull("ws1", "offline", "contract", "", "", {}, None, [], None, datetime.now(UTC))
    render.clients([client])
    assert "ws1" in capsys.readouterr().out


def test_a_card_shows_state_needs_metrics_and_clients(capsys: pytest.CaptureFixture[str]) -> None:
    card.show(task(n_clients=2, clients=["ws1", "ws2"], desired="paused"), None, None)
    said = capsys.readouterr().out
    for part in (
        "0f3c9a7e-1111-4222-8333-444455556666",
        "running (to be paused)",
        "45.5 %",
        "ws1 (rank 0), ws2 (rank 1)",
        "val_loss n/a",
        "2 clients, each 4 cores, 8.0 GiB memory, a GPU with 4.0 GiB",
        "running for 5 min",
        "by ada",
    ):
        assert part in said


def test_a_pending_card_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    why = Why("t", "pending", "It waits for a client.", [Missing("ws1", "has 2 cores, needs 4")])
    card.show(task(status="pending", clients=[], attempt=0, started_at=None), why, None)
    said = capsys.readouterr().out
    assert "It waits for a client." in said
    assert "has 2 cores, needs 4" in said


def test_a_failed_card_says_the_cause(capsys: pytest.CaptureFixture[str]) -> None:
    words = "ws1: the model's forward fails [brackets] stay."
    card.show(task(status="failed", cause="user_error", message=words), None, None)
    assert f"user_error: {words}" in capsys.readouterr().out


class Watched:
    """A task, and a farm that shows its states one by one."""

    def __init__(self, *states: TaskFull) -> None:
        self.states = states
        self.info = states[0]

    def watch(self, *_: Any) -> Any:
        for state in self.states:
            self.info = state
            yield self


@pytest.mark.parametrize(("terminal", "width"), [(False, 80), (True, 80), (True, 140)])
def test_progress_shows_percent_metrics_and_clients(terminal: bool, width: int) -> None:
    out = Console(file=io.StringIO(), force_terminal=terminal, width=width)
    metrics = {"loss": 0.5, "accuracy": 0.9, "learning_rate": 0.003}
    states = [task(progress=float(percent), metrics=metrics) for percent in range(0, 101, 2)]
    watched: Any = Watched(*states, task(status="completed", progress=100.0, metrics=metrics))
    progress.follow(watched, [watched], out)
    said = out.file.getvalue()  # type: ignore[attr-defined]
    for part in ("digits", "0f3c9a7e", "running", "completed", "100", "0.5", "0.9", "0.003", "ws1"):
        assert part in said
    if not terminal:
        assert len(said.splitlines()) == 12
