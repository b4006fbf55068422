"""What is wrong on a socket: the envelope and the connection kept, or a documented close code."""

import json
import os
import socket
import sqlite3
from contextlib import closing, suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from integration.running import RunningServer, closed_with

PROGRESS = {"type": "task_progress", "task_id": "task_uuid", "progress": 45.5, "metrics": {}}
RESULT = {"type": "task_result", "task_id": "task_uuid", "status": "completed", "metrics": {}}
BEAT = {"type": "heartbeat", "system_info": {"cpu_usage": 1.0}}
TASK = {"name": "m", "url": "http://model-server/models/m/1", "version": "1"}


def error_on(connection: ClientConnection) -> dict[str, Any]:
    message = json.loads(connection.recv(timeout=30))
    assert message["type"] == "error"
    assert set(message["error"]) == {"code", "message", "details"}
    error: dict[str, Any] = message["error"]
    return error


def answers(connection: ClientConnection) -> bool:
    """Whether the connection is still served."""
    connection.send('{"type": "dance"}')
    return error_on(connection)["details"]["field"] == "type"


WRONG: dict[str, tuple[Any, str, str]] = {
    # what is sent: (frame, the field that is named, what is expected there)
    "nothing": ("", "message", "valid JSON"),
    "no JSON": ("nonsense", "message", "valid JSON"),
    "half a message": ('{"type": "heartbeat"', "message", "valid JSON"),
    "an array": ("[1, 2]", "message", "object"),
    "a text": ('"task_request"', "message", "object"),
    "NaN": ('{"type": "task_progress", "task_id": "t", "progress": NaN}', "message", "valid JSON"),
    "absurd depth": ('{"type": "heartbeat", "x": ' + "[" * 100_000, "message", ""),
    "no type": ("{}", "type", "a value"),
    "an unknown type": ({"type": "dance"}, "type", "task_request"),
    "a type that is none": ({"type": 7}, "type", "str"),
    "no task": ({"type": "task_progress", "progress": 5}, "task_id", "a value"),
    "a number for a task": ({**PROGRESS, "task_id": 7}, "task_id", "str"),
    "an empty task": ({**PROGRESS, "task_id": ""}, "task_id", "str of length >= 1"),
    "a long task": ({**PROGRESS, "task_id": "x" * 1_000}, "task_id", "str of length <= 128"),
    "progress beyond the end": ({**PROGRESS, "progress": 101}, "progress", "float <= 100.0"),
    "progress below the start": ({**PROGRESS, "progress": -1}, "progress", "float >= 0.0"),
    "text for progress": ({**PROGRESS, "progress": "half"}, "progress", "float"),
    "text for a metric": ({**PROGRESS, "metrics": {"loss": "low"}}, "metrics[...]", "float"),
    "an array of metrics": ({**PROGRESS, "metrics": [1]}, "metrics", "object"),
    "an unknown outcome": ({**RESULT, "status": "done"}, "status", "completed"),
    "no outcome": ({"type": "task_result", "task_id": "t"}, "status", "a value"),
    "a path that is none": ({**RESULT, "checkpoint_path": 5}, "checkpoint_path", "str"),
    "a time that is none": ({**BEAT, "timestamp": "noon"}, "timestamp", ""),
    "no usage": ({**BEAT, "system_info": 5}, "system_info", "object"),
    "data that is none": ({"type": "heartbeat", "data": 5}, "data", "object"),
    "wrong data": ({"type": "task_progress", "data": {"task_id": "t"}}, "progress", "a value"),
    "somebody else's name": ({"type": "task_request", "client_id": "other"}, "client_id", "ws1"),
    "a server's message": ({"type": "task_result_ack", "task_id": "t"}, "type", "heartbeat"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_message_is_answered_and_the_connection_kept(
    shared_server: RunningServer, case: str
) -> None:
    frame, field, expected = WRONG[case]
    with shared_server.socket("ws1") as connection:
        connection.send(frame if isinstance(frame, str) else json.dumps(frame))
        error = error_on(connection)
        assert error["code"] == "INVALID_REQUEST"
        assert error["details"]["field"] == field
        assert expected in error["details"]["expected"]
        assert answers(connection)


@pytest.mark.parametrize("message", [PROGRESS, RESULT])
def test_a_message_about_a_task_that_is_not_there_is_answered(
    shared_server: RunningServer, message: dict[str, Any]
) -> None:
    with shared_server.socket("ws1") as connection:
        connection.send(json.dumps(message))
        error = error_on(connection)
        assert (error["code"], error["details"]["field"]) == ("NOT_FOUND", "task_id")


def test_somebody_elses_task_is_not_touched(server: RunningServer) -> None:
    http = server.http()
    task_id = http.post("/api/tasks", json=TASK).json()["id"]
    with server.socket("ws1") as owner, server.socket("ws2") as thief:
        owner.send('{"type": "task_request"}')
        assert json.loads(owner.recv(timeout=30))["data"]["id"] == task_id
        thief.send(json.dumps({**RESULT, "task_id": task_id}))
        assert error_on(thief)["code"] == "NOT_FOUND"
        thief.send(json.dumps({**PROGRESS, "task_id": task_id}))
        assert error_on(thief)["code"] == "NOT_FOUND"
        control = json.loads(thief.recv(timeout=30))
        assert (control["type"], control["action"]) == ("control", "stop")
        owner.send(json.dumps({**PROGRESS, "task_id": task_id, "progress": 1}))
        owner.send(json.dumps({**RESULT, "task_id": task_id}))
        assert json.loads(owner.recv(timeout=30))["received"] is True
        details = http.get(f"/api/v2/tasks/{task_id}").json()
        assert (details["status"], details["clients"]) == ("completed", ["ws1"])


# ---------------------------------------------------------------- close codes


def test_1002_where_frames_are_against_the_protocol(shared_server: RunningServer) -> None:
    """Each frame is masked, as a client's are, with a mask of zeros."""
    frames = {
        "reserved bits": b"\xf1\x80\0\0\0\0",
        "an unknown opcode": b"\x83\x80\0\0\0\0",
        "a continuation of nothing": b"\x80\x80\0\0\0\0",
        "a ping in pieces": b"\x09\x80\0\0\0\0",
        "a long ping": b"\x89\xfe\x00\x80\0\0\0\0" + b"x" * 128,
        "a new message inside another": b"\x01\x80\0\0\0\0\x01\x80\0\0\0\0",
        "text that is not UTF-8": b"\x81\x81\0\0\0\0\xff",
    }
    for kind, frame in frames.items():
        with shared_server.socket("ws1") as connection:
            connection.socket.sendall(frame)
            assert closed_with(connection)[0] == 1002, kind


@pytest.mark.parametrize("path", ["agent", "live"])
def test_1003_for_a_binary_message(shared_server: RunningServer, path: str) -> None:
    opened = shared_server.live() if path == "live" else shared_server.socket("ws1")
    with opened as connection:
        connection.send(b'{"type": "heartbeat"}')
        code, reason = closed_with(connection)
    assert code == 1003
    assert "JSON text" in reason


def test_1008_for_a_message_that_is_too_large(shared_server: RunningServer) -> None:
    for size in (1 << 20, 8 << 20):
        with shared_server.socket("ws1") as connection:
            with suppress(ConnectionClosed):  # it is told before it has said all
                connection.send('{"type": "heartbeat", "x": "' + "x" * size + '"}')
            code, reason = closed_with(connection)
        assert code == 1008
        assert "1048576 bytes" in reason


def test_the_error_of_a_message_that_is_too_large_comes_before_the_close(
    shared_server: RunningServer,
) -> None:
    with shared_server.socket("ws1") as connection:
        # The header of a message of 2 MiB, and nothing behind it.
        connection.socket.sendall(b"\x81\xff" + (2 << 20).to_bytes(8, "big"))
        assert error_on(connection)["code"] == "PAYLOAD_TOO_LARGE"
        assert closed_with(connection)[0] == 1008


def test_1008_for_an_agent_of_another_protocol(shared_server: RunningServer) -> None:
    hello = {"type": "hello", "boot_id": "b", "machine_id": "m", "protocol": 99, "resources": {}}
    with shared_server.socket("ws1") as connection:
        connection.send(json.dumps({**hello, "agent_version": "9" * 10_000}))
        assert closed_with(connection)[0] == 1008


@pytest.mark.parametrize("server", ["sqlite"], indirect=True)  # its file can be locked
def test_1011_where_the_farm_cannot_store(server: RunningServer) -> None:
    """Another program holds the database."""
    path = server.data_dir / "farm.db"
    token = server.token("agent")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with server.socket("ws1", token) as connection:
            connection.send('{"type": "task_request"}')
            assert error_on(connection)["code"] == "SERVICE_UNAVAILABLE"
            assert closed_with(connection)[0] == 1011
        other.execute("ROLLBACK")
    with server.socket("ws1", token) as connection:
        assert answers(connection)


def test_1001_for_all_when_the_server_is_shut_down(server: RunningServer) -> None:
    with server.socket("ws1") as silent, server.socket("ws2") as client, server.live() as reader:
        assert answers(client)
        reader.send(json.dumps({"type": "subscribe", "topics": ["farm"]}))
        reader.recv(timeout=30)
        assert server.stop() == 0
        for connection in (silent, client, reader):
            assert closed_with(connection) == (1001, "the server is shutting down")


# ---------------------------------------------------------------- the live feed


@pytest.mark.parametrize(
    ("frame", "field", "expected"),
    [
        ("nonsense", "message", "valid JSON"),
        ("[]", "message", "object"),
        ("{}", "topics", "a value"),
        ('{"type": "unsubscribe"}', "type", "subscribe"),
        ('{"type": "subscribe"}', "topics", "a value"),
        ('{"type": "subscribe", "topics": []}', "topics", "length >= 1"),
        ('{"type": "subscribe", "topics": ["all"]}', "topics[0]", "matching"),
        ('{"type": "subscribe", "topics": ["farm"], "since": -1}', "since", ">= 0"),
        ('{"type": "subscribe", "topics": ["farm"], "since": "x"}', "since", "int"),
    ],
)
def test_a_wrong_subscription_is_answered_and_the_connection_kept(
    shared_server: RunningServer, frame: str, field: str, expected: str
) -> None:
    with shared_server.live() as connection:
        connection.send(frame)
        (message,) = json.loads(connection.recv(timeout=30))
        assert message["type"] == "error"
        assert message["error"]["code"] == "INVALID_REQUEST"
        assert message["error"]["details"]["field"] == field
        assert expected in message["error"]["details"]["expected"]
        connection.send('{"type": "subscribe", "topics": ["farm"]}')
        assert json.loads(connection.recv(timeout=30))[0]["type"] == "snapshot"


def test_a_connection_that_is_cut_leaves_nothing_behind(shared_server: RunningServer) -> None:
    """Half a handshake, half a frame, and a reset."""
    for sent in (b"GET / HTTP/1.1\r\nHost: 127", os.urandom(100)):
        with socket.create_connection(("127.0.0.1", shared_server.port)) as raw:
            raw.sendall(sent)
    with shared_server.socket("ws1") as connection:
        connection.socket.sendall(b"\x81\xfe\x10\x00")
        connection.socket.close()
    with shared_server.socket("ws1") as connection:
        assert answers(connection)
