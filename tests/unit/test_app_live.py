"""The live feed's mailboxes: the latest value, a bounded memory, and one encoding for all."""

from typing import Any

import msgspec
import pytest

from aifarm.app.draft import Changes
from aifarm.app.live import FRAME, MAX_EVENTS, MAX_LATEST, MAX_POINTS, Feed, Mailbox, News, frames
from aifarm.app.records import ClientRecord, EventRecord, LogLines, TaskRecord, TaskSpec
from aifarm.app.views import client_full
from aifarm.core.task import RankKey, Task
from aifarm.wire import live

decode = msgspec.json.Decoder(live.Frame).decode


class Reader:
    """Counts how often it is woken."""

    def __init__(self, feed: Feed, *topics: str) -> None:
        self.woken: list[bool] = []
        self.box = Mailbox(topics, self.woken.append)
        feed.add(self.box)

    def take(self) -> list[Any]:
        return [message for frame in frames(self.box.drain()) for message in decode(frame)]


@pytest.fixture
def feed() -> Feed:
    return Feed(lambda client: client_full(client, True, True, []))


def record(task_id: str = "t", progress: float = 0.0, deleted: bool = False) -> TaskRecord:
    spec = TaskSpec("training", "model", {})
    return TaskRecord(
        Task(task_id, "ada", 1.0), spec, progress, deleted_at=2.0 if deleted else None
    )


def event(number: int, task_id: str | None = "t", client_id: str | None = None) -> EventRecord:
    return EventRecord(number, 1.0, "control", "…", task_id, client_id)


def points(first: int, count: int = 1, attempt: int = 1, task_id: str = "t") -> Changes:
    some = [(step, 1.0, {"loss": float(step)}) for step in range(first, first + count)]
    return Changes(points=((RankKey(task_id, attempt, 0), some),))


def test_a_reader_that_does_not_read_has_the_latest_of_ten_thousand_changes(feed: Feed) -> None:
    reader = Reader(feed, "farm")
    for number in range(10_000):
        changed = Changes(
            tasks=(record(progress=number / 100),),
            clients=(ClientRecord("ws1", "token", 1.0, float(number)),),
        )
        feed.publish(changed, frozenset())
    task, client = reader.take()
    assert (task.task.progress, client.client.last_seen.timestamp()) == (99.99, 9999.0)
    assert not reader.box.missed
    assert reader.take() == []


def test_what_a_reader_has_not_taken_is_bounded_in_every_direction(feed: Feed) -> None:
    reader = Reader(feed, "farm", *(f"task:t{n}" for n in range(10)))
    for number in range(3 * MAX_LATEST):
        changes = Changes(tasks=(record(f"new{number}"),), events=(event(number + 1),))
        feed.publish(changes, frozenset({f"new{number}"}))
    for step in range(3 * MAX_POINTS // 100):
        feed.publish(points(100 * step, 100, task_id=f"t{step % 10}"), frozenset())
    taken = reader.box.drain()
    assert reader.box.missed
    kinds = [type(news.message) for news in taken]
    assert kinds.count(live.TaskChanged) <= MAX_LATEST
    assert kinds.count(live.Happened) <= MAX_EVENTS
    added = [one.message for one in taken if isinstance(one.message, live.PointsAdded)]
    assert sum(len(one.points) for one in added) <= MAX_POINTS
    assert {one.task_id for one in added if one.gap} == {f"t{n}" for n in range(10)}


def test_many_readers_share_one_encoding(feed: Feed) -> None:
    readers = [Reader(feed, "farm", "task:t") for _ in range(50)]
    key = RankKey("t", 1, 0)
    changes = Changes(
        tasks=(record(),),
        clients=(ClientRecord("ws1", "token", 1.0, 1.0),),
        events=(event(1), event(2)),
        points=points(0, 5).points,
        logs=(LogLines(key, 0, ("a", "b")),),
    )
    feed.publish(changes, frozenset({"t"}))
    taken = [reader.box.drain() for reader in readers]
    assert {len(news) for news in taken} == {6}
    assert len({id(one) for news in taken for one in news}) == 6
    assert len({id(one.encoded) for news in taken for one in news}) == 6


def test_a_change_that_was_overtaken_is_never_encoded(feed: Feed) -> None:
    reader = Reader(feed, "farm")
    feed.publish(Changes(tasks=(record(),)), frozenset())
    (first,) = reader.box._latest.values()
    feed.publish(Changes(tasks=(record(progress=1.0),)), frozenset())
    reader.take()
    assert first._encoded is None


def test_topics_choose_what_is_heard_and_each_thing_is_heard_once(feed: Feed) -> None:
    both = Reader(feed, "farm", "task:t", "client:ws1")
    other = Reader(feed, "task:other", "client:other")
    changes = Changes(
        tasks=(record(),),
        clients=(ClientRecord("ws1", "token", 1.0, 1.0),),
        events=(event(1, "t", "ws1"), event(2, None, None)),
    )
    feed.publish(changes, frozenset())
    assert len(both.take()) == 4
    assert (other.take(), other.woken) == ([], [])
    feed.remove(both.box)
    feed.publish(changes, frozenset())
    assert both.take() == []
    feed.remove(other.box)
    assert not feed._readers


def test_progress_and_points_do_not_hurry_a_reader_but_states_do(feed: Feed) -> None:
    reader = Reader(feed, "task:t")
    feed.publish(Changes(tasks=(record(),)), frozenset())
    feed.publish(points(1), frozenset())
    assert reader.woken == [False, False]
    feed.publish(Changes(tasks=(record(),)), frozenset({"t"}))
    feed.publish(Changes(settled=(record(deleted=True),)), frozenset())
    assert reader.woken[2:] == [True, True]
    assert isinstance(reader.take()[0], live.TaskDeleted)


def test_points_name_their_attempt_and_a_gap_comes_before_what_follows_it(feed: Feed) -> None:
    reader = Reader(feed, "task:t")
    for attempt, first in ((1, 0), (2, MAX_POINTS // 2), (3, MAX_POINTS)):
        feed.publish(points(first, MAX_POINTS // 2, attempt), frozenset())
    gap, *kept = reader.take()
    assert (gap.attempt, gap.points, gap.gap) == (1, [], True)
    assert [(one.attempt, one.gap, one.points[0][0]) for one in kept] == [
        (2, False, MAX_POINTS // 2),
        (3, False, MAX_POINTS),
    ]


def test_a_client_that_is_forgotten_replaces_what_was_to_be_said_of_it(feed: Feed) -> None:
    reader = Reader(feed, "client:ws1")
    feed.publish(Changes(clients=(ClientRecord("ws1", "token", 1.0, 1.0),)), frozenset())
    feed.publish(Changes(forgotten=("ws1",)), frozenset())
    (gone,) = reader.take()
    assert isinstance(gone, live.ClientForgotten)


def test_frames_are_cut_by_size_and_keep_the_order() -> None:
    messages = [
        live.PointsAdded("t", number, [(1, 1.0, {"x" * (FRAME // 3): 1.0})]) for number in range(7)
    ]
    sent = list(frames(map(News, messages)))
    assert [message for frame in sent for message in decode(frame)] == messages
    assert len(sent) > 1
    assert max(map(len, sent)) <= FRAME + 100
    assert list(frames([])) == []
