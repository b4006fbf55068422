"""Who may do what, route by route. Numbers are rows of the security checklist."""

import os
import re
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from aifarm.app.scopes import SCOPES
from aifarm.server import ServerError, Settings, run
from aifarm.web.routes import ROUTES
from integration.running import RunningServer

BODY = {"name": "model", "version": "1.0"}


def address(path: str) -> str:
    return re.sub(r"\{\w+\}", "x", path)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_row_1_a_stranger_is_refused_on_every_route(
    shared_server: RunningServer, route: object
) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp4"}):
        answer = httpx.request(
            route.method, shared_server.url + address(route.path), headers=headers
        )
        assert answer.status_code == (401 if route.scope else 200)


@pytest.mark.parametrize("path", ["/", "/api/v2/live"])
def test_rows_1_and_4_a_stranger_is_refused_before_the_upgrade(
    shared_server: RunningServer, path: str
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{shared_server.port}{path}")
    assert refused.value.response.status_code == 401


@pytest.mark.parametrize("role", list(SCOPES))
def test_a_role_reaches_what_its_scopes_say_and_nothing_else(
    shared_server: RunningServer, role: str
) -> None:
    http = shared_server.http(shared_server.token(role))
    for route in ROUTES:
        if route.scope is None or route.scope in SCOPES[role]:
            continue
        answer = http.request(route.method, address(route.path))
        assert answer.status_code == 403, f"{role}: {route.method} {route.path}"


def test_row_2_no_plain_transport_off_loopback_without_saying_so(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="needs TLS"):
        run(Settings(host="0.0.0.0", port=0, data_dir=tmp_path))


def test_row_3_the_first_token_is_random_and_readable_by_its_owner_alone(
    shared_server: RunningServer,
) -> None:
    path = shared_server.data_dir / "admin-token"
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert len(shared_server.admin_token) >= 40


def test_row_6_a_foreign_host_name_is_refused(shared_server: RunningServer) -> None:
    answer = shared_server.http().get("/api/tasks", headers={"Host": "evil.example"})
    assert answer.status_code == 400


def test_row_5_only_the_farms_own_origin_may_open_a_socket(shared_server: RunningServer) -> None:
    def open_from(origin: str) -> None:
        headers = {"Authorization": f"Bearer {shared_server.admin_token}", "Origin": origin}
        url = f"ws://127.0.0.1:{shared_server.port}/api/v2/live"
        with connect(url, additional_headers=headers):
            pass

    own = f"http://127.0.0.1:{shared_server.port}"
    open_from(own)
    for foreign in ("http://evil.example", f"{own}.evil.example", "null"):
        with pytest.raises(InvalidStatus) as refused:
            open_from(foreign)
        assert refused.value.response.status_code == 403


def test_row_9_no_token_is_in_the_database(shared_server: RunningServer) -> None:
    secrets = {shared_server.admin_token, shared_server.token("agent")}
    for path in shared_server.data_dir.glob("farm.db*"):
        content = path.read_bytes()
        assert not any(secret.encode() in content for secret in secrets)


def test_row_11_another_researcher_sees_a_task_and_cannot_change_it(
    server: RunningServer,
) -> None:
    server.publish()
    ada = server.http(server.token("researcher", "ada"))
    ben = server.http(server.token("researcher", "ben"))
    task_id = ada.post("/api/tasks", json=BODY).json()["id"]
    assert ben.get(f"/api/tasks/{task_id}").status_code == 200
    for version in ("/api", "/api/v2"):
        path = f"{version}/tasks/{task_id}"
        assert ben.put(f"{path}/status", json={"status": "stopped"}).status_code == 403
        assert ben.delete(path).status_code == 403
    assert ada.put(f"/api/tasks/{task_id}/status", json={"status": "stopped"}).status_code == 200


def test_row_12_an_agent_cannot_upload_for_what_it_does_not_hold(server: RunningServer) -> None:
    server.publish()
    task_id = server.http().post("/api/tasks", json=BODY).json()["id"]
    with server.socket("ws1") as socket:
        socket.send('{"type": "heartbeat"}')
        socket.send('{"type": "dance"}')
        socket.recv(timeout=20)
        agent = server.http(server.token("agent"), **{"Client-ID": "ws1"})
        upload = {"task_id": task_id, "attempt": 1, "rank": 0, "size": 1, "sha256": "0" * 64}
        assert agent.post("/api/v2/uploads", json=upload).status_code == 403


def test_an_agents_token_may_be_bound_to_one_client(server: RunningServer) -> None:
    bound = server.token("agent", "bound", client_id="ws1")
    with server.socket("ws1", bound):
        pass
    with pytest.raises(InvalidStatus) as refused:
        server.socket("ws2", bound)
    assert refused.value.response.status_code == 403


def test_an_expired_token_is_none(server: RunningServer) -> None:
    token = server.token("viewer", "short", expires=0.001)
    assert server.http(token).get("/api/tasks").status_code == 401


def test_an_answer_shows_no_stack(shared_server: RunningServer) -> None:
    answer = shared_server.http().get("/api/v2/events", params={"after": str(2**53)})
    assert "Traceback" not in answer.text
    assert "Server" not in answer.headers
