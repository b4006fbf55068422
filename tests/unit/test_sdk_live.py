"""The live feed: what is remembered between connections, and that it goes on by itself."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http import HTTPStatus
from itertools import islice
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Request, Response, ServerConnection, serve

from aifarm.sdk import AIFarmError, NotFound, ServerError, Unauthorized, WaitTimeout
from aifarm.sdk.aio.live import AsyncLive
from aifarm.sdk.config import Address
from aifarm.sdk.feed import MAX_TOPICS, MAX_WAITING, Feed, Reader
from aifarm.sdk.live import Live
from aifarm.wire import live
from aifarm.wire.agent import ErrorBody
from aifarm.wire.rest import EventFull, TaskFull
from aifarm.wire.types import Requirements, utc


def happened(number: int) -> bytes:
    event = EventFull(number, utc(0), "running", "Running.", "t1", None, 1)
    return msgspec.json.encode([live.Happened(event)])


def task(**changes: Any) -> TaskFull:
    fields: dict[str, Any] = {
        field.name: None for field in msgspec.structs.fields(TaskFull) if field.required
    }
    fields |= {
        "type": "training", "name": "digits", "status": "running", "desired": "running",
        "attempt": 1, "progress": 0.0, "metrics": {}, "config": {}, "requirements": Requirements(),
        "distributed": False, "n_clients": 1, "processes_per_client": 1, "priority": 0,
        "share_gpu": False, "max_retries": 0,
        "submitter": "ada", "clients": [], "created_at": utc(0), "updated_at": utc(0),
    }  # fmt: skip
    return TaskFull(**{**fields, **changes})


def snapshot(number: int) -> bytes:
    return msgspec.json.encode([live.Snapshot(number, [], [])])


def refused(code: str) -> bytes:
    return msgspec.json.encode([live.Refused(ErrorBody(code, "No."))])


# ---------------------------------------------------------------- without a connection


def feed_of(*topics: str) -> tuple[Feed, Reader]:
    feed, reader = Feed(), Reader(topics)
    feed.readers.append(reader)
    return feed, reader


def subscribed(feed: Feed) -> live.Subscribe:
    return msgspec.json.decode(feed.subscribe(), type=live.Subscribe)


def numbers(messages: list[live.Message]) -> list[int]:
    return [message.event.id for message in messages if isinstance(message, live.Happened)]


def test_a_first_subscription_has_no_since_and_a_later_one_the_last_event() -> None:
    feed, _ = feed_of("task:t1")
    assert subscribed(feed) == live.Subscribe(["task:t1"], None)
    feed.receive(snapshot(4))
    feed.receive(happened(5))
    assert subscribed(feed).since == 5


def test_a_later_snapshot_does_not_hide_events_still_to_come() -> None:
    feed, reader = feed_of("farm")
    feed.receive(snapshot(4))
    feed.receive(snapshot(9))
    feed.receive(happened(5))
    assert numbers(reader.take()) == [5]


def test_events_that_the_farm_left_out_are_not_asked_for_again() -> None:
    feed, _ = feed_of("farm")
    feed.receive(snapshot(4))
    feed.receive(msgspec.json.encode([live.Snapshot(5000, [], [], missed=True)]))
    assert subscribed(feed).since == 5000


def test_a_snapshot_in_parts_is_one() -> None:
    feed, reader = feed_of("farm")
    for number, more in ((1, True), (2, True), (3, False)):
        part = live.Snapshot(4, [task(id=f"t{number}")], [], more=more)
        feed.receive(msgspec.json.encode([part]))
    (whole,) = reader.take()
    assert isinstance(whole, live.Snapshot)
    assert [one.id for one in whole.tasks] == ["t1", "t2", "t3"]


@given(st.lists(st.integers(1, 30)))
def test_each_event_is_seen_once_and_in_order(given: list[int]) -> None:
    feed, reader = feed_of("farm")
    for number in given:
        feed.receive(happened(number))
    seen = numbers(reader.take())
    assert seen == sorted(set(seen))
    assert (feed.since or 0) == max(given, default=0)


def test_readers_share_a_subscription_and_each_gets_its_own() -> None:
    feed, one = feed_of("task:t1")
    two = Reader(["task:t2", "task:t1"])
    feed.readers.append(two)
    assert subscribed(feed).topics == ["task:t1", "task:t2"]
    feed.receive(msgspec.json.encode([live.Snapshot(1, [task(id="t1"), task(id="t2")], [])]))
    feed.receive(msgspec.json.encode([live.TaskChanged(2, task(id="t2"))]))
    feed.receive(msgspec.json.encode([live.LinesAdded("t3", 1, 0, 5)]))
    (shown,) = one.take()
    assert isinstance(shown, live.Snapshot)
    assert [info.id for info in shown.tasks] == ["t1"]
    assert len(two.take()) == 2


def test_a_reader_that_does_not_read_keeps_the_latest_and_no_more() -> None:
    feed, reader = feed_of("farm")
    for progress in range(50):
        changed = live.TaskChanged(1, task(id="t1", progress=float(progress)))
        feed.receive(msgspec.json.encode([changed]))
    (latest,) = reader.take()
    assert isinstance(latest, live.TaskChanged)
    assert latest.task.progress == 49.0
    for number in range(2, MAX_WAITING + 100):
        feed.receive(happened(number))
    assert len(reader.take()) == MAX_WAITING


def test_who_follows_very_many_follows_the_farm() -> None:
    feed, _ = feed_of(*(f"task:t{number}" for number in range(MAX_TOPICS + 1)))
    topics = subscribed(feed).topics
    assert len(topics) == MAX_TOPICS
    assert topics[0] == "farm"


def test_a_refusal_raises_what_its_code_stands_for() -> None:
    with pytest.raises(NotFound, match="No"):
        Feed().receive(refused("NOT_FOUND"))


@pytest.mark.parametrize("frame", [b"{", b'[{"type":"unheard of"}]', b"5"])
def test_what_cannot_be_read_is_told(frame: bytes) -> None:
    with pytest.raises(ServerError, match="live feed"):
        Feed().receive(frame)


# ---------------------------------------------------------------- over real sockets

Handler = Callable[[ServerConnection], None]


@contextmanager
def farm(
    handler: Handler, refuse: Callable[[ServerConnection, Request], Response | None] | None = None
) -> Iterator[Live]:
    with serve(handler, "127.0.0.1", 0, process_request=refuse) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.socket.getsockname()[1]
        feed = Live(Address(f"http://127.0.0.1:{port}", "the-token"), sleep=at_once)
        try:
            yield feed
        finally:
            feed.close()
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

    with farm(handler) as feed, closing(feed.listen(["task:t1"])) as messages:
        heard = list(islice(messages, 4))
    assert [subscribed.since for subscribed in subscriptions] == [None, 2]
    assert numbers(heard) == [2, 3]
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

    with farm(handler) as feed, closing(feed.listen(["farm"])) as messages:
        next(messages)
    assert seen == [("/api/v2/live", "Bearer the-token")]


def test_a_refused_upgrade_is_final_and_a_busy_server_is_not() -> None:
    answers = [HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.UNAUTHORIZED]
    body = '{"error":{"code":"UNAUTHORIZED","message":"No such token.","details":{}}}'

    def refuse(socket: ServerConnection, request: Request) -> Response:
        return socket.respond(answers.pop(0) if answers else HTTPStatus.GONE, body)

    with farm(lambda socket: None, refuse) as feed:
        with pytest.raises(Unauthorized, match="token"):
            next(feed.listen(["farm"]))
        assert answers == []


def test_a_server_that_does_not_understand_is_not_asked_again_and_again() -> None:
    def handler(socket: ServerConnection) -> None:
        subscription(socket)
        socket.close(1003, "speak otherwise")

    with farm(handler) as feed, pytest.raises(ServerError, match="speak otherwise"):
        next(feed.listen(["farm"]))


def test_waiting_ends_after_its_timeout() -> None:
    def handler(socket: ServerConnection) -> None:
        subscription(socket)
        socket.send(snapshot(1))
        socket.recv()

    with farm(handler) as feed:
        messages = feed.listen(["farm"], timeout=0.2)
        next(messages)
        with pytest.raises(WaitTimeout):
            next(messages)


def test_a_farm_that_never_comes_back_is_given_up_at_the_timeout() -> None:
    feed = Live(Address("http://127.0.0.1:9", "t"))
    with pytest.raises(WaitTimeout), closing(feed):
        next(feed.listen(["farm"], timeout=0.3))


def test_all_who_listen_share_one_connection_which_ends_with_the_last() -> None:
    subscriptions: list[live.Subscribe] = []
    ended = threading.Event()

    def handler(socket: ServerConnection) -> None:
        try:
            while True:
                subscriptions.append(subscription(socket))
                socket.send(snapshot(len(subscriptions)))
        except ConnectionClosed:
            ended.set()

    with farm(handler) as feed:
        listening = [feed.listen([f"task:t{number}"]) for number in range(30)]
        for messages in listening:
            assert isinstance(next(messages), live.Snapshot)
        assert len(subscriptions) == 30
        assert subscriptions[-1].topics == [f"task:t{number}" for number in range(30)]
        for messages in listening:
            messages.close()
        assert ended.wait(30)


def test_who_still_listens_when_the_farm_is_closed_is_told() -> None:
    def handler(socket: ServerConnection) -> None:
        subscription(socket)
        socket.send(snapshot(1))
        socket.recv()

    with farm(handler) as feed:
        messages = feed.listen(["farm"])
        next(messages)
        feed.close()
        with pytest.raises(AIFarmError, match="closed here"):
            next(messages)


async def test_a_program_that_awaits_listens_the_same_way() -> None:
    def handler(socket: ServerConnection) -> None:
        for _ in range(2):
            subscription(socket)
            socket.send(snapshot(1))
        socket.send(happened(2))
        socket.recv()

    with farm(handler) as blocking:
        feed = AsyncLive(blocking._address)
        one, two = feed.listen(["farm"]), feed.listen(["task:t1"])
        assert isinstance(await anext(one), live.Snapshot)
        assert isinstance(await anext(two), live.Snapshot)
        while not isinstance(await anext(two), live.Happened):
            pass
        with pytest.raises(WaitTimeout):
            await anext(feed.listen(["client:ws1"], timeout=0.0))
        await feed.close()
