"""Answers become values or the exception that their code stands for."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from aifarm.app.errors import STATUS
from aifarm.sdk import (
    AIFarmError,
    Conflict,
    InvalidRequest,
    NotFound,
    ServerError,
    Unauthorized,
    calls,
    errors,
)
from aifarm.sdk.call import Answer, exactly, interpret, valid
from aifarm.wire import query, requests

HEALTH = b'{"status":"ok","version":"1.0","new":1}'


def envelope(code: str) -> bytes:
    body = {"error": {"code": code, "message": "One sentence.", "details": {"field": "x"}}}
    return msgspec.json.encode(body)


def test_every_error_code_of_the_api_has_its_exception() -> None:
    assert set(errors.BY_CODE) == set(STATUS)


@pytest.mark.parametrize("code", sorted(STATUS.keys() - {"UNAUTHORIZED"}))
def test_an_error_answer_raises_with_its_sentence_and_details(code: str) -> None:
    with pytest.raises(AIFarmError) as raised:
        interpret(calls.health(), Answer(STATUS[code], {}, envelope(code)))
    assert type(raised.value) is errors.BY_CODE[code]
    assert raised.value.message == "One sentence."
    assert raised.value.details == {"field": "x"}


def test_a_refused_token_is_called_that() -> None:
    with pytest.raises(Unauthorized, match="does not accept this token"):
        interpret(calls.health(), Answer(401, {}, envelope("UNAUTHORIZED")))


def test_a_code_of_a_newer_farm_is_a_server_error() -> None:
    with pytest.raises(ServerError, match="One sentence"):
        interpret(calls.health(), Answer(418, {}, envelope("TEAPOT")))


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"", b"{}", b"\xff"])
def test_an_error_that_no_farm_wrote_says_so(body: bytes) -> None:
    with pytest.raises(ServerError, match="502 Bad Gateway"):
        interpret(calls.health(), Answer(502, {}, body))


def test_fields_of_a_newer_farm_are_ignored() -> None:
    assert interpret(calls.health(), Answer(200, {}, HEALTH)).version == "1.0"


def test_an_answer_of_another_shape_is_told_in_one_sentence() -> None:
    with pytest.raises(ServerError, match="is that address a farm"):
        interpret(calls.health(), Answer(200, {}, b"<html>hello</html>"))


@given(st.text(min_size=1, max_size=40))
def test_an_id_stays_one_component_of_the_path(task_id: str) -> None:
    path = calls.get_task(task_id).path
    assert path.startswith("/api/v2/tasks/")
    assert not set(path.removeprefix("/api/v2/tasks/")) & set("/?#\\ ")


def test_values_are_checked_before_they_are_sent() -> None:
    body = valid(requests.CreateTask, name="digits", epochs=3, version=None)
    assert msgspec.json.decode(msgspec.json.encode(body)) == {"name": "digits", "epochs": 3}
    with pytest.raises(InvalidRequest, match="epochs"):
        valid(requests.CreateTask, name="digits", epochs=0)
    with pytest.raises(InvalidRequest, match="plain JSON"):
        valid(requests.CreateTask, name="digits", config={"x": object()})


def test_null_removes_and_what_is_absent_stays() -> None:
    body = exactly(requests.EditTask, title=None, notes=UNSET)
    assert msgspec.json.encode(body) == b'{"title":null}'


def test_a_list_is_asked_for_by_repeating_the_parameter() -> None:
    wanted = valid(query.TaskQuery, status=["running", "paused"], deleted=True, limit=5, cursor="")
    assert calls.list_tasks(wanted).query == {
        "status": ["running", "paused"],
        "deleted": "true",
        "limit": "5",
        "cursor": "",
    }


def test_what_makes_something_new_has_a_key_or_is_sent_once() -> None:
    assert calls.retry_task("t", requests.RetryTask(), "k").headers["Idempotency-Key"] == "k"
    assert not calls.bulk(requests.BulkTasks(action="retry", ids=["t"])).repeatable
    assert calls.bulk(requests.BulkTasks(action="stop", ids=["t"])).repeatable


def test_exceptions_are_grouped_for_one_except_clause() -> None:
    assert issubclass(errors.Unavailable, ServerError)
    assert issubclass(errors.WaitTimeout, TimeoutError)
    assert all(issubclass(kind, AIFarmError) for kind in (Conflict, NotFound, Unauthorized))
