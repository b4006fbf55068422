"""The live feed without I/O: who follows what, and a mailbox for each reader.

A mailbox keeps the latest value of each thing, so a slow reader costs a bounded amount of memory
and never misses the last state. Events are kept in order; a reader that falls too far behind is
given a fresh snapshot instead.
"""

from collections.abc import Callable, Iterable

from aifarm.app.draft import Changes
from aifarm.app.records import ClientRecord, EventRecord, TaskRecord
from aifarm.app.views import event_full, task_full
from aifarm.core.task import RankKey
from aifarm.wire import live
from aifarm.wire.agent import Point
from aifarm.wire.rest import ClientFull

MAX_EVENTS = 1_000
MAX_POINTS = 10_000
"""Kept for one reader, of all events and of each task's points; then the oldest go."""


class Mailbox:
    """What one reader has not taken yet. `wake(urgent)`: something came; progress is not urgent."""

    def __init__(self, topics: Iterable[str], wake: Callable[[bool], None]) -> None:
        self.topics = frozenset(topics)
        self.lost_events = False
        self._wake = wake
        self._latest: dict[tuple[str, str], live.Message] = {}
        self._events: list[live.Message] = []
        self._points: dict[str, list[Point]] = {}
        self._gaps: set[str] = set()

    def follows_task(self, task_id: str) -> bool:
        return "farm" in self.topics or f"task:{task_id}" in self.topics

    def follows(self, event: EventRecord) -> bool:
        return (
            "farm" in self.topics
            or f"task:{event.task_id}" in self.topics
            or f"client:{event.client_id}" in self.topics
        )

    def put(self, key: tuple[str, str], message: live.Message, urgent: bool) -> None:
        self._latest[key] = message
        self._wake(urgent)

    def happened(self, message: live.Message) -> None:
        if len(self._events) >= MAX_EVENTS:
            self._events.clear()
            self.lost_events = True
        self._events.append(message)
        self._wake(True)

    def points(self, task_id: str, points: list[Point]) -> None:
        waiting = self._points.setdefault(task_id, [])
        waiting.extend(points)
        if len(waiting) > MAX_POINTS:
            del waiting[:-MAX_POINTS]
            self._gaps.add(task_id)
        self._wake(False)

    def drain(self) -> list[live.Message]:
        """Takes everything: events first, since they explain the new states."""
        points = [
            live.PointsAdded(task_id, waiting, task_id in self._gaps)
            for task_id, waiting in self._points.items()
        ]
        taken = [*self._events, *self._latest.values(), *points]
        self._events, self._latest, self._points = [], {}, {}
        self._gaps.clear()
        return taken


class Feed:
    """All mailboxes. `show_client` gives a client as the API shows it."""

    def __init__(self, show_client: Callable[[ClientRecord], ClientFull]) -> None:
        self._show_client = show_client
        self._mailboxes: set[Mailbox] = set()
        self.last_event = 0

    def add(self, mailbox: Mailbox) -> None:
        self._mailboxes.add(mailbox)

    def remove(self, mailbox: Mailbox) -> None:
        self._mailboxes.discard(mailbox)

    def publish(self, changes: Changes, moved: frozenset[str]) -> None:
        """`moved`: the tasks whose state changed, not their progress alone."""
        if changes.events:
            self.last_event = changes.events[-1].id
        if not self._mailboxes:
            return
        for record in changes.tasks:
            self._task(record, record.task.id in moved)
        for record in changes.settled:
            self._task(record, True)
        for client in changes.clients:
            self._client(client)
        for event in changes.events:
            self._event(event)
        for key, points in changes.points:
            self._points(key, points)
        for lines in changes.logs:
            total = lines.first + len(lines.lines)
            grown = live.LinesAdded(lines.key.task_id, lines.key.attempt, lines.key.rank, total)
            for mailbox in self._mailboxes:
                if f"task:{lines.key.task_id}" in mailbox.topics:
                    mailbox.put(("log", f"{lines.key}"), grown, urgent=False)

    def _task(self, record: TaskRecord, urgent: bool) -> None:
        followers = [one for one in self._mailboxes if one.follows_task(record.task.id)]
        if not followers:
            return
        message: live.Message
        if record.deleted:
            message = live.TaskDeleted(self.last_event, record.task.id)
        else:
            message = live.TaskChanged(self.last_event, task_full(record))
        for mailbox in followers:
            mailbox.put(("task", record.task.id), message, urgent)

    def _client(self, client: ClientRecord) -> None:
        topics = {"farm", f"client:{client.id}"}
        followers = [one for one in self._mailboxes if not topics.isdisjoint(one.topics)]
        if followers:
            message = live.ClientChanged(self.last_event, self._show_client(client))
            for mailbox in followers:
                mailbox.put(("client", client.id), message, urgent=True)

    def _event(self, event: EventRecord) -> None:
        message = live.Happened(event_full(event))
        for mailbox in self._mailboxes:
            if mailbox.follows(event):
                mailbox.happened(message)

    def _points(self, key: RankKey, points: list[Point]) -> None:
        if key.rank != 0:
            return
        for mailbox in self._mailboxes:
            if f"task:{key.task_id}" in mailbox.topics:
                mailbox.points(key.task_id, points)
