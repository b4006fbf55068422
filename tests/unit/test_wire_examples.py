"""Each message and body of the documented API, with its own fields, decodes and encodes as it is.

The examples are files under tests/data/contract; a new one needs its line in `EXAMPLES`.
"""

import copy
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from aifarm.wire import agent, requests, rest, v1
from aifarm.wire.codec import WireError, decode_body, decode_client, decode_server, encode

FOLDER = Path(__file__).parents[1] / "data" / "contract"


class Example(NamedTuple):
    decode: Callable[[bytes], Any]
    shape: type[msgspec.Struct]
    required: tuple[str, ...]
    """Paths of fields without which it means nothing."""


def body(shape: type[msgspec.Struct], *required: str) -> Example:
    return Example(partial(decode_body, shape=shape), shape, required)


EXAMPLES = {
    "agent/task_request": Example(decode_client, agent.TaskRequest, ("type",)),
    "agent/task_progress": Example(
        decode_client, agent.TaskProgress, ("type", "task_id", "progress")
    ),
    "agent/task_result": Example(decode_client, agent.TaskResult, ("type", "task_id", "status")),
    "agent/heartbeat": Example(decode_client, agent.Heartbeat, ("type",)),
    "agent/task": Example(
        decode_server,
        agent.TaskAssignment,
        ("type", "data", "data.id", "data.type", "data.config", "data.requirements"),
    ),
    "agent/control": Example(decode_server, agent.Control, ("type", "action", "task_id")),
    "agent/task_result_ack": Example(
        decode_server, agent.TaskResultAck, ("type", "task_id", "received")
    ),
    "rest/create_task": body(requests.CreateTask, "name"),
    "rest/task_created": body(v1.TaskCreated, "id", "status", "created_at"),
    "rest/task_list": body(v1.TaskList, "tasks", "total", "page"),
    "rest/task_details": body(v1.TaskDetails, "id", "status", "progress", "metrics"),
    "rest/update_status": body(requests.UpdateStatus, "status"),
    "rest/status_updated": body(v1.StatusUpdated, "id", "status", "updated_at"),
    "rest/client_list": body(v1.ClientList, "clients"),
    "rest/client_details": body(
        v1.ClientDetails, "id", "resources", "resources.cpu", "performance.success_rate"
    ),
    "rest/system_metrics": body(
        v1.SystemMetrics, "clients.total", "tasks.running", "resources.cpu_usage"
    ),
    "rest/task_metrics": body(v1.TaskMetrics, "progress", "metrics", "resources.gpu_usage"),
    "rest/error": body(rest.ErrorEnvelope, "error", "error.code", "error.message"),
}


def load(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text())


def leaves(value: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of every field that holds no other fields; free keys are left out."""
    for key, inner in value.items():
        if isinstance(inner, dict) and key not in ("metrics", "config", "details", "gpu"):
            yield from leaves(inner, f"{path}{key}.")
        else:
            yield f"{path}{key}", inner


def without(value: dict[str, Any], path: str) -> dict[str, Any]:
    return altered(value, path, lambda holder, key: holder.pop(key))


def with_other(value: dict[str, Any], path: str, other: Any) -> dict[str, Any]:
    return altered(value, path, lambda holder, key: holder.update({key: other}))


def altered(
    value: dict[str, Any], path: str, change: Callable[[dict[str, Any], str], Any]
) -> dict[str, Any]:
    value = copy.deepcopy(value)
    *outer, key = path.split(".")
    holder = value
    for name in outer:
        holder = holder[name]
    change(holder, key)
    return value


def refused(name: str, value: dict[str, Any]) -> WireError:
    with pytest.raises(WireError) as caught:
        EXAMPLES[name].decode(json.dumps(value).encode())
    return caught.value


every = pytest.mark.parametrize("name", EXAMPLES)


def test_every_example_is_tried() -> None:
    files = {str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.rglob("*.json")}
    assert files == set(EXAMPLES)


@every
def test_an_example_survives_decoding_and_encoding(name: str) -> None:
    example = load(name)
    value = EXAMPLES[name].decode(json.dumps(example).encode())
    assert type(value) is EXAMPLES[name].shape
    encoded = json.loads(encode(value))
    assert EXAMPLES[name].decode(encode(value)) == value
    assert encoded.keys() <= example.keys()
    defaults = {
        field.encode_name: field.default
        for field in msgspec.structs.fields(value)
        if field.encode_name not in encoded
    }
    assert {**encoded, **{key: defaults[key] for key in example.keys() - encoded}} == example


@every
def test_what_is_required_is_asked_for_by_name(name: str) -> None:
    for path in EXAMPLES[name].required:
        error = refused(name, without(load(name), path))
        assert error.field == path
        assert path.rpartition(".")[2] in error.message
        assert "\n" not in error.message


@every
def test_a_value_of_the_wrong_type_is_named(name: str) -> None:
    example = load(name)
    for path, value in leaves(example):
        other = "text" if not isinstance(value, str) else 5
        assert refused(name, with_other(example, path, other)).field == path


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name.startswith("agent/")])
def test_unknown_fields_are_ignored_on_the_socket(name: str) -> None:
    example = load(name)
    value = EXAMPLES[name].decode(json.dumps(example).encode())
    assert EXAMPLES[name].decode(json.dumps({**example, "new": [{}]}).encode()) == value


@pytest.mark.parametrize("name", ["rest/create_task", "rest/update_status"])
def test_unknown_fields_are_refused_in_bodies(name: str) -> None:
    assert "new" in refused(name, {**load(name), "new": 1}).message


# ---------------------------------------------------------------- the agent protocol's own

FROM_CLIENT = [name for name, example in EXAMPLES.items() if example.decode is decode_client]


@pytest.mark.parametrize("name", FROM_CLIENT)
@pytest.mark.parametrize("outside", [("type", "timestamp"), ("type", "timestamp", "client_id")])
def test_fields_may_stand_flat_or_under_data(name: str, outside: tuple[str, ...]) -> None:
    flat = load(name)
    general = {key: flat[key] for key in outside}
    general["data"] = {key: value for key, value in flat.items() if key not in outside}
    assert decode_client(json.dumps(general)) == decode_client(json.dumps(flat))


@pytest.mark.parametrize("action", ["pause", "resume", "stop"])
def test_the_actions_of_a_control(action: str) -> None:
    message = decode_server(json.dumps({**load("agent/control"), "action": action}))
    assert isinstance(message, agent.Control)
    assert message.action == action


@pytest.mark.parametrize("status", ["completed", "failed", "stopped"])
def test_the_outcomes_of_a_task(status: str) -> None:
    message = decode_client(json.dumps({**load("agent/task_result"), "status": status}))
    assert isinstance(message, agent.TaskResult)
    assert message.status == status


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("agent/task_progress", "progress", 100.5),
        ("agent/task_progress", "progress", -1),
        ("agent/task_progress", "task_id", ""),
        ("agent/task_progress", "task_id", "a/b"),
        ("agent/task_progress", "timestamp", "yesterday"),
        ("agent/task_progress", "timestamp", "2026-03-02T08:16:00"),
        ("agent/task_result", "status", "done"),
        ("agent/task_result", "type", "task_outcome"),
        ("agent/control", "action", "kill"),
        ("rest/create_task", "n_clients", 0),
        ("rest/create_task", "learning_rate", -0.1),
        ("rest/create_task", "requirements.min_ram", -1),
        ("rest/update_status", "status", "completed"),
    ],
)
def test_a_value_out_of_range_is_named(name: str, path: str, value: Any) -> None:
    assert refused(name, with_other(load(name), path, value)).field == path
