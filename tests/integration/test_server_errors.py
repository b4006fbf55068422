"""Whatever is sent to the REST API, the answer is the envelope, and nothing is stored."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from integration.running import RunningServer

TASK = {"type": "training", "name": "model", "version": "1.0"}
RATE = {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}


@pytest.fixture(scope="module")
def farm(shared_server: RunningServer) -> httpx.Client:
    shared_server.publish()
    return shared_server.http()


def error_of(answer: httpx.Response) -> dict[str, Any]:
    """The envelope's inside, after a look at what every answer has."""
    assert {name for name in RATE if name in answer.headers} >= RATE
    assert answer.headers["X-API-Version"] in ("1.0", "2.0")
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "details"}
    error: dict[str, Any] = body["error"]
    return error


def task(**change: Any) -> bytes:
    return json.dumps({**TASK, **change}).encode()


def nested(levels: int) -> bytes:
    inner = b"[" * levels + b"]" * levels
    return task()[:-1] + b', "config": {"x": ' + inner + b"}}"


WORDS = "training"
BODIES: dict[str, tuple[bytes, str, str]] = {
    # what is sent: (body, the field that is named, what is expected there)
    "nothing": (b"", "name", "a value"),
    "half of it": (task()[:-5], "body", "valid JSON"),
    "an array": (b"[]", "body", "object"),
    "a number": (b"7", "body", "object"),
    "two of them": (task() * 2, "body", "valid JSON"),
    "not UTF-8": (b'{"name": "\xff"}', "body", "valid JSON"),
    "NaN": (task()[:-1] + b', "learning_rate": NaN}', "body", "valid JSON"),
    "Infinity": (task()[:-1] + b', "learning_rate": Infinity}', "body", "valid JSON"),
    "a number without end": (task()[:-1] + b', "learning_rate": 1e999}', "learning_rate", "number"),
    "an integer without end": (
        task()[:-1] + b', "config": {"x": ' + b"9" * 5000 + b"}}",
        "config[...]",
        "number",
    ),
    "a key twice": (task()[:-1] + b', "name": "other"}', "name", "once"),
    "an inner key twice": (task()[:-1] + b', "config": {"a": 1, "a": 2}}', "a", "once"),
    "NUL": (task(config={"x": "\0"}), "body", "NUL"),
    "a raw NUL": (b'{"name": "a\0b"}', "body", "valid JSON"),
    "a lone surrogate": (b'{"name": "\\ud800"}', "body", "valid JSON"),
    "absurd depth": (nested(100), "body", "32 levels"),
    "endless depth": (b"[" * 500_000, "body", "32 levels"),
    "no name": (b'{"version": "1.0"}', "name", "a value"),
    "an unknown field": (task(colour="red"), "colour", "no such field"),
    "an unknown requirement": (
        task(requirements={"min_rum": 1}),
        "requirements.min_rum",
        "no such field",
    ),
    "another type": (task(type="baking"), "type", "training"),
    "text for a number": (task(epochs="ten"), "epochs", "int"),
    "a fraction": (task(epochs=1.5), "epochs", "int"),
    "text for a truth": (task(distributed="yes"), "distributed", "bool"),
    "no epochs at all": (task(epochs=0), "epochs", "int >= 1"),
    "too many clients": (task(n_clients=100_000, distributed=True), "n_clients", "int <= 1024"),
    "an empty name": (task(name=""), "name", "str of length >= 1"),
    "a long name": (task(name="x" * 200), "name", "str of length <= 128"),
    "a name like a path": (task(name="../x"), "name", "matching"),
    "negative memory": (task(requirements={"min_ram": -1}), "requirements.min_ram", "int >= 0"),
    "several without distributed": (task(n_clients=2), "distributed", "true"),
    "several processes without it": (task(processes_per_client=2), "distributed", "true"),
    "one per GPU without it": (task(processes_per_client="gpu"), "distributed", "true"),
    "no process": (
        task(processes_per_client=0, distributed=True),
        "processes_per_client",
        "int >= 1",
    ),
    "mounts in each other": (
        task(mounts={"data": "/srv/a", "data/words": "/srv/b"}),
        "mounts",
        "in another",
    ),
    "a mount twice": (task(mounts={"data": "/srv/a", "./data": "/srv/b"}), "mounts", "in another"),
    "a value in two places": (task(epochs=1, config={"epochs": 2}), "config.epochs", "absent"),
    "no regular expression": (task(progress_from="("), "progress_from", "group"),
    "a pattern that finds nothing": (task(progress_from=r"step \d+"), "progress_from", "group"),
    "a url of a file": (task(url="file:///etc/passwd"), "url", "http"),
}


@pytest.mark.parametrize("path", ["/api/tasks", "/api/v2/tasks"])
@pytest.mark.parametrize("case", BODIES)
def test_a_body_that_is_wrong_is_400_and_stores_nothing(
    farm: httpx.Client, path: str, case: str
) -> None:
    body, field, expected = BODIES[case]
    before = farm.get("/api/tasks").json()["total"]
    answer = farm.post(path, content=body)
    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (400, "INVALID_REQUEST"), answer.text
    assert error["details"]["field"] == field
    assert expected in error["details"]["expected"]
    assert farm.get("/api/tasks").json()["total"] == before


def test_a_backslash_before_u0000_is_text_like_any_other(farm: httpx.Client) -> None:
    created = farm.post("/api/tasks", json={**TASK, "config": {"x": r"\u0000"}})
    assert created.status_code == 201
    config = farm.get(f"/api/tasks/{created.json()['id']}").json()["config"]
    assert config == {"x": r"\u0000"}


@pytest.mark.parametrize(
    ("address", "field", "expected"),
    [
        ("/api/tasks?limit=0", "limit", "int >= 1"),
        ("/api/tasks?limit=1001", "limit", "int <= 1000"),
        ("/api/tasks?limit=ten", "limit", "int"),
        ("/api/tasks?page=0", "page", "int >= 1"),
        ("/api/tasks?page=99999999999999999999999", "page", "int"),
        ("/api/tasks?limit=", "limit", "int"),
        ("/api/tasks?status=flying", "status[0]", "paused"),
        ("/api/tasks?colour=red", "colour", "submitter"),
        ("/api/tasks?page=1&page=2", "page", "one value"),
        ("/api/tasks?submitter=%00", "submitter", "without NUL"),
        ("/api/tasks?submitter=%ff", "submitter", "UTF-8"),
        ("/api/tasks?submitter=%zz", "path", "percent"),
        ("/api/tasks/%4?x", "path", "percent"),
        ("/api/clients?limit=1", "limit", "no parameter"),
    ],
)
def test_an_address_that_is_wrong_names_what_is(
    farm: httpx.Client, address: str, field: str, expected: str
) -> None:
    answer = farm.get(httpx.URL(str(farm.base_url) + "/").copy_with(raw_path=address.encode()))
    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (400, "INVALID_REQUEST")
    assert error["details"]["field"] == field
    assert expected in error["details"]["expected"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/api/v3/tasks", 404),
        ("GET", "/api/tasks/", 404),
        ("GET", "/api/tasks/none", 404),
        ("GET", "/api/tasks/%2e%2e", 404),
        ("GET", "/api/tasks/a%2fb", 404),
        ("GET", "/api/tasks/a%00b", 404),
        ("GET", "/api/tasks/%ff", 400),
        ("GET", "/models/../farm.db", 404),
        ("PATCH", "/api/tasks", 405),
        ("OPTIONS", "/api/tasks", 405),
        ("TRACE", "/api/tasks", 405),
        ("BREW", "/api/tasks", 405),
        ("DELETE", "/nowhere", 404),
        ("BREW", "/nowhere", 404),
        ("POST", "/", 404),
        ("GET", "/api/v2/live", 400),
    ],
)
def test_what_there_is_not_is_refused_in_the_envelope(
    farm: httpx.Client, method: str, path: str, status: int
) -> None:
    url = httpx.URL(str(farm.base_url) + "/").copy_with(raw_path=path.encode())
    answer = farm.request(method, url)
    assert error_of(answer)["message"]
    assert answer.status_code == status
    if status == 405:
        assert answer.headers["Allow"] == "GET, HEAD, POST"


def test_head_answers_as_get_without_the_body(farm: httpx.Client) -> None:
    for path in ("/api/tasks", "/api/v2/clients", "/models/model/1.0", "/api/tasks/none"):
        got, head = farm.get(path), farm.head(path)
        assert head.status_code == got.status_code
        assert head.content == b""
        assert head.headers["Content-Length"] == str(len(got.content))
        assert head.headers["X-API-Version"] == got.headers["X-API-Version"]


@pytest.mark.parametrize(
    ("path", "asked", "status"),
    [
        ("/api/tasks", "1.0", 200),
        ("/api/v1/tasks", "1", 200),
        ("/v1/tasks", "1", 200),
        ("/api/v2/tasks", "2.0", 200),
        ("/v2/tasks", "2", 200),
        ("/api/health", "2.0", 200),
        ("/models/model/1.0", "2", 200),
        ("/api/tasks", "2.0", 400),
        ("/api/v2/tasks", "1.0", 400),
        ("/api/tasks", "3.0", 400),
        ("/api/health", "3.0", 400),
        ("/api/tasks", "one", 400),
    ],
)
def test_the_version_that_is_asked_for_is_the_paths_or_refused(
    farm: httpx.Client, path: str, asked: str, status: int
) -> None:
    answer = farm.get(path, headers={"X-API-Version": asked})
    assert answer.status_code == status
    if status == 400:
        assert error_of(answer)["details"]["field"] == "X-API-Version"
    else:
        assert answer.headers["X-API-Version"].startswith(asked[0])


def test_links_are_whole_addresses_under_the_name_that_was_used(
    farm: httpx.Client, shared_server: RunningServer
) -> None:
    for _ in range(3):
        farm.post("/api/tasks", json=TASK)
    for host in (f"127.0.0.1:{shared_server.port}", f"localhost:{shared_server.port}"):
        for path in ("/api/tasks", "/v1/tasks", "/api/v2/tasks"):
            answer = farm.get(
                f"{path}?limit=1&page=2&status=pending&submitter=admin", headers={"Host": host}
            )
            assert set(answer.links) == {"next", "prev", "first", "last"}
            for rel, page in (("next", 3), ("prev", 1), ("first", 1)):
                url = httpx.URL(answer.links[rel]["url"])
                assert str(url).startswith(f"http://{host}{path}?")
                assert dict(url.params) == {
                    **{"limit": "1", "page": str(page)},
                    **{"status": "pending", "submitter": "admin"},
                }
            assert farm.get(answer.links["next"]["url"], headers={"Host": host}).status_code == 200


# ---------------------------------------------------------------- sizes, and what is not HTTP


def test_a_large_body_is_refused_before_it_is_read(farm: httpx.Client) -> None:
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1_000):
            sent += 1 << 20
            yield b" " * (1 << 20)

    declared = {"Content-Length": str(1_000 << 20)}
    answer = farm.post("/api/tasks", content=body(), headers=declared)
    assert (answer.status_code, error_of(answer)["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert answer.headers["Connection"] == "close"
    assert sent < 500 << 20


def test_a_body_in_chunks_is_counted_as_it_comes(farm: httpx.Client) -> None:
    answer = farm.post("/api/tasks", content=(b" " * 65536 for _ in range(10_000)))
    assert (answer.status_code, error_of(answer)["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert error_of(answer)["details"]["expected"] == "at most 1048576 bytes"


def test_a_stranger_is_refused_before_a_large_body_is_read(shared_server: RunningServer) -> None:
    with httpx.Client(base_url=shared_server.url) as stranger:
        body = (b" " * 65536 for _ in range(10_000))
        answer = stranger.put("/models/model/9", content=body)
    assert (answer.status_code, error_of(answer)["code"]) == (401, "UNAUTHORIZED")


GET = b"GET /api/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = GET.replace(b"GET", b"POST")


@pytest.mark.parametrize(
    "sent",
    [
        POST + b"Content-Length: many\r\n\r\n",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        POST + b"Transfer-Encoding: gzip\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        GET.replace(b"1.1", b"2.0") + b"\r\n",
        GET.replace(b"1.1", b"x") + b"\r\n",
        b"GET /api/tasks HTTP/1.1\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET  /api/tasks HTTP/1.1\r\n\r\n",
        GET + b"no colon\r\n\r\n",
        GET + b"bad name: x\r\n\r\n",
        GET + b"X: a\0b\r\n\r\n",
        b"GET /api/tasks\0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /api/tasks HTTP/1.1\r\nHost: \xff\r\n\r\n",
    ],
)
def test_what_is_not_http_is_answered_and_the_connection_closed(
    shared_server: RunningServer, sent: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", shared_server.port), timeout=20) as raw:
        raw.sendall(sent)
        received = b""
        while chunk := raw.recv(65536):
            received += chunk
            if received.count(b"HTTP/1.1") and b"}}}" in received:
                break
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    status = lines[0].split()[1]
    headers = dict(line.split(": ", 1) for line in lines[1:])
    answer = httpx.Response(int(status), headers=headers, content=body)
    assert status in ("400", "401")
    assert error_of(answer)["message"]
    assert shared_server.http().get("/api/health").status_code == 200


def test_headers_without_end_close_the_connection(shared_server: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", shared_server.port), timeout=20) as raw:
        try:
            raw.sendall(GET + b"X: " + b"x" * (1 << 20))
            assert raw.recv(65536) == b""
        except ConnectionError:
            pass
    assert shared_server.http().get("/api/health").status_code == 200
