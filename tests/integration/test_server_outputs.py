"""What a task keeps, on a real server; the workstations do what the test says."""

import hashlib
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import pytest

import aifarm
from aifarm.sdk import Conflict
from aifarm.wire.agent import OutputFile
from integration.running import RunningServer
from integration.scripted import ScriptedAgent

DATA = bytes(range(256)) * 64
names = (f"keeper{number}" for number in count(1))


@pytest.fixture
def agent(shared_server: RunningServer) -> Iterator[ScriptedAgent]:
    with ScriptedAgent(shared_server, next(names)) as scripted:
        yield scripted


@pytest.fixture
def farm(shared_server: RunningServer) -> Iterator[aifarm.Farm]:
    with aifarm.connect(shared_server.url, shared_server.admin_token) as connected:
        yield connected


@pytest.fixture
def task(farm: aifarm.Farm, agent: ScriptedAgent) -> Iterator[aifarm.Task]:
    """A task that runs on the agent."""
    task = submitted(farm)
    agent.take()
    agent.running()
    yield task
    if not task.done:
        agent.end("stopped")


def submitted(farm: aifarm.Farm, **more: Any) -> aifarm.Task:
    package = farm.publish("print()\n", name="kept", version="1.0", kind="script")
    return farm.submit(package=package, outputs=["out/**"], **more)


def kept(task: aifarm.Task) -> dict[str, tuple[int, int]]:
    """(size, attempt) by path."""
    return {one.path: (one.size, one.attempt) for one in task.outputs()}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_what_is_told_is_kept_listed_and_downloaded(
    task: aifarm.Task, agent: ScriptedAgent, tmp_path: Path
) -> None:
    agent.outputs({"out/model.pt": DATA, "out/größe 1.csv": b"1", "out/empty": b""})
    assert kept(task) == {
        "out/empty": (0, 1),
        "out/größe 1.csv": (1, 1),
        "out/model.pt": (len(DATA), 1),
    }
    written = task.download_outputs(tmp_path)
    assert {str(path.relative_to(tmp_path)): path.read_bytes() for path in written} == {
        "out/model.pt": DATA,
        "out/größe 1.csv": b"1",
        "out/empty": b"",
    }


def test_a_later_set_replaces_removes_and_shares_bytes(
    task: aifarm.Task, agent: ScriptedAgent, tmp_path: Path
) -> None:
    agent.outputs({"out/last.pt": b"one", "out/old": b"old"})
    upload_id, _ = agent.upload(b"two", "output")
    agent.say_outputs(
        OutputFile("out/prev.pt", 3, sha(b"one")),  # what last.pt has until now
        OutputFile("out/last.pt", 3, sha(b"two"), upload_id),
        removed=["out/old"],
        final=True,
    )
    assert agent.refusal is None
    task.download_outputs(tmp_path)
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert found == {"prev.pt": b"one", "last.pt": b"two"}
    told = [event.message for event in task.events() if event.kind == "outputs"]
    assert told == ["Outputs: 2 files (0.0 MiB).", "Outputs: 2 files (0.0 MiB)."]


def test_a_download_is_an_attachment_with_ranges(
    shared_server: RunningServer, task: aifarm.Task, agent: ScriptedAgent
) -> None:
    agent.outputs({"out/model.pt": DATA, "out/größe 1.csv": b"1"})
    http = shared_server.http()
    at = f"/api/v2/tasks/{task.id}/outputs"
    whole = http.get(f"{at}/out/model.pt")
    assert whole.content == DATA
    assert whole.headers["Content-Disposition"] == 'attachment; filename="model.pt"'
    assert whole.headers["ETag"] == f'"{sha(DATA)}"'
    assert http.get(f"{at}/out%2Fmodel.pt").content == DATA
    part = http.get(f"{at}/out/model.pt", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, DATA[10:20])
    newer = {"Range": "bytes=10-19", "If-Range": '"another"'}
    assert http.get(f"{at}/out/model.pt", headers=newer).content == DATA
    named = http.get(f"{at}/out/größe 1.csv").headers["Content-Disposition"]
    assert named == "attachment; filename*=UTF-8''gr%C3%B6%C3%9Fe%201.csv"


def test_all_outputs_come_as_one_archive(
    shared_server: RunningServer, farm: aifarm.Farm, task: aifarm.Task, agent: ScriptedAgent
) -> None:
    files = {"out/model.pt": DATA * 200, "out/größe 1.csv": b"1", "out/empty": b""}
    agent.outputs(files)
    archive = io.BytesIO()
    task.outputs_zip(archive)
    with ZipFile(archive) as opened:
        assert opened.testzip() is None
        assert {info.filename: opened.read(info) for info in opened.infolist()} == files
        age = task.outputs()[0].created_at - datetime(*opened.infolist()[0].date_time, tzinfo=UTC)
        assert abs(age.total_seconds()) <= 2
    at = f"/api/v2/tasks/{task.id}/outputs.zip"
    headers = shared_server.http().get(at).headers
    assert headers["Content-Type"] == "application/zip"
    said = f'attachment; filename="{task.id}-outputs.zip"'
    assert headers["Content-Disposition"] == said
    head = shared_server.http().head(at)
    assert (head.status_code, head.headers["Content-Disposition"], head.content) == (200, said, b"")
    assert shared_server.http(shared_server.token("agent", "stranger")).get(at).status_code == 403
    none = io.BytesIO()
    submitted(farm).outputs_zip(none)
    assert ZipFile(none).namelist() == []


def test_an_archive_with_a_file_that_cannot_be_read_is_cut_off(server: RunningServer) -> None:
    server.publish()
    http = server.http()
    task_id = http.post("/api/tasks", json={"name": "model", "version": "1.0"}).json()["id"]
    with ScriptedAgent(server) as agent:
        agent.take()
        agent.outputs({"out/a": DATA * 200, "out/b": b"lost"})
        parts = (file for file in server.data_dir.rglob("part=*") if file.is_file())
        next(file for file in parts if file.read_bytes() == b"lost").unlink()
        with pytest.raises(httpx.RemoteProtocolError):
            http.get(f"/api/v2/tasks/{task_id}/outputs.zip")


def test_no_other_path_leads_to_an_output(
    shared_server: RunningServer, task: aifarm.Task, agent: ScriptedAgent
) -> None:
    agent.outputs({"out/a": b"1"})
    others = ["out", "out/none", "out/%2e%2e/out/a", "%2e%2e/x", "out//a", "out/a%00", "out%5Ca"]
    for path in others:
        url = f"/api/v2/tasks/{task.id}/outputs/{path}"
        assert shared_server.http().get(url).status_code == 404, path


def test_what_is_not_stored_is_refused_and_changes_nothing(
    task: aifarm.Task, agent: ScriptedAgent
) -> None:
    agent.outputs({"out/a": b"one"})
    checkpoint, _ = agent.upload(b"state")
    output, _ = agent.upload(b"two", "output")
    for file in (
        OutputFile("out/b", 3, sha(b"none"), "no-such-upload"),
        OutputFile("out/b", 4, sha(b"none")),
        OutputFile("out/b", 5, sha(b"state"), checkpoint),
        OutputFile("out/b", 4, sha(b"two"), output),
        OutputFile("out/b", 3, sha(b"one!"), output),
    ):
        agent.say_outputs(OutputFile("out/c", 3, sha(b"one")), file, removed=["out/a"])
        assert agent.refusal is not None, file
    assert kept(task) == {"out/a": (3, 1)}


def test_an_attempt_that_is_over_keeps_nothing_more(
    shared_server: RunningServer, farm: aifarm.Farm, agent: ScriptedAgent
) -> None:
    with ScriptedAgent(shared_server, next(names)) as other:
        task = submitted(farm, n_clients=2, distributed=True, max_retries=0)
        first, second = (agent, other) if agent.take().rank == 0 else (other, agent)
        other.take()
        first.outputs({"out/a": b"first"})
        second.outputs({"out/b": b"of rank 1"})
        assert second.refusal is not None
        upload_id, sha256 = first.upload(b"stale", "output")
        second.end("failed", cause="user_error", message="It failed.")
        first.say_outputs(OutputFile("out/a", 5, sha256, upload_id), removed=["out/a"])
        assert first.refusal is not None
        assert "is over" in first.refusal.message
        first.end("stopped", cause="withdrawn")
        (only,) = task.outputs()
        assert (only.path, only.sha256) == ("out/a", sha(b"first"))


def test_the_next_attempt_goes_on_from_what_the_last_one_kept(
    task: aifarm.Task, agent: ScriptedAgent
) -> None:
    agent.outputs({"out/a": b"1", "out/b": b"1"})
    agent.end("failed", cause="agent_lost", message="The machine was restarted.")
    assert agent.take().attempt == 2
    agent.outputs({"out/b": b"22"})
    assert kept(task) == {"out/a": (1, 1), "out/b": (2, 2)}


@pytest.mark.parametrize("stored", [True, False])
def test_a_task_that_goes_on_from_another_begins_with_its_files(
    farm: aifarm.Farm,
    task: aifarm.Task,
    agent: ScriptedAgent,
    stored: bool,
    tmp_path: Path,
) -> None:
    agent.outputs({"out/a": b"1", "out/b": b"1", "weights.safetensors": DATA})
    if stored:
        agent.checkpoint(b"state", step=3)
    agent.end("failed", cause="user_error", message="It failed.")
    child = task.retry()
    assert (agent.take().resume is not None) == stored
    assert kept(child) == {"out/a": (1, 0), "out/b": (1, 0)}
    step = f", from step 3 of {task.id}" if stored else ""
    submitted_as = next(one.message for one in child.events() if one.kind == "submitted")
    assert submitted_as.endswith(f"{step}, with 2 files of {task.id}.")

    agent.say_outputs(OutputFile("out/c", 1, sha(b"1")), removed=["out/a"])  # what a and b have
    assert kept(child) == {"out/b": (1, 0), "out/c": (1, 1)}
    child.download_outputs(tmp_path)
    assert (tmp_path / "out" / "c").read_bytes() == b"1"
    agent.end()
    assert kept(task).keys() == {"out/a", "out/b", "weights.safetensors"}
    for options in ({"from_checkpoint": task.id}, {"from_checkpoint": task.id, "outputs": ["*/a"]}):
        other = farm.submit(child.name, version="1.0", **{"outputs": ["out/**"], **options})
        agent.take()
        assert kept(other).keys() == {"out/a"} | ({"out/b"} if "outputs" not in options else set())
        agent.end()


def test_an_older_checkpoint_and_a_new_beginning_come_without_files(
    farm: aifarm.Farm, task: aifarm.Task, agent: ScriptedAgent
) -> None:
    agent.outputs({"out/a": b"1"})
    agent.checkpoint(b"state", step=3, best=True)
    agent.checkpoint(b"later", step=4)
    agent.end()
    older = task.checkpoints()[1].id
    for which in (older, "best", None, "origin"):
        child = task.retry(which)
        agent.take()
        assert kept(child) == {}, which
        agent.end()
    with pytest.raises(Conflict, match="no checkpoint yet"):
        farm.submit(child.name, version="1.0", from_checkpoint=child.id, outputs=["out/**"])


def test_only_those_who_hold_the_task_reach_its_outputs_with_an_agents_token(
    shared_server: RunningServer, task: aifarm.Task, agent: ScriptedAgent
) -> None:
    agent.outputs({"out/a": b"1"})
    mine = shared_server.http(shared_server.token("agent"))
    other = shared_server.http(shared_server.token("agent", "a stranger's"))
    for path in ("", "/out/a"):
        url = f"/api/v2/tasks/{task.id}/outputs{path}"
        assert mine.get(url).status_code == 200
        assert other.get(url).status_code == 403


@pytest.mark.slow
def test_outputs_outlive_the_server(server: RunningServer) -> None:
    server.publish()
    http = server.http()
    with ScriptedAgent(server) as agent:
        task_id = http.post("/api/tasks", json={"name": "model", "version": "1.0"}).json()["id"]
        agent.take()
        agent.outputs({"out/a": b"1"})
    server.kill()
    server.start()
    (found,) = http.get(f"/api/v2/tasks/{task_id}/outputs").json()["outputs"]
    assert (found["path"], found["size"]) == ("out/a", 1)
