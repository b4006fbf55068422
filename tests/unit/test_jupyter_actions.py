"""What Jupyter's authorizer is asked for each request to the farm."""

import pytest

from aifarm.web.routes import ROUTES
from aifarm_jupyter.actions import asked


@pytest.mark.parametrize(
    ("request_", "action", "resource"),
    [
        ("GET api/v2/tasks", "read", "tasks"),
        ("HEAD models/m/1", "read", "packages"),
        ("GET api/v2/tasks/x/checkpoints/y/data", "read", "tasks"),
        ("POST api/v2/tasks/check", "read", "tasks"),
        ("POST api/v2/tasks", "execute", "tasks"),
        ("POST api/v2/tasks/x/retry", "execute", "tasks"),
        ("POST api/v2/tasks/x/restore", "write", "tasks"),
        ("PUT api/v2/tasks/x/status", "write", "tasks"),
        ("PATCH api/v2/tasks/x", "write", "tasks"),
        ("DELETE api/v2/packages/m/1", "write", "packages"),
        ("PUT models/m/1", "write", "packages"),
        ("PUT api/v2/clients/x/drain", "write", "clients"),
    ],
)
def test_each_request_reads_writes_or_runs(request_: str, action: str, resource: str) -> None:
    method, path = request_.split()
    assert asked(method, path, b"") == (action, f"aifarm:{resource}")


@pytest.mark.parametrize(
    ("body", "action"),
    [
        (b'{"action": "stop", "ids": ["x"]}', "write"),
        (b'{"action": "retry", "ids": ["x"]}', "execute"),
        (b'{"action": "\\u0072etry", "ids": ["x"]}', "execute"),
        (b'{"action": "stop", "action": "retry", "ids": ["x"]}', "execute"),
        (b"nonsense", "write"),
    ],
)
def test_a_bulk_retry_runs_however_it_is_written(body: bytes, action: str) -> None:
    wanted = asked("POST", "api/v2/tasks/bulk", body)
    assert wanted is not None
    assert wanted.action == action


@pytest.mark.parametrize(
    "path",
    [
        "api/v2/tokens",
        "api/v2/tokensomething",
        "api/v2/session",
        "api/tasks",
        "modelsx/m/1",
        "api/v2/tasks/../tokens",
        "api/v2/tasks/%2e%2E/tokens",
        "api/v2/tasks//x",
        "api/v2/tasks/..%2Ftokens",
    ],
)
def test_what_is_not_on_the_list_does_not_pass(path: str) -> None:
    assert asked("GET", path, b"") is None


def test_whatever_makes_tasks_of_a_known_route_is_asked_as_running() -> None:
    """A new route that submits has to be thought of here."""
    submitting = {
        route.path.removeprefix("/")
        for route in ROUTES
        if route.method == "POST" and route.path.startswith("/api/v2/tasks") and route.status == 201
    }
    assert submitting
    for path in submitting:
        wanted = asked("POST", path.replace("{task_id}", "x"), b"")
        assert wanted is not None
        assert wanted.action == "execute"
