"""Who may do what: each test is named after the row of the security checklist that it holds."""

import json
import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from aifarm.app.scopes import SCOPES, Scope
from aifarm.server import ServerError, Settings, run
from aifarm.web.http import Route
from aifarm.web.routes import ROUTES
from aifarm.wire import requests
from integration.running import RunningServer, closed_with
from integration.scripted import ScriptedAgent

TASK = {"name": "model", "version": "1.0"}
SOCKETS = ("/", "/api/v2/live")

MAY: dict[Scope | None, str] = {
    # what a route needs: who has it
    None: "everybody",
    Scope.READ: "admin researcher viewer",
    Scope.SUBMIT: "admin researcher",
    Scope.CONTROL_OWN: "admin researcher",  # their own; an administrator everybody's
    Scope.CONTROL_ALL: "admin",
    Scope.PUBLISH: "admin researcher",
    Scope.ADMIN: "admin",
    Scope.WORK: "agent",
    Scope.FETCH: "admin researcher viewer agent",  # agents: what they hold
}
OPEN = {"GET /api/health", "GET /api/ready", "GET /api/docs"}
"""All that a stranger may ask."""

EXAMPLES: dict[Any, dict[str, Any]] = {
    # A body that is accepted, for each route that changes a task.
    None: {},
    requests.UpdateStatus: {"status": "paused"},
    requests.EditTask: {"title": "mine"},
    requests.RetryTask: {},
    requests.PinCheckpoint: {"pinned": True},
}

ids = {"argvalues": ROUTES, "ids": lambda route: f"{route.method} {route.path}"}


def address(path: str, **parts: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: parts.get(found[1], "x"), path)


def upgrade(server: RunningServer, path: str, **headers: str) -> ClientConnection:
    url = f"ws://127.0.0.1:{server.port}{path}"
    return connect(url, additional_headers={"Client-ID": "ws1", **headers})


def refused(server: RunningServer, path: str, **headers: str) -> int:
    with pytest.raises(InvalidStatus) as refusal:
        upgrade(server, path, **headers)
    body = json.loads(refusal.value.response.body)
    assert set(body["error"]) == {"code", "message", "details"}
    return refusal.value.response.status_code


# ---------------------------------------------------------------- strangers


@pytest.mark.parametrize("route", **ids)
def test_row_1_a_stranger_is_refused_on_every_route(
    shared_server: RunningServer, route: Route
) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp4"}):
        answer = httpx.request(
            route.method, shared_server.url + address(route.path), headers=headers
        )
        name = f"{route.method} {route.path}"
        assert answer.status_code == (200 if name in OPEN else 401), name


@pytest.mark.parametrize("path", SOCKETS)
def test_row_1_a_stranger_is_refused_on_every_socket(
    shared_server: RunningServer, path: str
) -> None:
    assert refused(shared_server, path) == 401
    assert refused(shared_server, path, Authorization="Bearer wrong") == 401


def test_row_2_no_plain_transport_off_loopback_without_saying_so(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="needs TLS"):
        run(Settings(host="0.0.0.0", port=0, data_dir=tmp_path))


def test_row_3_the_first_token_is_random_and_readable_by_its_owner_alone(
    shared_server: RunningServer,
) -> None:
    path = shared_server.data_dir / "admin-token"
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert len(shared_server.admin_token) >= 40


@pytest.mark.parametrize("path", SOCKETS)
def test_row_4_a_socket_is_refused_before_the_upgrade(
    shared_server: RunningServer, path: str
) -> None:
    """Also to those whose token is good, and for something else."""
    other = "researcher" if path == "/" else "agent"
    token = f"Bearer {shared_server.token(other)}"
    assert refused(shared_server, path, Authorization=token) == 403


@pytest.mark.parametrize("path", SOCKETS)
def test_row_5_only_the_farms_own_origin_may_open_a_socket(
    shared_server: RunningServer, path: str
) -> None:
    role = "agent" if path == "/" else "viewer"
    token = f"Bearer {shared_server.token(role)}"
    own = f"http://127.0.0.1:{shared_server.port}"
    for origin in (own, f"http://localhost:{shared_server.port}"):
        with upgrade(shared_server, path, Authorization=token, Origin=origin):
            pass
    foreign = (
        *("http://evil.example", f"{own}.evil.example", "null", "", "http://127.0.0.1"),
        *(f"http://127.0.0.1:{shared_server.port}1", f"ftp://127.0.0.1:{shared_server.port}"),
        *(f"{own}/page", f"http://me@127.0.0.1:{shared_server.port}", "http://localhost"),
    )
    for origin in foreign:
        assert refused(shared_server, path, Authorization=token, Origin=origin) == 403, origin


def test_row_6_a_foreign_host_name_is_refused_everywhere(shared_server: RunningServer) -> None:
    names = ("evil.example", "127.0.0.1.evil.example", f"evil.example:{shared_server.port}", "[")
    for route in ROUTES:
        role = next(role for role in SCOPES if route.scope is None or route.scope in SCOPES[role])
        http = shared_server.http(shared_server.token(role))
        for name in names:
            answer = http.request(route.method, address(route.path), headers={"Host": name})
            assert answer.status_code == 400, f"{name}: {route.method} {route.path}"
            assert answer.json()["error"]["details"]["field"] == "Host"
    for path, role in zip(SOCKETS, ("agent", "viewer"), strict=True):
        http = shared_server.http(shared_server.token(role))
        upgraded = {"Upgrade": "websocket", "Connection": "Upgrade", "Host": "evil.example"}
        assert http.get(path, headers=upgraded).status_code == 400


def test_row_7_a_cookie_authenticates_nobody(shared_server: RunningServer) -> None:
    """So no page elsewhere can have a browser act for its user."""
    token = shared_server.admin_token
    with httpx.Client(base_url=shared_server.url) as browser:
        for name in ("token", "session", "Authorization", "_xsrf"):
            browser.cookies.set(name, token)
        for route in ROUTES:
            if route.scope is not None:
                answer = browser.request(route.method, address(route.path))
                assert answer.status_code == 401, f"{route.method} {route.path}"


# ---------------------------------------------------------------- tokens


def test_row_8_tokens_are_long_random_and_different(shared_server: RunningServer) -> None:
    http = shared_server.http()
    body = {"role": "viewer", "name": "eve"}
    made = {http.post("/api/v2/tokens", json=body).json()["token"] for _ in range(5)}
    assert len(made) == 5
    # 6 bits in each character behind the prefix
    assert all(6 * len(secret.removeprefix("aifarm_")) >= 128 for secret in made)


def test_row_8_revocation_ends_every_socket_and_request_of_a_token(server: RunningServer) -> None:
    http = server.http()

    def make(role: str) -> tuple[str, str]:
        made = http.post("/api/v2/tokens", json={"role": role, "name": role}).json()
        return made["id"], made["token"]

    (agent_id, agent), (viewer_id, viewer) = make("agent"), make("viewer")
    with (
        server.socket("ws1", agent) as met,
        server.socket("ws2", agent) as silent,
        server.live(viewer) as reader,
        server.live() as other,
    ):
        met.send('{"type": "heartbeat"}')
        for token_id in (agent_id, viewer_id):
            assert http.delete(f"/api/v2/tokens/{token_id}").status_code == 204
        for connection in (met, silent, reader):
            assert closed_with(connection) == (1008, "the token was revoked")
        other.send('{"type": "subscribe", "topics": ["farm"]}')
        assert other.recv(timeout=30)
    assert server.http(viewer).get("/api/tasks").status_code == 401
    assert refused(server, "/", Authorization=f"Bearer {agent}") == 401


def test_row_8_a_token_that_expires_takes_its_sockets_with_it(server: RunningServer) -> None:
    agent = server.token("agent", "short agent", expires=2.0)
    viewer = server.token("viewer", "short viewer", expires=2.0)
    with server.socket("ws1", agent) as client, server.live(viewer) as reader:
        for connection in (client, reader):
            assert closed_with(connection) == (1008, "the token has expired")
    assert server.http(viewer).get("/api/tasks").status_code == 401
    assert refused(server, "/", Authorization=f"Bearer {agent}") == 401


def test_row_9_no_token_is_kept_said_or_taken_from_an_address(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with RunningServer(tmp_path / "farm", log=log) as server:
        secrets = {server.admin_token, server.token("agent"), server.token("viewer")}
        said = ""
        for secret in secrets:
            for query in (f"?token={secret}", f"?access_token={secret}"):
                answer = httpx.get(f"{server.url}/api/tasks{query}")
                assert answer.status_code == 401
                said += answer.text
            for path in ("/api/tasks?limit=0", "/nowhere", "/api/v2/tokens"):
                said += server.http(secret).get(path).text
        said += log.read_text()
        for path in (tmp_path / "farm").glob("farm.db*"):
            said += path.read_bytes().decode("latin1")
        assert not any(secret in said for secret in secrets)


def test_row_10_an_answer_and_the_log_show_no_stack_and_no_escape(tmp_path: Path) -> None:
    log = tmp_path / "log"
    evil = "x\x1b[31m%0d%0aFORGED" + "y" * 10_000
    with RunningServer(tmp_path / "farm", log=log) as server:
        http = server.http()
        answers = [
            http.get("/api/v2/events", params={"after": str(2**53)}),
            http.get("/api/tasks", params={"submitter": "' OR 1=1; --"}),
            http.get("/api/tasks", params={"prefix": evil}),
            http.get(f"/api/tasks/{quote(evil)}"),
            http.post("/api/tasks", json={"name": evil}),
            http.post("/api/tasks", json={evil: 1}),
        ]
        with server.socket("ws1") as connection:
            connection.send(json.dumps({"type": evil}))
            assert len(connection.recv(timeout=30)) < 5_000
        with closing(sqlite3.connect(server.data_dir / "farm.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            answers.append(http.post("/api/v2/tasks", json={"name": "m", "url": "http://x/y"}))
    assert answers[-1].status_code == 503
    for answer in answers:
        assert len(answer.content) < 5_000
        for word in ("Traceback", "sqlite", "SELECT", "INSERT", ".py"):
            assert word not in answer.text
        assert "Server" not in answer.headers
    for line in log.read_bytes().splitlines():
        assert len(line) < 5_000
        assert b"\x1b" not in line
        assert not line.startswith(b"FORGED")


# ---------------------------------------------------------------- roles and owners


@pytest.mark.parametrize("role", SCOPES)
def test_row_11_a_role_reaches_what_the_table_says_and_nothing_else(
    shared_server: RunningServer, role: str
) -> None:
    http = shared_server.http(shared_server.token(role))
    for route in ROUTES:
        if route.scope is not None and role not in MAY[route.scope].split():
            answer = http.request(route.method, address(route.path))
            assert answer.status_code == 403, f"{role}: {route.method} {route.path}"
            assert answer.json()["error"]["code"] == "FORBIDDEN"


def test_row_11_the_table_of_scopes_is_the_farms() -> None:
    for role, scopes in SCOPES.items():
        assert scopes == {scope for scope in Scope if role in MAY[scope].split()}


def test_row_11_what_changes_something_is_no_viewers() -> None:
    for route in ROUTES:
        if route.method != "GET" and not route.path.endswith("/session"):  # their own log-in
            assert "viewer" not in MAY[route.scope].split(), f"{route.method} {route.path}"


def test_row_11_another_submitter_sees_a_task_and_cannot_change_it(server: RunningServer) -> None:
    server.publish()
    ada = server.http(server.token("researcher", "ada"))
    ben = server.http(server.token("researcher", "ben"))
    root = server.http()

    def made(route: Route) -> str:
        """The route's address for a new task of ada's."""
        task_id = ada.post("/api/tasks", json=TASK).json()["id"]
        if route.path.endswith("/restore"):
            ada.delete(f"/api/tasks/{task_id}")
        return address(route.path, task_id=task_id)

    for route in ROUTES:
        if "{task_id}" not in route.path:
            continue
        changes = route.method != "GET"
        body = json.dumps(EXAMPLES[route.body]) if route.body else None
        for who, may in ((ben, not changes), (ada, True), (root, True)):
            status = who.request(route.method, made(route), content=body).status_code
            name = f"{route.method} {route.path}"
            if may:
                assert status < 500, name
                assert status not in (400, 401, 403), name
            else:
                assert status == 403, name


def test_row_12_an_agents_token_reaches_what_its_clients_hold_and_nothing_else(
    server: RunningServer,
) -> None:
    server.publish()
    server.publish("other")
    root = server.http()
    held = root.post("/api/tasks", json={**TASK, "requirements": {"min_cpu_cores": 4}}).json()
    with ScriptedAgent(server) as agent:
        agent.take()
        agent.running()
        agent.checkpoint(b"weights", step=1)
        waiting = root.post("/api/tasks", json=TASK).json()["id"]
        other = server.token("agent", "another")
        mine, theirs = (
            server.http(token, **{"Client-ID": "ws1"}) for token in (server.token("agent"), other)
        )
        (kept,) = root.get(f"/api/v2/tasks/{held['id']}/checkpoints").json()["checkpoints"]
        upload = {"task_id": waiting, "attempt": 1, "rank": 0, "size": 1, "sha256": "0" * 64}
        assert mine.get(kept["path"]).content == b"weights"
        assert mine.get("/models/model/1.0").status_code == 200
        assert theirs.get(kept["path"]).status_code == 403
        assert theirs.get("/models/model/1.0").status_code == 403
        assert mine.get("/models/other/1.0").status_code == 403
        assert mine.post("/api/v2/uploads", json=upload).status_code == 403
        upload["task_id"] = held["id"]
        assert theirs.post("/api/v2/uploads", json=upload).status_code == 403


def test_row_12_another_agent_cannot_take_a_clients_place(server: RunningServer) -> None:
    """Not even by a connection that it opened before the client first came."""
    thief = server.token("agent", "thief")
    with server.socket("ws1", thief) as early, server.socket("ws1") as owner:
        owner.send('{"type": "dance"}')
        owner.recv(timeout=30)
        owner.send('{"type": "task_request"}')
        task_id = (
            server.http()
            .post("/api/tasks", json={"name": "m", "url": "http://elsewhere/models/m/1"})
            .json()["id"]
        )
        assert json.loads(owner.recv(timeout=30))["data"]["id"] == task_id
        early.send('{"type": "task_request"}')
        assert json.loads(early.recv(timeout=30))["error"]["code"] == "FORBIDDEN"
        assert closed_with(early)[0] == 1008
        owner.send(json.dumps({"type": "task_result", "task_id": task_id, "status": "completed"}))
        assert json.loads(owner.recv(timeout=30))["received"] is True


def test_row_12_an_agents_token_may_be_bound_to_one_client(server: RunningServer) -> None:
    bound = server.token("agent", "bound", client_id="ws1")
    with server.socket("ws1", bound):
        pass
    with pytest.raises(InvalidStatus) as elsewhere:
        server.socket("ws2", bound)
    assert elsewhere.value.response.status_code == 403


def test_row_12_an_agents_token_may_be_bound_to_a_label(server: RunningServer) -> None:
    bound = server.token("agent", "bound", label="pool=a")
    hello: dict[str, Any] = {
        **{"type": "hello", "boot_id": "b", "machine_id": "m", "agent_version": "0"},
        **{"protocol": 1, "resources": {}},
    }
    with server.socket("ws1", bound) as agent:
        agent.send(json.dumps({**hello, "labels": {"pool": "a", "room": "2"}}))
        assert json.loads(agent.recv(timeout=30))["type"] == "welcome"
    for first in (
        {**hello, "labels": {"pool": "b"}},
        hello,
        {"type": "task_request"},
        {"type": "heartbeat"},
    ):
        with server.socket("ws2", bound) as agent:
            agent.send(json.dumps(first))
            error = json.loads(agent.recv(timeout=30))["error"]
            assert (error["code"], error["details"]["expected"]) == ("FORBIDDEN", "pool=a")
            assert closed_with(agent)[0] == 1008
    assert [client["id"] for client in server.http().get("/api/clients").json()["clients"]] == [
        "ws1"
    ]
    wrong = {"role": "viewer", "name": "eve", "label": "pool=a"}
    assert server.http().post("/api/v2/tokens", json=wrong).status_code == 400


def test_an_expired_token_is_none(server: RunningServer) -> None:
    token = server.token("viewer", "short", expires=0.001)
    assert server.http(token).get("/api/tasks").status_code == 401
