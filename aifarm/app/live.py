"""The live feed without I/O: who follows what, and a mailbox for each reader.

A mailbox keeps the latest value of each thing, so a slow reader costs a bounded amount of memory
and never misses the last state. Events are kept in order; a reader that falls too far behind is
given a fresh snapshot instead. What many readers are told is made and encoded once.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator

from aifarm.app.draft import Changes
from aifarm.app.records import ClientRecord, EventRecord, TaskRecord
from aifarm.app.views import event_full, task_full
from aifarm.core.task import RankKey
from aifarm.wire import live
from aifarm.wire.agent import Point
from aifarm.wire.codec import encode
from aifarm.wire.rest import ClientFull

MAX_EVENTS = 1_000
MAX_LATEST = 5_000
MAX_POINTS = 10_000
"""Kept for one reader: events, changed tasks and clients, and metric points."""

FRAME = 1 << 20
"""Bytes of one frame, unless one message alone is larger."""


class News:
    """A message for any number of readers: encoded once, when the first of them takes it."""

    __slots__ = ("_encoded", "message")

    def __init__(self, message: live.Message) -> None:
        self.message = message
        self._encoded: bytes | None = None

    @property
    def encoded(self) -> bytes:
        if self._encoded is None:
            self._encoded = encode(self.message)
        return self._encoded


def frames(news: Iterable[News]) -> Iterator[bytes]:
    """Each a `live.Frame`: as many messages, in order, as FRAME bytes hold."""
    waiting: list[bytes] = []
    size = 0
    for one in news:
        if waiting and size + len(one.encoded) > FRAME:
            yield b"[%b]" % b",".join(waiting)
            waiting, size = [], 0
        waiting.append(one.encoded)
        size += len(one.encoded)
    if waiting:
        yield b"[%b]" % b",".join(waiting)


class Mailbox:
    """What one reader has not taken yet. `wake(urgent)`: something came; progress is not urgent.

    `missed`: events or changes were dropped, so that the reader needs a fresh snapshot.
    """

    def __init__(self, topics: Iterable[str], wake: Callable[[bool], None]) -> None:
        self.topics = frozenset(topics)
        self.missed = False
        self._wake = wake
        self._latest: dict[tuple[str, str], News] = {}
        self._events: list[News] = []
        self._points: deque[tuple[live.PointsAdded, News]] = deque()
        self._held = 0
        self._gaps: dict[str, live.PointsAdded] = {}

    def follows(self, event: EventRecord) -> bool:
        return not self.topics.isdisjoint(_topics(event.task_id, event.client_id))

    def put(self, key: tuple[str, str], news: News, urgent: bool) -> None:
        """The present value of `key`."""
        if len(self._latest) >= MAX_LATEST and key not in self._latest:
            self._latest.clear()
            self.missed = True
        self._latest[key] = news
        self._wake(urgent)

    def happened(self, news: News) -> None:
        if len(self._events) >= MAX_EVENTS:
            self._events.clear()
            self.missed = True
        self._events.append(news)
        self._wake(True)

    def points(self, message: live.PointsAdded, news: News) -> None:
        self._points.append((message, news))
        self._held += len(message.points)
        while self._held > MAX_POINTS and len(self._points) > 1:
            dropped, _ = self._points.popleft()
            self._held -= len(dropped.points)
            self._gaps[dropped.task_id] = dropped
        self._wake(False)

    def drain(self) -> list[News]:
        """Takes everything: events first, since they explain the new states."""
        gaps = [
            News(live.PointsAdded(dropped.task_id, dropped.attempt, [], gap=True))
            for dropped in self._gaps.values()
        ]
        points = [news for _, news in self._points]
        taken = [*self._events, *self._latest.values(), *gaps, *points]
        self._events, self._latest, self._gaps = [], {}, {}
        self._points.clear()
        self._held = 0
        return taken


def _topics(task_id: str | None = None, client_id: str | None = None) -> tuple[str, str, str]:
    return ("farm", f"task:{task_id}", f"client:{client_id}")


class Feed:
    """All mailboxes, by topic. `show_client` gives a client as the API shows it."""

    def __init__(self, show_client: Callable[[ClientRecord], ClientFull]) -> None:
        self._show_client = show_client
        self._readers: defaultdict[str, set[Mailbox]] = defaultdict(set)
        self.last_event = 0

    def add(self, mailbox: Mailbox) -> None:
        for topic in mailbox.topics:
            self._readers[topic].add(mailbox)

    def remove(self, mailbox: Mailbox) -> None:
        for topic in mailbox.topics:
            self._readers[topic].discard(mailbox)
            if not self._readers[topic]:
                del self._readers[topic]

    def publish(self, changes: Changes, moved: frozenset[str]) -> None:
        """`moved`: the tasks whose state changed, not their progress alone."""
        if changes.events:
            self.last_event = changes.events[-1].id
        if not self._readers:
            return
        for record in changes.tasks:
            self._task(record, record.task.id in moved)
        for record in changes.settled:
            self._task(record, True)
        for client in changes.clients:
            self.client(client)
        for client_id in changes.forgotten:
            if readers := self._following(*_topics(client_id=client_id)):
                gone = live.ClientForgotten(self.last_event, client_id)
                self._put(readers, ("client", client_id), gone, urgent=True)
        for event in changes.events:
            self._event(event)
        for key, points in changes.points:
            self._points(key, points)
        for lines in changes.logs:
            key, total = lines.key, lines.first + len(lines.lines)
            if readers := self._following(f"task:{key.task_id}"):
                grown = live.LinesAdded(*key, total, lines.open)
                self._put(readers, ("log", f"{key}"), grown, urgent=False)

    def client(self, client: ClientRecord, urgent: bool = True) -> None:
        """As it is now; not urgent where only what it uses is another."""
        if readers := self._following(*_topics(client_id=client.id)):
            changed = live.ClientChanged(self.last_event, self._show_client(client))
            self._put(readers, ("client", client.id), changed, urgent)

    def _following(self, *topics: str) -> set[Mailbox]:
        return set().union(*(self._readers[topic] for topic in topics if topic in self._readers))

    def _put(
        self,
        readers: Iterable[Mailbox],
        key: tuple[str, str],
        message: live.Message,
        urgent: bool,
    ) -> None:
        news = News(message)
        for mailbox in readers:
            mailbox.put(key, news, urgent)

    def _task(self, record: TaskRecord, urgent: bool) -> None:
        task_id = record.task.id
        readers = self._following(*_topics(task_id))
        if not readers:
            return
        message: live.Message
        if record.deleted:
            message = live.TaskDeleted(self.last_event, task_id)
        else:
            message = live.TaskChanged(self.last_event, task_full(record))
        self._put(readers, ("task", task_id), message, urgent)

    def _event(self, event: EventRecord) -> None:
        news = News(live.Happened(event_full(event)))
        for mailbox in self._following(*_topics(event.task_id, event.client_id)):
            mailbox.happened(news)

    def _points(self, key: RankKey, points: list[Point]) -> None:
        if key.rank != 0:
            return
        message = live.PointsAdded(key.task_id, key.attempt, points)
        news = News(message)
        for mailbox in self._following(f"task:{key.task_id}"):
            mailbox.points(message, news)
