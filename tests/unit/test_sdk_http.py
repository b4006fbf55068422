"""Sending: what is tried again, what is not, and how often, by both halves of the SDK."""

import asyncio
from typing import Any

import httpx
import pytest

from aifarm.sdk import FarmUnreachable, InvalidRequest, RateLimited, Unavailable, calls
from aifarm.sdk.aio.http import AsyncHttp
from aifarm.sdk.backoff import TRIES
from aifarm.sdk.call import Call
from aifarm.sdk.config import Address
from aifarm.sdk.http import Http
from aifarm.wire import requests

OK = httpx.Response(200, json={"status": "ok", "version": "1.0"})
ADDRESS = Address("http://127.0.0.1:9/base", "secret-token", "AIFARM_URL")

Reply = httpx.Response | Exception


class Blocking:
    """Answers requests with `replies` in turn, the last one again and again."""

    def __init__(self, *replies: Reply, address: Address = ADDRESS) -> None:
        self.address = address
        self.replies = list(replies)
        self.requests: list[httpx.Request] = []
        self.slept: list[float] = []

    def send(self, call: Call[Any], *, once: bool = False) -> Any:
        return self._http().send(call, once=once)

    def reach(self) -> None:
        self._http().reach()

    def _http(self) -> Http:
        transport = httpx.MockTransport(self._answer)
        return Http(self.address, transport=transport, sleep=self.slept.append)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)


class Awaited(Blocking):
    """The same, of a program that awaits."""

    def send(self, call: Call[Any], *, once: bool = False) -> Any:
        async def sent() -> Any:
            return await self._awaited().send(call, once=once)

        return asyncio.run(sent())

    def reach(self) -> None:
        async def reached() -> None:
            await self._awaited().reach()

        asyncio.run(reached())

    def _awaited(self) -> AsyncHttp:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        transport = httpx.MockTransport(self._answer)
        return AsyncHttp(self.address, transport=transport, sleep=sleep)


@pytest.fixture(params=[Blocking, Awaited], ids=["blocking", "awaited"])
def served(request: pytest.FixtureRequest) -> type[Blocking]:
    kind: type[Blocking] = request.param
    return kind


def refusal(status: int, code: str, **headers: str) -> httpx.Response:
    body = {"error": {"code": code, "message": "No.", "details": {}}}
    return httpx.Response(status, json=body, headers=headers)


BUSY = refusal(503, "SERVICE_UNAVAILABLE")


@pytest.mark.parametrize("trouble", [httpx.ConnectError("x"), httpx.ReadError("x"), BUSY])
def test_a_repeatable_call_outlives_passing_trouble(served: type[Blocking], trouble: Reply) -> None:
    farm = served(trouble, trouble, OK)
    assert farm.send(calls.health()).version == "1.0"
    assert len(farm.requests) == 3
    assert len(farm.slept) == 2


def test_retry_after_is_obeyed(served: type[Blocking]) -> None:
    farm = served(refusal(429, "RATE_LIMITED", **{"Retry-After": "17"}), OK)
    farm.send(calls.health())
    assert farm.slept[0] >= 17


@pytest.mark.parametrize(
    ("trouble", "kind"), [(BUSY, Unavailable), (httpx.ConnectError("x"), FarmUnreachable)]
)
def test_lasting_trouble_is_told_in_the_end(
    served: type[Blocking], trouble: Reply, kind: type[Exception]
) -> None:
    farm = served(trouble)
    with pytest.raises(kind):
        farm.send(calls.health())
    assert len(farm.requests) == TRIES


def test_a_wait_that_is_too_long_is_an_answer(served: type[Blocking]) -> None:
    farm = served(refusal(429, "RATE_LIMITED", **{"Retry-After": "3600"}))
    with pytest.raises(RateLimited):
        farm.send(calls.health())
    assert farm.slept == []


@pytest.mark.parametrize("trouble", [httpx.ReadError("cut"), BUSY])
def test_what_would_happen_twice_is_sent_once(served: type[Blocking], trouble: Reply) -> None:
    farm = served(trouble, OK)
    with pytest.raises((FarmUnreachable, Unavailable)):
        farm.send(calls.create_token(requests.CreateToken(name="n", role="viewer")))
    assert len(farm.requests) == 1


def test_a_refusal_is_not_tried_again(served: type[Blocking]) -> None:
    farm = served(refusal(400, "INVALID_REQUEST"), OK)
    with pytest.raises(InvalidRequest):
        farm.send(calls.health())
    assert len(farm.requests) == 1


def test_a_lost_answer_to_a_new_task_is_asked_for_with_the_same_key(served: type[Blocking]) -> None:
    farm = served(httpx.ReadError("cut"), refusal(409, "CONFLICT"))
    with pytest.raises(Exception, match="No"):
        farm.send(calls.create_task(requests.CreateTask(name="digits"), "the-key"))
    assert [request.headers["Idempotency-Key"] for request in farm.requests] == ["the-key"] * 2
    assert farm.requests[0].content == farm.requests[1].content


def test_the_token_goes_in_the_header_and_the_base_path_stays(served: type[Blocking]) -> None:
    farm = served(OK)
    farm.send(calls.health())
    (request,) = farm.requests
    assert request.headers["Authorization"] == "Bearer secret-token"
    assert str(request.url) == "http://127.0.0.1:9/base/api/health"


def test_the_sentence_for_an_unreachable_farm_names_it_and_where_it_was_found(
    served: type[Blocking],
) -> None:
    farm = served(httpx.ConnectError("[Errno 111] Connection refused"))
    with pytest.raises(FarmUnreachable) as raised:
        farm.send(calls.health(), once=True)
    assert len(farm.requests) == 1
    for part in ("http://127.0.0.1:9/base", "AIFARM_URL", "connection refused"):
        assert part in raised.value.message
    assert "secret-token" not in raised.value.message


def test_a_redirect_does_not_carry_the_token_away(served: type[Blocking]) -> None:
    farm = served(httpx.Response(302, headers={"Location": "http://elsewhere.example/"}))
    with pytest.raises(Exception, match="302"):
        farm.send(calls.health())
    assert len(farm.requests) == 1


STANDBY = httpx.Response(200, json={"status": "standby", "version": "1.0"})


def two_servers() -> Address:
    return Address("http://one", "t", "AIFARM_URL", ("http://two",))


@pytest.mark.parametrize("trouble", [httpx.ConnectError("x"), httpx.ReadError("x"), BUSY])
def test_what_one_server_does_not_serve_the_next_one_does(
    served: type[Blocking], trouble: Reply
) -> None:
    farm = served(trouble, OK, address=two_servers())
    farm.send(calls.health())
    farm.send(calls.health())
    assert [request.url.host for request in farm.requests] == ["one", "two", "two"]


@pytest.mark.parametrize("trouble", [httpx.ConnectError("x"), STANDBY])
def test_the_server_that_serves_is_found_when_connecting(
    served: type[Blocking], trouble: Reply
) -> None:
    farm = served(trouble, OK, address=two_servers())
    farm.reach()
    assert farm.address.url == "http://two"
    assert farm.slept == []


def test_where_no_server_answers_the_last_one_is_named(served: type[Blocking]) -> None:
    farm = served(httpx.ConnectError("x"), address=two_servers())
    with pytest.raises(FarmUnreachable, match="http://two"):
        farm.reach()
    assert len(farm.requests) == 2


def test_a_farm_that_answers_is_not_waited_for(served: type[Blocking]) -> None:
    farm = served(OK)
    assert farm.send(calls.health()).status == "ok"
    assert farm.slept == []
