"""Commands that act on many tasks, answer in JSON, and read all ranks: against a real server."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from integration.running import RunningServer
from integration.scripted import ScriptedAgent
from integration.shell import Shell

names = (f"station{number}" for number in count(1))


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(tmp_path_factory.mktemp("farm")) as running:
        running.publish()
        yield running


@pytest.fixture
def aifarm(farm: RunningServer, tmp_path: Path) -> Shell:
    return Shell(farm, tmp_path)


@pytest.fixture
def agent(farm: RunningServer) -> Iterator[ScriptedAgent]:
    with ScriptedAgent(farm, next(names)) as scripted:
        yield scripted


@pytest.fixture
def task_id(farm: RunningServer) -> Iterator[str]:
    """Of a task that waits; no later test's agent is given it."""
    http = farm.http()
    body = {"name": "model", "version": "1.0"}
    yield http.post("/api/v2/tasks", json=body).json()["id"]
    http.post("/api/v2/tasks/bulk", json={"action": "stop", "filter": {}})


def test_tasks_that_are_found_are_asked_about_before_anything_is_done(
    aifarm: Shell, task_id: str
) -> None:
    made = [aifarm("submit", "model", "--project", "swept").out.strip() for _ in range(2)]
    over = aifarm("submit", "model", "--project", "swept").out.strip()
    aifarm("stop", over)
    swept = ["stop", "--project", "swept"]
    asked = aifarm(*swept)
    assert (asked.code, asked.out) == (2, "")
    assert "stop 2 tasks" in asked.err
    assert "--yes" in asked.err
    assert aifarm("stop").code == 2
    assert aifarm("stop", task_id, "--project", "swept").code == 2
    told = aifarm(*swept, "--yes", "--json")
    assert told.code == 0
    assert {one["id"] for one in json.loads(told.out)} == set(made)
    assert {one["task"]["status"] for one in json.loads(told.out)} == {"stopped"}
    nothing = aifarm(*swept, "--yes")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "No such task.\n")
    assert aifarm("show", task_id, "--json").out.count('"pending"') == 1
    again = json.loads(aifarm("retry", "--project", "swept", "--yes", "--json").out)
    assert {one["parent"] for one in again} == {*made, over}


def test_somebody_at_a_terminal_is_asked(aifarm: Shell, task_id: str) -> None:
    aifarm("edit", task_id, "--project", "asked")
    stop = [sys.executable, "-m", "aifarm.cli", "stop", "--project", "asked"]
    for answer, code, status in (("n", 1, "pending"), ("y", 0, "stopped")):
        ours, theirs = os.openpty()
        os.write(ours, f"{answer}\n".encode())
        done = subprocess.run(
            stop, stdin=theirs, capture_output=True, text=True, timeout=60, env=aifarm.environ
        )
        os.close(ours)
        os.close(theirs)
        assert done.returncode == code, done.stderr
        assert "Stop 1 task? [y/N]" in done.stderr
        assert task_id[:8] in done.stderr
        assert json.loads(aifarm("show", task_id, "--json").out)["status"] == status


def test_what_changes_something_can_answer_in_json(
    aifarm: Shell, task_id: str, agent: ScriptedAgent
) -> None:
    agent.take()
    agent.running()
    agent.checkpoint(b"weights", step=1)
    (checkpoint,) = json.loads(aifarm("checkpoint", "list", task_id, "--json").out)

    def one(*arguments: str) -> dict[str, Any]:
        told = aifarm(*arguments, "--json")
        assert told.code == 0, told.err
        found = json.loads(told.out)
        return found[0] if isinstance(found, list) else found

    assert one("pause", task_id)["task"]["desired"] == "paused"
    assert one("checkpoint", "pin", task_id, checkpoint["id"])["pinned"]
    assert one("drain", agent.name)["drained"]
    assert one("delete", task_id)["error"] is None
    assert one("restore", task_id)["task"]["id"] == task_id
    agent.end("stopped", cause="stopped")


def test_logs_of_all_ranks_name_the_rank_of_each_line(
    aifarm: Shell, farm: RunningServer, task_id: str
) -> None:
    with ScriptedAgent(farm, next(names)) as first:
        first.take()
        first.end()
        with ScriptedAgent(farm, next(names)) as second:
            gang = aifarm("submit", "model", "--n-clients", "2").out.strip()
            ranks = {agent.take().rank: agent for agent in (first, second)}
            for rank, agent in sorted(ranks.items()):
                agent.running()
                agent.log(f"from {rank}")
            said = aifarm("logs", gang, "--rank", "all").out
            assert said == "[rank 0] from 0\n[rank 1] from 1\n"
            with aifarm.start("logs", gang, "--rank", "all", "-f") as following:
                ranks[1].log("late")
                for agent in ranks.values():
                    agent.end()
                out = following.communicate(timeout=60)[0].splitlines()
            assert sorted(out) == [*said.splitlines(), "[rank 1] late"]
            assert aifarm("logs", gang, "--rank", "none").code == 2
