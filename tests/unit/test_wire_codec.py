"""Bytes from anywhere become a message or a WireError, and nothing else."""

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET, Struct
from msgspec.structs import replace

from aifarm.wire import agent
from aifarm.wire.codec import (
    MAX_DEPTH,
    WireError,
    decode_body,
    decode_client,
    decode_query,
    decode_server,
    depth,
    encode,
)
from aifarm.wire.query import TaskQuery
from aifarm.wire.types import JSON, utc

NAMES = [
    "type", "client_id", "timestamp", "data", "task_id", "attempt", "rank", "seq", "progress",
    "metrics", "points", "status", "system_info", "resources", "lines", "provenance", "tasks",
]  # fmt: skip
TYPES = [
    "task_request", "task_progress", "task_result", "heartbeat", "hello", "task_state", "task_log",
    "task_checkpoint", "task_outputs", "task_measured", "gang_endpoint", "task", "control",
    "task_result_ack", "error", "welcome", "task_note", "ack", "withdraw", "gang_start", "lending",
]  # fmt: skip

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(TYPES),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner),
    max_leaves=10,
)
messages = st.builds(
    lambda kind, rest: {"type": kind, **rest},
    st.sampled_from(TYPES),
    st.dictionaries(st.sampled_from(NAMES), values),
)


@st.composite
def torn(draw: st.DrawFn) -> bytes:
    """A message with some bytes lost or put in."""
    text = json.dumps(draw(messages)).encode()
    start = draw(st.integers(0, len(text)))
    stop = draw(st.integers(start, len(text)))
    return text[:start] + draw(st.binary(max_size=4)) + text[stop:]


frames = st.binary() | st.text() | messages.map(json.dumps) | torn()


class Anything(Struct):
    config: dict[str, JSON] = {}


def attempt(decode: Any, frame: bytes | str) -> Struct | WireError:
    try:
        value: Struct = decode(frame)
    except WireError as error:
        return error
    return value


def is_one_sentence(error: WireError) -> bool:
    return bool(error.message) and "\n" not in error.message


@given(frames)
@example(b"")
@example(b"\xff")
@example(b'{"type": "\\n"}')
@example(b'{"type": "\xff"}')
@example(b'{"type": "heartbeat", "data": "\xff"}')
@example(b'{"type": "task_progress", "data": null}')
@example(b'{"type": "heartbeat", "x": ' + b"[" * 200_000)
@example(b'{"type": "heartbeat", "data": {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}")
@example(b'{"type": "task_state", "task_id": "t", "state": "running", "provenance": {"x":' * 900)
@pytest.mark.parametrize("decode", [decode_client, decode_server])
def test_any_frame_gives_a_message_or_one_sentence(decode: Any, frame: bytes | str) -> None:
    match attempt(decode, frame):
        case WireError() as error:
            assert is_one_sentence(error)
        case message:
            assert isinstance(message, Struct)
            assert decode(encode(message)) == message


@given(frames)
def test_any_body_gives_its_shape_or_one_sentence(body: bytes | str) -> None:
    body = body.encode() if isinstance(body, str) else body
    match attempt(lambda body: decode_body(body, Anything), body):
        case WireError() as error:
            assert is_one_sentence(error)
        case value:
            assert isinstance(value, Anything)
            assert depth(body) <= MAX_DEPTH


# ---------------------------------------------------------------- what is said arrives

identifiers = st.text("abcXYZ019._@:+-", min_size=1, max_size=20)
counts = st.integers(1, 2**31 - 1)
naturals = st.integers(0, 2**53)
numbers = st.floats(allow_nan=False, allow_infinity=False)
metrics = st.dictionaries(st.text(max_size=10), st.none() | numbers, max_size=4)
times = st.none() | st.integers(0, 4_000_000_000).map(utc)
about = {
    "task_id": identifiers,
    "client_id": st.none() | identifiers,
    "timestamp": times,
    "attempt": st.none() | counts,
    "rank": st.none() | naturals,
    "seq": st.none() | counts,
}
from_clients = st.one_of(
    st.builds(
        agent.TaskProgress,
        **about,
        progress=st.floats(0, 100),
        metrics=metrics,
        points=st.lists(st.tuples(naturals, numbers, metrics), max_size=3),
        seq_to=st.none() | counts,
    ),
    st.builds(
        agent.TaskResult,
        **about,
        status=st.sampled_from(["completed", "failed", "stopped"]),
        metrics=metrics,
        checkpoint_path=st.none() | st.text(max_size=50),
        message=st.none() | st.text(max_size=50),
    ),
    st.builds(agent.TaskLog, **about, lines=st.lists(st.text(), max_size=3)),
    st.builds(
        agent.Hello,
        client_id=identifiers,
        boot_id=identifiers,
        machine_id=identifiers,
        agent_version=st.text(),
        protocol=naturals,
        labels=st.dictionaries(st.text(), st.text(), max_size=2),
        resources=st.builds(
            agent.Resources,
            cpu=st.builds(agent.Cpu, naturals, st.floats(0, 100)),
            gpu=st.lists(
                st.builds(
                    agent.Gpu, naturals, st.text(), st.builds(agent.Memory, naturals, naturals)
                ),
                max_size=2,
            ).map(tuple),
        ),
        tasks=st.lists(
            st.builds(
                agent.HeldRank,
                identifiers,
                counts,
                naturals,
                st.sampled_from(["starting", "running", "paused", "ended"]),
                naturals,
            ),
            max_size=2,
        ).map(tuple),
    ),
)


@given(from_clients)
def test_what_a_client_says_arrives_flat_and_under_data(message: agent.FromClient) -> None:
    flat = encode(message)
    assert decode_client(flat) == message
    fields = json.loads(flat)
    general = {"type": fields.pop("type"), "data": fields}
    assert decode_client(json.dumps(general)) == message


@given(st.builds(agent.Control, task_id=identifiers, action=st.just("stop"), timestamp=times))
def test_an_optional_field_left_out_stays_left_out(control: agent.Control) -> None:
    assert decode_server(encode(control)) == control
    assert decode_server(encode(control)).attempt is UNSET
    assert decode_server(encode(replace(control, attempt=2))).attempt == 2


# ---------------------------------------------------------------- numbers that are none


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize(
    "frame",
    [
        '{"type": "task_progress", "task_id": "t", "progress": %s}',
        '{"type": "task_progress", "task_id": "t", "progress": 1, "metrics": {"loss": %s}}',
        '{"type": "task_progress", "data": {"task_id": "t", "progress": %s}}',
        '{"type": "task_progress", "task_id": "t", "progress": 1, "points": [[1, %s, {}]]}',
        '{"type": "heartbeat", "system_info": {"cpu_usage": %s}}',
    ],
)
def test_a_number_that_json_does_not_have_is_refused(frame: str, number: str) -> None:
    with pytest.raises(WireError):
        decode_client(frame % number)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_no_number_travels_as_null(number: float) -> None:
    message = agent.TaskProgress(task_id="t", progress=1.0, metrics={"loss": number})
    assert decode_client(encode(message)).metrics == {"loss": None}


# ---------------------------------------------------------------- depth


@pytest.mark.parametrize(("levels", "fits"), [(MAX_DEPTH - 2, True), (MAX_DEPTH - 1, False)])
def test_bodies_nest_only_so_deep(levels: int, fits: bool) -> None:
    body = b'{"config": {"x": ' + b"[" * levels + b"]" * levels + b"}}"
    if fits:
        assert isinstance(decode_body(body, Anything), Anything)
    else:
        with pytest.raises(WireError, match=f"deeper than {MAX_DEPTH} levels"):
            decode_body(body, Anything)


@given(values)
def test_depth_counts_brackets_that_are_not_in_strings(value: Any) -> None:
    def nesting(value: Any) -> int:
        if isinstance(value, dict):
            return 1 + max(map(nesting, value.values()), default=0)
        if isinstance(value, list):
            return 1 + max(map(nesting, value), default=0)
        return 0

    assert depth(json.dumps(value).encode()) == nesting(value)
    assert depth(json.dumps(value, ensure_ascii=False, indent=1).encode()) == nesting(value)


@given(st.binary())
def test_depth_is_counted_in_anything(body: bytes) -> None:
    assert 0 <= depth(body) <= len(body)


def test_a_list_takes_every_value_of_a_parameter_and_anything_else_one() -> None:
    asked = {"status": ["running", "paused"], "limit": ["7"], "where": ["config.a=1,2"]}
    found = decode_query(asked, TaskQuery)
    assert (found.status, found.limit, found.where) == (["running", "paused"], 7, ["config.a=1,2"])
    with pytest.raises(WireError) as refused:
        decode_query({"status": ["running", "dancing"]}, TaskQuery)
    assert refused.value.field == "status[1]"
    with pytest.raises(WireError) as refused:
        decode_query({"limit": ["5", "7"]}, TaskQuery)
    assert (refused.value.field, refused.value.expected) == ("limit", "one value")


# ---------------------------------------------------------------- what an error says


def provenance(levels: int) -> str:
    inner = '{"a":' * (levels - 2) + "1" + "}" * (levels - 2)
    start = '{"type": "task_state", "task_id": "t", "state": "running", "provenance": '
    return start + '{"x": ' + inner + "}}"


def test_what_a_message_keeps_nests_no_deeper_than_a_body() -> None:
    assert isinstance(decode_client(provenance(MAX_DEPTH)), agent.TaskState)
    error = attempt(decode_client, provenance(MAX_DEPTH + 1))
    assert isinstance(error, WireError)
    assert (error.field, error.expected) == ("provenance", f"at most {MAX_DEPTH} levels")


@pytest.mark.parametrize("backslashes", range(6))
def test_nul_is_refused_however_many_backslashes_stand_before_it(backslashes: int) -> None:
    """An even number of them is text that only looks like NUL."""
    body = b'{"config": {"x": "' + b"\\" * backslashes + b'u0000"}}'
    holds_nul = "\0" in json.loads(body)["config"]["x"]
    assert isinstance(attempt(lambda body: decode_body(body, Anything), body), WireError) == (
        holds_nul
    )


@given(st.lists(st.sampled_from("abc"), max_size=4), st.booleans())
def test_a_name_stands_once_in_an_object(names: list[str], inside: bool) -> None:
    pairs = ", ".join(f'"{name}": 1' for name in names)
    body = f'{{"config": {{"x": [{{{pairs}}}]}}}}' if inside else f'{{"config": {{{pairs}}}}}'
    refused = isinstance(
        attempt(lambda body: decode_body(body, Anything), body.encode()), WireError
    )
    assert refused == (len(set(names)) < len(names))


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "a\\x", "a\nb", "a\0", ""])
def test_an_output_lies_under_the_working_folder(path: str) -> None:
    file = {"path": path, "size": 0, "sha256": "0" * 64}
    for fields in ({"files": [file]}, {"removed": [path]}):
        with pytest.raises(WireError):
            decode_client(json.dumps({"type": "task_outputs", "task_id": "t", **fields}))
