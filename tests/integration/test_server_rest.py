"""REST of a real server: the documented bodies exactly, and every error in one envelope."""

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from aifarm.packages import Origin, pack, pack_source
from integration.running import MODEL, RunningServer

BODY: dict[str, Any] = {
    "type": "training",
    "name": "model",
    "version": "1.0",
    "batch_size": 32,
    "learning_rate": 0.001,
    "epochs": 10,
}


@pytest.fixture(scope="module")
def farm(shared_server: RunningServer) -> httpx.Client:
    shared_server.publish()
    return shared_server.http()


def error_of(answer: httpx.Response) -> dict[str, Any]:
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "details"}
    error: dict[str, Any] = body["error"]
    return error


def test_version_1_bodies_have_the_documented_fields_exactly(farm: httpx.Client) -> None:
    created = farm.post("/api/tasks", json=BODY)
    assert created.status_code == 201
    assert set(created.json()) == {"id", "status", "created_at"}
    assert created.json()["status"] == "pending"
    task_id = created.json()["id"]
    details = farm.get(f"/api/tasks/{task_id}").json()
    assert set(details) == {
        *("id", "type", "status", "progress", "metrics", "config", "requirements"),
        *("created_at", "updated_at"),
    }
    assert details["config"] == {"batch_size": 32, "learning_rate": 0.001, "epochs": 10}
    assert details["requirements"] == {"min_gpu_memory": 0, "min_cpu_cores": 1, "min_ram": 1}
    assert details["created_at"].endswith("Z")
    assert "." not in details["created_at"]
    listed = farm.get("/api/tasks").json()
    assert set(listed) == {"tasks", "total", "page"}
    assert set(listed["tasks"][0]) == {
        *("id", "type", "status", "progress", "created_at", "updated_at"),
    }
    updated = farm.put(f"/api/tasks/{task_id}/status", json={"status": "paused", "reason": "r"})
    assert set(updated.json()) == {"id", "status", "updated_at"}
    assert updated.json()["status"] == "paused"
    deleted = farm.delete(f"/api/tasks/{task_id}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert farm.get(f"/api/tasks/{task_id}").status_code == 404


def test_system_and_task_metrics_have_the_documented_fields(farm: httpx.Client) -> None:
    task_id = farm.post("/api/tasks", json=BODY).json()["id"]
    system = farm.get("/api/metrics").json()
    assert set(system) == {"clients", "tasks", "resources", "timestamp"}
    assert set(system["clients"]) == {"total", "active"}
    assert set(system["tasks"]) == {"total", "running", "completed", "failed"}
    assert system["tasks"]["total"] >= 1
    task = farm.get(f"/api/metrics/tasks/{task_id}").json()
    assert set(task) == {"progress", "metrics", "resources", "timestamp"}
    assert task["resources"] == {"cpu_usage": 0.0, "ram_usage": 0.0, "gpu_usage": 0.0}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"colour": "red"}, "colour"),
        ({"batch_size": "many"}, "batch_size"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": -1}, "learning_rate"),
        ({"type": "baking"}, "type"),
        ({"n_clients": 3}, "distributed"),
        ({"config": {"epochs": 5}}, "config.epochs"),
        ({"requirements": {"min_ram": -1}}, "requirements.min_ram"),
        ({"name": "../../etc"}, "name"),
        ({"version": None}, "version"),
        ({"url": "file:///etc/passwd"}, "url"),
    ],
)
def test_a_bad_creation_names_the_field_and_stores_nothing(
    farm: httpx.Client, change: dict[str, Any], field: str
) -> None:
    before = farm.get("/api/tasks").json()["total"]
    answer = farm.post("/api/tasks", json={**BODY, **change})
    assert answer.status_code == 400, answer.text
    assert error_of(answer)["code"] == "INVALID_REQUEST"
    assert error_of(answer)["details"].get("field", "") == field
    assert farm.get("/api/tasks").json()["total"] == before


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"epochs": NaN}', b"[" * 100_000, b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(farm: httpx.Client, body: bytes) -> None:
    answer = farm.post("/api/tasks", content=body)
    assert answer.status_code == 400
    assert error_of(answer)["code"] == "INVALID_REQUEST"


def test_a_body_that_is_too_large_is_refused(farm: httpx.Client) -> None:
    answer = farm.post("/api/tasks", content=b" " * (2 << 20))
    assert answer.status_code == 413
    assert error_of(answer)["code"] == "PAYLOAD_TOO_LARGE"


def test_an_unknown_model_version_says_what_is_published(farm: httpx.Client) -> None:
    answer = farm.post("/api/tasks", json={**BODY, "version": "9"})
    assert answer.status_code == 404
    assert "published: 1.0" in error_of(answer)["message"]


def test_a_url_on_the_farm_itself_is_pinned_by_hash(
    farm: httpx.Client, shared_server: RunningServer
) -> None:
    url = f"{shared_server.url}/models/model/1.0"
    created = farm.post("/api/v2/tasks", json={**BODY, "url": url}).json()
    published = farm.get("/api/v2/packages").json()["packages"][0]
    assert created["package_sha256"] == published["sha256"]
    missing = farm.post("/api/tasks", json={**BODY, "url": url + "1"})
    assert missing.status_code == 404


def test_a_foreign_url_is_accepted_and_the_task_says_who_may_take_it(farm: httpx.Client) -> None:
    body = {**BODY, "url": "http://model-server/models/model/1.0"}
    created = farm.post("/api/tasks", json=body)
    assert created.status_code == 201


def test_the_same_files_of_a_later_commit_are_the_same_package(
    farm: httpx.Client, tmp_path: Path
) -> None:
    (tmp_path / "model.py").write_text("x = 1")
    one, later = (pack(tmp_path, "m", "1", origin=Origin(c * 40)) for c in "ab")
    first = farm.put("/models/m/1", content=one)
    again = farm.put("/models/m/1", content=later)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["sha256"] == first.json()["sha256"] != hashlib.sha256(later).hexdigest()
    (tmp_path / "model.py").write_text("x = 2")
    other = farm.put("/models/m/1", content=pack(tmp_path, "m", "1", origin=Origin("a" * 40)))
    assert other.status_code == 409


def test_an_idempotency_key_makes_one_task(farm: httpx.Client) -> None:
    headers = {"Idempotency-Key": "once"}
    first = farm.post("/api/tasks", json=BODY, headers=headers)
    again = farm.post("/api/tasks", json=BODY, headers=headers)
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    other = farm.post("/api/tasks", json={**BODY, "epochs": 11}, headers=headers)
    assert other.status_code == 409
    assert error_of(other)["code"] == "CONFLICT"


def test_statuses_repeat_are_final_and_are_one_of_three(farm: httpx.Client) -> None:
    task_id = farm.post("/api/tasks", json=BODY).json()["id"]
    path = f"/api/tasks/{task_id}/status"
    for _ in range(2):
        assert farm.put(path, json={"status": "stopped"}).json()["status"] == "stopped"
    assert farm.put(path, json={"status": "running"}).status_code == 409
    assert farm.put(path, json={"status": "flying"}).status_code == 400
    unknown = farm.put("/api/tasks/unknown/status", json={"status": "stopped"})
    assert unknown.status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/api/v3/tasks", 404),
        ("PATCH", "/api/tasks", 405),
        ("GET", "/api/v2/tasks/%2e%2e/events", 404),
        ("GET", "/models/a%2fb/1", 404),
        ("GET", "/api/tasks?limit=0", 400),
        ("GET", "/api/tasks?page=x", 400),
        ("GET", "/api/tasks?status=flying", 400),
    ],
)
def test_every_refusal_has_the_envelope(
    farm: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = farm.request(method, path)
    assert answer.status_code == status
    assert error_of(answer)["message"]


def test_lists_come_in_pages_with_links(farm: httpx.Client) -> None:
    for _ in range(3):
        farm.post("/api/tasks", json=BODY)
    answer = farm.get("/api/tasks?limit=1&page=2&status=pending")
    total = answer.json()["total"]
    assert answer.headers["X-Total-Count"] == answer.headers["X-Page-Count"] == str(total)
    links = answer.headers["Link"]
    assert 'rel="next"' in links
    assert 'rel="prev"' in links
    assert "status=pending" in links


def test_packages_are_immutable_and_come_back_bit_for_bit(farm: httpx.Client) -> None:
    archive = pack_source(MODEL, "net", "1")
    digest = hashlib.sha256(archive).hexdigest()
    first = farm.put("/models/net/1", content=archive)
    assert (first.status_code, first.headers["ETag"]) == (201, f'"{digest}"')
    assert farm.put("/models/net/1", content=archive).status_code == 200
    other = farm.put("/models/net/1", content=pack_source(MODEL + "x = 1\n", "net", "1"))
    assert other.status_code == 409
    got = farm.get("/models/net/1")
    assert (got.content, got.headers["ETag"]) == (archive, f'"{digest}"')
    part = farm.get("/models/net/1", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, archive[10:20])
    assert farm.put("/models/net/2", content=archive).status_code == 400
    assert farm.put("/models/net/3", content=b"not a zip").status_code == 400


def test_a_waiting_task_says_why(server: RunningServer) -> None:
    http = server.http()
    server.publish()
    body = {**BODY, "requirements": {"min_gpu_memory": 80_000}}
    task_id = http.post("/api/tasks", json=body).json()["id"]
    assert (
        "No client has ever connected" in http.get(f"/api/v2/tasks/{task_id}/why").json()["summary"]
    )
    with server.socket("ws1") as socket:
        socket.send('{"type": "task_request"}')
        socket.send('{"type": "dance"}')
        socket.recv(timeout=20)
        told = http.get(f"/api/v2/tasks/{task_id}/why").json()
    assert told["clients"] == [
        {
            "client": "ws1",
            "reason": "too small: needs a GPU with 80000 MiB, it has no GPU",
            "never": True,
            "tasks": [],
        }
    ]
    assert told["summary"] == "No client of this farm is large enough for it."
