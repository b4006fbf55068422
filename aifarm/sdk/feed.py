"""The live feed without I/O: what several readers of one connection follow and have not taken."""

from collections.abc import Iterable

import msgspec

from aifarm.sdk.call import from_body
from aifarm.sdk.errors import AIFarmError, ServerError
from aifarm.wire import live
from aifarm.wire.codec import encode, explain

MAX_TOPICS = 1000
"""That the farm takes at once; whoever follows more follows the whole farm."""

MAX_WAITING = 10_000
"""Messages kept for a reader that does not take them; then the oldest go."""

_decoder: msgspec.json.Decoder[live.Frame] = msgspec.json.Decoder(live.Frame)


class Reader:
    """What one reader follows, and what it has not taken yet: of each state only the latest."""

    def __init__(self, topics: Iterable[str]) -> None:
        self.topics = list(dict.fromkeys(topics))
        self.error: AIFarmError | None = None
        self._waiting: dict[object, live.Message] = {}

    def __bool__(self) -> bool:
        """Whether there is something to take."""
        return bool(self._waiting)

    def take(self) -> list[live.Message]:
        """Everything that waits, in order."""
        taken = list(self._waiting.values())
        self._waiting.clear()
        return taken

    def put(self, message: live.Message) -> None:
        """Keeps what of the message the reader follows."""
        if isinstance(message, live.Snapshot):
            message = self._own(message)
        elif not self._follows(*_topics(message)):
            return
        key = _key(message)
        self._waiting.pop(key, None)  # the newest stands last
        self._waiting[key] = message
        if len(self._waiting) > MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]

    def _own(self, snapshot: live.Snapshot) -> live.Snapshot:
        return live.Snapshot(
            event=snapshot.event,
            tasks=[task for task in snapshot.tasks if self._follows(f"task:{task.id}")],
            clients=[one for one in snapshot.clients if self._follows(f"client:{one.id}")],
            missed=snapshot.missed,
        )

    def _follows(self, *topics: str) -> bool:
        return any(topic in self.topics for topic in ("farm", *topics))


class Feed:
    """The readers of one connection, and the last event that came over it."""

    def __init__(self) -> None:
        self.readers: list[Reader] = []
        self.since: int | None = None
        self._parts: list[live.Snapshot] = []

    def subscribe(self) -> str:
        """The message that makes the farm tell all readers what they follow, from now on."""
        self._parts.clear()
        topics = list(dict.fromkeys(topic for reader in self.readers for topic in reader.topics))
        if len(topics) > MAX_TOPICS:
            topics = ["farm", *topics[1 - MAX_TOPICS :]]
        return encode(live.Subscribe(topics=topics, since=self.since)).decode()

    def receive(self, frame: str | bytes) -> None:
        """Gives each reader its part of `frame`; no event comes twice. Raises AIFarmError when
        the farm refuses."""
        try:
            messages = _decoder.decode(frame)
        except msgspec.DecodeError as error:
            raise ServerError(
                f"The live feed sent what cannot be read: {explain(error).message}."
            ) from None
        for message in messages:
            whole = self._whole(message) if isinstance(message, live.Snapshot) else message
            if whole is not None and self._is_new(whole):
                for reader in self.readers:
                    reader.put(whole)

    def fail(self, error: AIFarmError) -> None:
        """Ends all readers; each takes what it has first."""
        for reader in self.readers:
            reader.error = error
        self.readers.clear()

    def _whole(self, part: live.Snapshot) -> live.Snapshot | None:
        """The snapshot that `part` completes, or None while another part follows."""
        self._parts.append(part)
        if part.more:
            return None
        parts, self._parts = self._parts, []
        return live.Snapshot(
            event=part.event,
            tasks=[task for one in parts for task in one.tasks],
            clients=[client for one in parts for client in one.clients],
            missed=any(one.missed for one in parts),
        )

    def _is_new(self, message: live.Message) -> bool:
        """Only events move `since`: a change that came before its event must not hide it."""
        if isinstance(message, live.Refused):
            raise from_body(message.error)
        if isinstance(message, live.Snapshot) and (self.since is None or message.missed):
            self.since = message.event
        if isinstance(message, live.Happened):
            if self.since is not None and message.event.id <= self.since:
                return False
            self.since = message.event.id
        return True


def _topics(message: live.Message) -> list[str]:
    """What one must follow to be told this."""
    match message:
        case live.TaskChanged(task=task):
            return [f"task:{task.id}"]
        case live.TaskDeleted(id=task_id):
            return [f"task:{task_id}"]
        case live.ClientChanged(client=client):
            return [f"client:{client.id}"]
        case live.ClientForgotten(id=client_id):
            return [f"client:{client_id}"]
        case live.PointsAdded(task_id=task_id) | live.LinesAdded(task_id=task_id):
            return [f"task:{task_id}"]
        case live.Happened(event=event):
            return [f"task:{event.task_id}", f"client:{event.client_id}"]
    return []


def _key(message: live.Message) -> object:
    """A later message with the same key makes an earlier one worthless."""
    match message:
        case live.Snapshot():
            return "snapshot"
        case live.TaskChanged(task=task):
            return "task", task.id
        case live.TaskDeleted(id=task_id):
            return "deleted", task_id
        case live.ClientForgotten(id=client_id):
            return "forgotten", client_id
        case live.ClientChanged(client=client):
            return "client", client.id
        case live.LinesAdded(task_id=task_id, attempt=attempt, rank=rank):
            return "log", task_id, attempt, rank
    return id(message)
