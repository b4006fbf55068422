"""The live feed of a real server, and what a SIGKILL leaves of it."""

import json
from typing import Any

from websockets.sync.client import ClientConnection

from integration.running import RunningServer

BODY = {"name": "model", "url": "http://elsewhere/models/model/1.0"}


def hear(socket: ClientConnection, kind: str) -> dict[str, Any]:
    """The next message of this type; others are passed over."""
    while True:
        heard: dict[str, Any] = json.loads(socket.recv(timeout=20))
        if heard["type"] == kind:
            return heard


def subscribe(socket: ClientConnection, *topics: str, since: int | None = None) -> dict[str, Any]:
    socket.send(json.dumps({"type": "subscribe", "topics": topics, "since": since}))
    return hear(socket, "snapshot")


def test_a_reader_gets_a_snapshot_and_then_what_changes(server: RunningServer) -> None:
    http = server.http()
    first = http.post("/api/v2/tasks", json=BODY).json()
    with server.live() as reader:
        snapshot = subscribe(reader, "farm")
        assert [task["id"] for task in snapshot["tasks"]] == [first["id"]]
        second = http.post("/api/v2/tasks", json=BODY).json()
        assert hear(reader, "event")["event"]["kind"] == "submitted"
        assert hear(reader, "task")["task"]["id"] == second["id"]
        http.delete(f"/api/v2/tasks/{second['id']}")
        assert hear(reader, "task_deleted")["id"] == second["id"]


def test_a_reader_of_one_task_hears_of_no_other(server: RunningServer) -> None:
    http = server.http()
    mine = http.post("/api/v2/tasks", json=BODY).json()["id"]
    with server.live() as reader:
        subscribe(reader, f"task:{mine}")
        http.post("/api/v2/tasks", json=BODY)
        http.put(f"/api/v2/tasks/{mine}/status", json={"status": "stopped"})
        assert hear(reader, "event")["event"]["task_id"] == mine
        assert hear(reader, "task")["task"]["id"] == mine


def test_a_reader_that_was_away_resumes_by_event_number(server: RunningServer) -> None:
    http = server.http()
    with server.live() as reader:
        seen = subscribe(reader, "farm")["event"]
    missed = http.post("/api/v2/tasks", json=BODY).json()["id"]
    with server.live() as reader:
        reader.send(json.dumps({"type": "subscribe", "topics": ["farm"], "since": seen}))
        assert hear(reader, "event")["event"]["task_id"] == missed
        assert hear(reader, "snapshot")["tasks"][0]["id"] == missed


def test_points_reach_the_reader_of_a_task(server: RunningServer) -> None:
    http = server.http()
    with server.socket("ws1") as client, server.live() as reader:
        client.send('{"type": "task_request"}')
        task_id = http.post("/api/v2/tasks", json=BODY).json()["id"]
        assert json.loads(client.recv(timeout=20))["data"]["id"] == task_id
        subscribe(reader, f"task:{task_id}")
        progress = {"type": "task_progress", "task_id": task_id, "progress": 5}
        client.send(json.dumps({**progress, "metrics": {"loss": 0.5}}))
        assert hear(reader, "points")["points"][0][2] == {"loss": 0.5}
        assert http.get(f"/api/v2/tasks/{task_id}").json()["metrics"] == {"loss": 0.5}
        history = http.get(f"/api/v2/tasks/{task_id}/metrics").json()
        assert history["series"][0]["value"] == [0.5]


def test_a_bad_subscription_is_answered(shared_server: RunningServer) -> None:
    with shared_server.live() as reader:
        reader.send('{"type": "subscribe", "topics": ["everything"]}')
        assert hear(reader, "error")["error"]["code"] == "INVALID_REQUEST"
        subscribe(reader, "farm")


def test_what_was_acknowledged_outlives_a_sigkill_of_the_server(server: RunningServer) -> None:
    http = server.http()
    with server.socket("ws1") as client:
        client.send('{"type": "task_request"}')
        acknowledged = {http.post("/api/tasks", json=BODY).json()["id"] for _ in range(20)}
        first = json.loads(client.recv(timeout=20))["data"]["id"]
        result = {"type": "task_result", "task_id": first, "status": "completed", "metrics": {}}
        client.send(json.dumps(result))
        assert json.loads(client.recv(timeout=20))["received"] is True
        server.kill()
    server.start()
    listed = {
        task["id"]: task["status"] for task in server.http().get("/api/tasks").json()["tasks"]
    }
    assert set(acknowledged) == set(listed)
    assert listed[first] == "completed"
