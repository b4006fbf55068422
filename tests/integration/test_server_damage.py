"""A stored checkpoint that is no longer what it was: the one before it is used, and it is told."""

from pathlib import Path

import pytest

from integration.running import RunningServer
from integration.scripted import ScriptedAgent

SLOW = pytest.mark.slow
BODY = {"name": "model", "version": "1.0"}


def kinds(server: RunningServer, task_id: str, kind: str) -> list[str]:
    events = server.http().get(f"/api/v2/tasks/{task_id}/events").json()["events"]
    return [event["message"] for event in events if event["kind"] == kind]


def part_of(server: RunningServer, data: bytes) -> Path:
    files = (file for file in server.data_dir.rglob("part=*") if file.is_file())
    found = [file for file in files if file.read_bytes() == data]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(
    "damage", [b"other bytes!", *(pytest.param(other, marks=SLOW) for other in (b"cut", None))]
)
def test_the_checkpoint_before_a_damaged_one_is_used(
    server: RunningServer, damage: bytes | None
) -> None:
    server.publish()
    http = server.http()
    task_id = http.post("/api/v2/tasks", json=BODY).json()["id"]
    with ScriptedAgent(server) as agent:
        agent.take()
        agent.running()
        agent.checkpoint(b"first bytes!", step=10)
        agent.checkpoint(b"final bytes!", step=20)
        agent.end("stopped", cause="owner_returned")
        resumed = agent.take()
        assert resumed.resume is not None
        assert resumed.resume.step == 20

        part = part_of(server, b"final bytes!")
        part.unlink() if damage is None else part.write_bytes(damage)
        data = f"/api/v2/tasks/{task_id}/checkpoints/{resumed.resume.id}/data"
        answer = http.get(data)
        assert answer.status_code == 404, answer.text
        assert "Part 0 of" in answer.json()["error"]["message"]

        agent.end("failed", cause="checkpoint_damaged", message="It cannot be had.")
        again = agent.take()
        assert again.resume is not None
        assert again.resume.step == 10
        assert kinds(server, task_id, "checkpoint_damaged") == [
            "The checkpoint of step 20 is damaged: that of step 10 is used."
        ]
        agent.end("failed", cause="checkpoint_damaged", message="It cannot be had.")
        assert agent.take().resume is None
        told = kinds(server, task_id, "checkpoint_damaged")[1]
        assert told == "The checkpoint of step 10 is damaged: there is none before it."


def test_what_a_task_was_to_begin_with_has_nothing_in_its_place(server: RunningServer) -> None:
    server.publish()
    http = server.http()
    with ScriptedAgent(server) as agent:
        parent = http.post("/api/v2/tasks", json=BODY).json()["id"]
        agent.take()
        agent.running()
        agent.checkpoint(b"some bytes", step=10)
        agent.end()
        child = http.post("/api/v2/tasks", json={**BODY, "from_checkpoint": parent}).json()["id"]
        for _ in range(2):
            begun = agent.take()
            assert begun.resume is not None
            assert begun.resume.step == 10
            agent.end("failed", cause="checkpoint_damaged", message="It cannot be had.")
        assert kinds(server, child, "checkpoint_damaged") == []


def test_a_checkpoint_that_could_not_be_written_is_in_the_story(server: RunningServer) -> None:
    server.publish()
    task_id = server.http().post("/api/v2/tasks", json=BODY).json()["id"]
    with ScriptedAgent(server) as agent:
        agent.take()
        agent.running()
        agent.note("checkpoint_failed", "The checkpoint of step 7 could not be written.")
        assert kinds(server, task_id, "checkpoint_failed") == [
            "ws1: The checkpoint of step 7 could not be written."
        ]
