"""The command line without a farm: help, values, exit codes, tables and cards."""

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from rich.console import Console

from aifarm.cli import app, card, clientcard, lines, options, progress, render, words
from aifarm.cli.board import Board
from aifarm.sdk import errors
from aifarm.sdk.choice import chosen
from aifarm.sdk.frames import History
from aifarm.wire import live
from aifarm.wire.agent import Cpu, Gpu, GpuProcess, Memory, Resources
from aifarm.wire.rest import (
    Check,
    ClientFull,
    ClientFullDetails,
    ClientHistory,
    ClientTaskFull,
    Holder,
    MetricSummary,
    Missing,
    PerformanceFull,
    TaskFull,
    Why,
)
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
        "processes_per_client": 1,
        "submitter": "ada",
        "clients": ["ws1"],
        "tags": [],
        "summaries": UNSET,
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


def test_a_unique_prefix_is_enough_and_an_ambiguous_one_names_who_is_meant() -> None:
    ids = {"abc": "first", "abd": "second", "ab": "short", "x1": "other"}
    assert chosen(ids, "x", "token") == "x1"
    assert chosen(ids, "ab", "token") == "ab"
    with pytest.raises(errors.InvalidRequest, match=r"abc \(first\), abd \(second\)"):
        chosen(ids, "a", "token")
    with pytest.raises(errors.NotFound):
        chosen(ids, "z", "token")


def test_a_moment_is_a_date_a_time_or_a_while_ago() -> None:
    assert options.moment("2026-11-04T12:00:00Z") == datetime(2026, 11, 4, 12, tzinfo=UTC)
    assert options.moment("2026-11-04").tzinfo is not None
    before = datetime.now(UTC)
    assert before <= options.moment("3d") + timedelta(days=3) <= datetime.now(UTC)
    with pytest.raises(click.BadParameter, match="no moment"):
        options.moment("yesterday")


# ---------------------------------------------------------------- what people read


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (300 << 20, "300 MiB"), (5 << 40, "5.0 TiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert words.size(count) == text


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
    assert words.duration(seconds) == text


def test_an_empty_list_says_what_to_do_next(capsys: pytest.CaptureFixture[str]) -> None:
    render.tasks([], [], filtered=False)
    render.curves(History(), "t")
    render.checkpoints([], "t")
    render.clients([])
    render.packages([])
    render.tokens([])
    said = capsys.readouterr()
    assert said.out == ""
    for hint in ("aifarm submit", "aifarm-agent --server", "aifarm publish", "aifarm token create"):
        assert hint in said.err


def test_a_task_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    pending = task(status="pending", clients=[], metrics={}, title="Digits again", tags=["x"])
    render.tasks([task(), pending], [], filtered=False)
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == [
        "ID", "TITLE", "STATUS", "PROGRESS", "METRICS", "CLIENTS", "SUBMITTER", "PROJECT", "TAGS",
        "AGE",
    ]  # fmt: skip
    for part in ("0f3c9a7e", "digits:1.0", "running", "46 %", "loss 0.0023", "ws1", "ada", "1 h"):
        assert part in first
    assert "pending" in second
    assert "Digits again" in second


def test_a_short_line_goes_without_what_is_least_needed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = task(tags=["a-rather-long-tag", "and-another"], project="a project of many words")
    for width, there, gone in ((160, "TAGS", "none"), (80, "STATUS", "TAGS"), (60, "AGE", "CLI")):
        monkeypatch.setattr(render, "console", lambda width=width: Console(width=width))
        render.tasks([long], [], filtered=False)
        lines = capsys.readouterr().out.splitlines()
        assert there in lines[0]
        assert gone not in lines[0]
        assert len(lines) == 2


def test_columns_are_fields_config_and_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    summary = MetricSummary("loss", 3, 0.0023, 0.001, 0.9, 3, best=0.001)
    shown = task(config={"net": {"width": 8}}, summaries=[summary])
    names = ["id", "config.net.width", "config.no", "metrics.loss", "metrics.loss.min", "cause"]
    render.tasks([shown], names, filtered=False)
    assert capsys.readouterr().out.splitlines()[1].split() == [
        "0f3c9a7e", "8", "-", "0.0023", "0.001", "-",
    ]  # fmt: skip


@given(st.lists(st.none() | st.floats(-1e9, 1e9), max_size=80))
def test_a_sparkline_has_a_bar_for_each_known_value_and_is_short(
    values: list[float | None],
) -> None:
    line = words.sparkline(values, 24)
    assert len(line) <= 24
    if None not in values:
        assert len(line) == min(24, len(values))


def test_a_sparkline_rises_with_the_values() -> None:
    assert words.sparkline([0.0, 1.0, None, 2.0]) == "▁▅ █"


def test_a_client_without_known_resources_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    client = ClientFull(
        "ws1", "offline", "contract", "", "", {}, [], None, [], True, None, datetime.now(UTC)
    )
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
    missing = Missing("ws1", "has 2 cores, needs 4", tasks=[Holder("ab12cd34-1", "kim")])
    hints = ["It would start now with 2 cores."]
    why = Why("t", "pending", "It waits for a client.", [missing], position=3, hints=hints)
    card.show(task(status="pending", clients=[], attempt=0, started_at=None), why, None)
    said = capsys.readouterr().out
    assert "It waits for a client." in said
    for part in ("has 2 cores, needs 4", "number 3", "with 2 cores", "ab12cd34 of kim"):
        assert part in said


def test_a_check_says_where_it_fits(capsys: pytest.CaptureFixture[str]) -> None:
    missing = [Missing("ws3", "has no GPU", never=True)]
    card.check(
        Check(False, 2, [], ["ws1", "ws2"], missing, "It would wait.", ["ws1 is free soon."])
    )
    said = capsys.readouterr().out
    for part in ("It would wait.", "once they are free: ws1, ws2", "ws1 is free soon", "no GPU"):
        assert part in said


# ---------------------------------------------------------------- machines

GPU = Gpu(0, "RTX 3080", Memory(10240, 3072), utilization=57.0, temperature=61.0)
SILENT = Gpu(1, "RTX 3080", Memory(10240))


def client(**changes: Any) -> ClientFull:
    resources = Resources(Cpu(8, 40.0), Memory(16384, 8192), (GPU, SILENT))
    fields: dict[str, Any] = {
        "id": "ws1", "status": "active", "speaks": "farm", "hostname": "ws1.lab",
        "agent_version": "0.1.0", "labels": {"room": "2"}, "environments": [],
        "resources": resources, "lends": True,
        "tasks": [ClientTaskFull("0f3c9a7e-1", "running", 45.0, [0])],
        "drained": None, "last_seen": datetime.now(UTC),
    }  # fmt: skip
    return ClientFull(**{**fields, **changes})


def drawn(board: Board, width: int, height: int = 1000) -> str:
    out = Console(file=io.StringIO(), width=width)
    out.print(board.picture(width, height))
    text: str = out.file.getvalue()  # type: ignore[attr-defined]
    return text


@pytest.mark.parametrize("width", [80, 140])
def test_the_board_shows_machines_what_runs_and_what_waits(width: int) -> None:
    board = Board("http://farm")
    waiting = task(id="77777777-1", status="pending", title="The next one", clients=[])
    board.hear(live.Snapshot(1, [task(progress=50.0), waiting], [client()]))
    said = drawn(board, width)
    for part in ("1 of 1 clients", "2 GPUs", "1 running", "1 waiting", "57 %", "3.0 GiB of 10",
                 "0f3c9a7e", "50 %", "The next one"):  # fmt: skip
        assert part in said
    assert max(len(line) for line in said.splitlines()) <= width
    board.hear(live.TaskChanged(2, task(status="completed")))
    board.hear(live.TaskDeleted(3, "77777777-1"))
    board.hear(live.ClientForgotten(4, "ws1"))
    said = drawn(board, width)
    assert "No clients." in said
    assert "No tasks." in said


def test_what_nobody_measured_is_no_zero() -> None:
    board = Board("http://farm")
    away = client(id="ws2", status="offline")
    unknown = client(id="ws3", resources=None)
    board.hear(live.Snapshot(1, [task(progress=0.0)], [client(), away, unknown]))
    said = drawn(board, 140)
    rows = {line.split()[0]: line for line in said.splitlines() if line.startswith(("ws", "0f"))}
    assert "n/a  n/a of 10.0 GiB" in said  # the second GPU, of which only the size is known
    for name in ("ws2", "ws3", "0f3c9a7e"):
        assert "n/a" in rows[name]
    assert "40 %" not in rows["ws2"]


def test_a_board_larger_than_the_terminal_counts_the_rest() -> None:
    board = Board("http://farm")
    tasks = [task(id=f"{number:08}-1") for number in range(50)]
    board.hear(live.Snapshot(1, tasks, [client(id=f"ws{number}") for number in range(50)]))
    said = drawn(board, 140, height=24)
    assert "more clients" in said
    assert "more tasks" in said


def test_a_client_is_shown_with_gpus_holders_and_what_it_did(
    capsys: pytest.CaptureFixture[str],
) -> None:
    held = Gpu(0, "RTX", Memory(10240, 3072), processes=(GpuProcess(7, "kim", "python"),))
    about = client(resources=Resources(Cpu(8, 40.0), Memory(16384, 8192), (held, SILENT)))
    done = PerformanceFull(3, 4, 61.0, 0.75)
    details = ClientFullDetails(*(getattr(about, name) for name in about.__struct_fields__), done)
    clientcard.show(details, ClientHistory("ws1", 60.0, [], [1.0, 2.0], [50.0, None], []))
    said = capsys.readouterr().out
    for part in (
        "room=2",
        "kim: python",
        "n/a",
        "3 tasks completed, 1 min 1 s",
        "75 %",
        "0f3c9a7e",
    ):
        assert part in said


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


def read(unfinished: Any = None) -> Any:
    """A log as it is followed, with a progress bar on the way."""
    yield "begins [bold]"
    if unfinished is not None:
        unfinished("50 % " + "#" * 100)
    yield "100 %"


def test_a_followed_log_draws_the_line_that_has_not_ended_and_leaves_it_out_in_a_pipe() -> None:
    shown = {}
    for terminal in (False, True):
        out = Console(file=io.StringIO(), force_terminal=terminal, width=40)
        assert lines.show(read, out, followed=True)
        shown[terminal] = out.file.getvalue()  # type: ignore[attr-defined]
    assert shown[False] == "begins [bold]\n100 %\n"
    bar = "50 % " + "#" * 33 + "…"
    assert shown[True] == f"begins [bold]\n{bar}\r\x1b[2K100 %\n"
    assert not lines.show(lambda unfinished=None: (), out, followed=True)
