"""The live feed: what is remembered between connections, and that it goes on by itself."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http import HTTPStatus
from itertools import islice

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.sync.server import Request, Response, ServerConnection, serve

from aifarm.sdk import NotFound, ServerError, Unauthorized, WaitTimeout
from aifarm.sdk.config import Address
from aifarm.sdk.http import Http
from aifarm.sdk.live import Feed, listen
from aifarm.wire import live
from aifarm.wire.agent import ErrorBody
from aifarm.wire.rest import EventFull
from aifarm.wire.types import utc


def happened(number: int) -> bytes:
    event = EventFull(number, utc(0), "running", "Running.", "t1", None, 1)
    return msgspec.json.encode([live.Happened(event)])


def snapshot(number: int) -> bytes:
    return msgspec.json.encode([live.Snapshot(number, [], [])])


def refused(code: str) -> bytes:
    return msgspec.json.encode([live.Refused(ErrorBody(code, "No."))])


# ---------------------------------------------------------------- without a connection


def test_a_first_subscription_has_no_since_and_a_later_one_the_last_event() -> None:
    feed = Feed(["task:t1"])
    first = msgspec.json.decode(feed.subscribe(), type=live.Subscribe)
    assert first == live.Subscribe(["task:t1"], None)
    feed.receive(snapshot(4))
    feed.receive(happened(5))
    again = msgspec.json.decode(feed.subscribe(), type=live.Subscribe)
    assert again.since == 5


def test_a_later_snapshot_does_not_hide_events_still_to_come() -> None:
    feed = Feed(["farm"])
    feed.receive(snapshot(4))
    feed.receive(snapshot(9))
    assert feed.receive(happened(5))


@given(st.lists(st.integers(1, 30)))
def test_each_event_is_seen_once_and_in_order(numbers: list[int]) -> None:
    feed = Feed(["farm"])
    seen = [
        message.event.id
        for number in numbers
        for message in feed.receive(happened(number))
        if isinstance(message, live.Happened)
    ]
    assert seen == sorted(set(seen))
    assert (feed.since or 0) == max(numbers, default=0)


def test_a_refusal_raises_what_its_code_stands_for() -> None:
    with pytest.raises(NotFound, match="No"):
        Feed(["farm"]).receive(refused("NOT_FOUND"))


@pytest.mark.parametrize("frame", [b"{", b'[{"type":"unheard of"}]', b"5"])
def test_what_cannot_be_read_is_told(frame: bytes) -> None:
    with pytest.raises(ServerError, match="live feed"):
        Feed(["farm"]).receive(frame)


# ---------------------------------------------------------------- over real sockets

Handler = Callable[[ServerConnection], None]


@contextmanager
def farm(
    handler: Handler, refuse: Callable[[ServerConnection, Request], Response | None] | None = None
) -> Iterator[Http]:
    with serve(handler, "127.0.0.1", 0, process_request=refuse) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.socket.getsockname()[1]
        http = Http(Address(f"http://127.0.0.1:{port}", "the-token"))
        try:
            yield http
        finally:
            http.close()
            server.shutdown()
            thread.join()


def subscription(socket: ServerConnection) -> live.Subscribe:
    frame = socket.recv()
    assert isinstance(frame, str)
    return msgspec.json.decode(frame, type=live.Subscribe)


def at_once(seconds: float) -> None:
    """Instead of a pause between two tries."""


def test_a_lost_connection_is_made_again_and_goes_on_after_the_last_event() -> None:
    subscriptions: list[live.Subscribe] = []

    def handler(socket: ServerConnection) -> None:
        subscriptions.append(subscription(socket))
        if len(subscriptions) == 1:
            socket.send(snapshot(1))
            socket.send(happened(2))
            socket.socket.close()  # as when the server is killed
        else:
            socket.send(happened(2))
            socket.send(happened(3))
            socket.send(snapshot(3))
            socket.recv()

    with farm(handler) as http, closing(listen(http, ["task:t1"], sleep=at_once)) as messages:
        heard = list(islice(messages, 4))
    assert [subscribed.since for subscribed in subscriptions] == [None, 2]
    numbers = [message.event.id for message in heard if isinstance(message, live.Happened)]
    assert numbers == [2, 3]
    assert isinstance(heard[0], live.Snapshot)
    assert isinstance(heard[-1], live.Snapshot)


def test_the_token_is_in_the_headers_of_the_upgrade() -> None:
    seen: list[tuple[str, str | None]] = []

    def handler(socket: ServerConnection) -> None:
        assert socket.request is not None
        subscription(socket)
        seen.append((socket.request.path, socket.request.headers.get("Authorization")))
        socket.send(snapshot(1))
        socket.recv()

    with farm(handler) as http, closing(listen(http, ["farm"])) as messages:
        next(messages)
    assert seen == [("/api/v2/live", "Bearer the-token")]


def test_a_refused_upgrade_is_final_and_a_busy_server_is_not() -> None:
    answers = [HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.UNAUTHORIZED]
    body = '{"error":{"code":"UNAUTHORIZED","message":"No such token.","details":{}}}'

    def refuse(socket: ServerConnection, request: Request) -> Response:
        return socket.respond(answers.pop(0) if answers else HTTPStatus.GONE, body)

    with farm(lambda socket: None, refuse) as http:
        with pytest.raises(Unauthorized, match="token"):
            next(listen(http, ["farm"], sleep=at_once))
        assert answers == []


def test_a_server_that_does_not_understand_is_not_asked_again_and_again() -> None:
    def handler(socket: ServerConnection) -> None:
        subscription(socket)
        socket.close(1003, "speak otherwise")

    with farm(handler) as http, pytest.raises(ServerError, match="speak otherwise"):
        next(listen(http, ["farm"], sleep=at_once))


def test_waiting_ends_after_its_timeout() -> None:
    def handler(socket: ServerConnection) -> None:
        subscription(socket)
        socket.send(snapshot(1))
        socket.recv()

    with farm(handler) as http:
        messages = listen(http, ["farm"], timeout=0.2)
        next(messages)
        with pytest.raises(WaitTimeout):
            next(messages)


def test_a_farm_that_never_comes_back_is_given_up_at_the_timeout() -> None:
    http = Http(Address("http://127.0.0.1:9", "t"))
    with pytest.raises(WaitTimeout), closing(http):
        next(listen(http, ["farm"], timeout=0.3))
