"""Clients written from the documented messages alone, against a real server."""

import json
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from integration.running import RunningServer

CREATE = {
    "type": "training",
    "name": "model_name",
    "url": "http://model-server/models/model/1.0",
    "version": "1.0",
    "batch_size": 32,
    "learning_rate": 0.001,
    "epochs": 10,
    "requirements": {"min_gpu_memory": 0, "min_cpu_cores": 1, "min_ram": 1},
}


def say(socket: ClientConnection, kind: str, **fields: Any) -> None:
    socket.send(json.dumps({"type": kind, "timestamp": "2024-11-04T12:00:00Z", **fields}))


def hear(socket: ClientConnection) -> dict[str, Any]:
    heard: dict[str, Any] = json.loads(socket.recv(timeout=20))
    return heard


def test_a_contract_only_client_takes_a_task_to_its_end(server: RunningServer) -> None:
    http = server.http()
    with server.socket("ws1") as socket:
        say(socket, "task_request", client_id="ws1")
        task_id = http.post("/api/tasks", json=CREATE).json()["id"]
        assigned = hear(socket)
        assert set(assigned) == {"type", "data", "timestamp"}
        assert set(assigned["data"]) == {"id", "type", "config", "requirements"}
        assert assigned["data"]["id"] == task_id
        assert assigned["data"]["config"] == {
            "name": "model_name",
            "url": CREATE["url"],
            "version": "1.0",
            "batch_size": 32,
            "learning_rate": 0.001,
            "epochs": 10,
            "distributed": False,
            "rank": 0,
            "world_size": 1,
        }
        say(socket, "task_progress", task_id=task_id, progress=45.5, metrics={"loss": 0.0023})
        say(socket, "heartbeat", system_info={"cpu_usage": 45.2, "ram_usage": 60.5})
        paused = http.put(f"/api/tasks/{task_id}/status", json={"status": "paused"})
        assert paused.json()["status"] == "paused"
        control = hear(socket)
        assert (control["type"], control["action"]) == ("control", "pause")
        assert set(control) == {"type", "action", "task_id", "timestamp"}
        assert http.get(f"/api/tasks/{task_id}").json()["status"] == "paused"
        http.put(f"/api/tasks/{task_id}/status", json={"status": "running"})
        assert hear(socket)["action"] == "resume"
        say(
            socket,
            "task_result",
            task_id=task_id,
            status="completed",
            metrics={"final_loss": 0.0018},
            checkpoint_path="/path/to/model.pt",
        )
        ack = hear(socket)
        assert ack.pop("timestamp").endswith("Z")
        assert ack == {"type": "task_result_ack", "task_id": task_id, "received": True}
    details = http.get(f"/api/tasks/{task_id}").json()
    assert (details["status"], details["progress"]) == ("completed", 100.0)
    assert details["metrics"] == {"loss": 0.0023, "final_loss": 0.0018}
    client = http.get("/api/clients/ws1").json()
    assert client["performance"]["completed_tasks"] == 1
    assert client["performance"]["success_rate"] == 1.0


def test_a_stop_reaches_a_contract_only_client_and_counts_as_obeyed(server: RunningServer) -> None:
    http = server.http()
    with server.socket("ws1") as socket:
        say(socket, "task_request")
        task_id = http.post("/api/tasks", json=CREATE).json()["id"]
        hear(socket)
        stopped = http.put(f"/api/v2/tasks/{task_id}/status", json={"status": "stopped"})
        assert stopped.json()["observed"] == "stopped"
        assert hear(socket)["action"] == "stop"
        late = http.put(f"/api/tasks/{task_id}/status", json={"status": "running"})
        assert late.status_code == 409


def test_progress_after_a_reconnect_goes_on_with_the_task(server: RunningServer) -> None:
    http = server.http()
    with server.socket("ws1") as socket:
        say(socket, "task_request")
        task_id = http.post("/api/tasks", json=CREATE).json()["id"]
        hear(socket)
        say(socket, "task_progress", task_id=task_id, progress=10, metrics={})
    with server.socket("ws1") as socket:
        say(socket, "task_progress", task_id=task_id, progress=20, metrics={})
        say(socket, "task_result", task_id=task_id, status="completed", metrics={})
        assert hear(socket)["received"] is True
    attempts = http.get(f"/api/v2/tasks/{task_id}/attempts").json()["attempts"]
    assert [attempt["outcome"] for attempt in attempts] == ["completed"]


def test_asking_again_gives_the_task_up(server: RunningServer) -> None:
    http = server.http()
    with server.socket("ws1") as socket:
        say(socket, "task_request")
        task_id = http.post("/api/tasks", json=CREATE).json()["id"]
        assert hear(socket)["data"]["id"] == task_id
        say(socket, "task_request")
        assert hear(socket)["data"]["id"] == task_id
    assert http.get(f"/api/v2/tasks/{task_id}").json()["attempt"] == 2


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        ("nonsense", "message"),
        ("[1, 2]", "message"),
        ('{"type": "dance"}', "type"),
        ('{"type": "task_progress", "progress": 5}', "task_id"),
        ('{"type": "task_progress", "task_id": "t", "progress": 500}', "progress"),
        ('{"type": "task_progress", "task_id": 7, "progress": 5}', "task_id"),
        ('{"type": "task_request", "client_id": "somebody-else"}', "client_id"),
        ('{"type": "task_result", "task_id": "unknown", "status": "completed"}', "task_id"),
    ],
)
def test_a_bad_message_is_answered_and_the_connection_kept(
    shared_server: RunningServer, frame: str, field: str
) -> None:
    with shared_server.socket("ws1") as socket:
        socket.send(frame)
        error = hear(socket)
        assert error["type"] == "error"
        assert set(error["error"]) == {"code", "message", "details"}
        assert error["error"]["details"].get("field", "") == field
        socket.send('{"type": "dance"}')
        assert hear(socket)["type"] == "error"


def test_a_binary_message_closes_with_1003(shared_server: RunningServer) -> None:
    with shared_server.socket("ws1") as socket:
        socket.send(b"\x00")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=20)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1003


def test_a_wrong_token_is_refused_before_the_upgrade(shared_server: RunningServer) -> None:
    for token, status in [("wrong", 401), (shared_server.token("researcher", "ada"), 403)]:
        with pytest.raises(InvalidStatus) as refused:
            shared_server.socket("ws1", token)
        assert refused.value.response.status_code == status


def test_a_client_id_belongs_to_the_token_that_used_it_first(server: RunningServer) -> None:
    with server.socket("ws1") as socket:
        say(socket, "heartbeat")
        say(socket, "dance")
        hear(socket)
    with server.socket("ws1", server.token("agent", "other")) as stranger:
        say(stranger, "heartbeat")
        assert hear(stranger)["error"]["code"] == "FORBIDDEN"
        with pytest.raises(ConnectionClosed) as closed:
            stranger.recv(timeout=20)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_a_newer_connection_replaces_the_older(server: RunningServer) -> None:
    with server.socket("ws1") as older:
        say(older, "task_request")
        say(older, "dance")
        hear(older)
        with server.socket("ws1") as newer:
            say(newer, "heartbeat")
            with pytest.raises(ConnectionClosed) as closed:
                older.recv(timeout=20)
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "replaced")


def test_revoking_a_token_closes_its_connection(server: RunningServer) -> None:
    http = server.http()
    made = http.post("/api/v2/tokens", json={"role": "agent", "name": "ws"}).json()
    with server.socket("ws1", made["token"]) as socket:
        say(socket, "heartbeat")
        assert http.delete(f"/api/v2/tokens/{made['id']}").status_code == 204
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=20)
    with pytest.raises(InvalidStatus):
        server.socket("ws1", made["token"])


def test_a_shutdown_says_going_away(server: RunningServer) -> None:
    with server.socket("ws1") as socket:
        say(socket, "dance")
        hear(socket)
        assert server.stop() == 0
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=20)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
