"""A config that the trainer would refuse is refused before anything is queued."""

from typing import Any

import pytest

from aifarm.packages import pack_source
from integration.running import MODEL, RunningServer

DECLARES = f'defaults = {{"width": 8, "lr": 0.1, "epochs": 3}}\n{MODEL}'


@pytest.fixture(scope="module")
def http(shared_server: RunningServer) -> Any:
    for name, source, kind in (
        ("declares", DECLARES, "declarative"),
        ("free", MODEL, "declarative"),
        ("script", "print()", "script"),
    ):
        archive = pack_source(source, name, "1", kind=kind)
        put = shared_server.http().put(f"/models/{name}/1", content=archive)
        assert put.status_code in (200, 201), put.text
    return shared_server.http(shared_server.token("researcher"))


@pytest.mark.parametrize(
    ("body", "field", "message", "expected"),
    [
        (
            {"name": "declares", "config": {"widht": 4}},
            "config.widht",
            "widht is neither a setting of the farm nor one that the package declares (lr, width):"
            " did you mean width?",
            "one of lr, width, or a setting of the farm",
        ),
        (
            {"name": "declares", "config": {"lr": "fast"}},
            "config.lr",
            "lr is 'fast'; it must be a value of type float.",
            "a value of type float",
        ),
        (
            {"name": "free", "config": {"precision": "fp8"}},
            "config.precision",
            "precision is 'fp8'; it must be one of fp32, bf16 and fp16.",
            "one of fp32, bf16 and fp16",
        ),
        (
            {"name": "free", "config": {"epochs": 0}},
            "config.epochs",
            "epochs is 0; it must be a whole number, 1 or more.",
            "a whole number, 1 or more",
        ),
        (
            {"name": "script", "config": {"hold_seconds": "long"}},
            "config.hold_seconds",
            "hold_seconds is 'long'; it must be a number of seconds, 0 or more.",
            "a number of seconds, 0 or more",
        ),
    ],
)
@pytest.mark.parametrize("path", ["/api/tasks", "/api/v2/tasks", "/api/v2/tasks/check"])
def test_what_does_not_fit_is_named(
    http: Any, path: str, body: dict[str, Any], field: str, message: str, expected: str
) -> None:
    answer = http.post(path, json={"version": "1", **body})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["message"]) == ("INVALID_REQUEST", message)
    assert error["details"] == {"field": field, "expected": expected}


@pytest.mark.parametrize(
    "body",
    [
        {"name": "declares", "config": {"width": 4, "lr": 1, "seed": 1}, "batch_size": 8},
        {"name": "free", "config": {"anything": {"goes": None}}},
        {"name": "script", "config": {"precision": "of its own", "epochs": "all"}},
    ],
)
def test_what_fits_is_taken(http: Any, body: dict[str, Any]) -> None:
    answer = http.post("/api/v2/tasks/check", json={"version": "1", **body})
    assert answer.status_code == 200, answer.text
