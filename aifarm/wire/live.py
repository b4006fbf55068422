"""The live feed (`/api/v2/live`): a snapshot, then what changes, resumable by event number.

A reader gets the latest value of each thing, not every value: one that reads slowly misses
intermediate states, never the last one.
"""

from typing import Annotated

from msgspec import Meta, Struct

from aifarm.wire.agent import ErrorBody, Point
from aifarm.wire.rest import ClientFull, EventFull, TaskFull
from aifarm.wire.types import Natural

Topic = Annotated[str, Meta(pattern=r"^(farm|task:[A-Za-z0-9-]{1,128}|client:.{1,128})$")]


class Subscribe(Struct, frozen=True, tag_field="type", tag="subscribe"):
    """Takes the place of the subscription before, of which all that came until then is still sent.

    `since`: the last event number seen; events after it come first. None: from now on."""

    topics: Annotated[list[Topic], Meta(min_length=1, max_length=1000)]
    since: Natural | None = None


class FromServer(Struct, frozen=True, tag_field="type"):
    pass


class Snapshot(FromServer, frozen=True, tag="snapshot"):
    """The present state of what was subscribed to, as of event number `event`: it replaces what the
    reader knew. Of the farm, tasks that are not final; finished ones where a topic names them.

    `more`: another part follows, which adds to this one. `missed`: events went by that are not
    sent, because there were too many of them since the reader's last; the events route has them.
    """

    event: int
    tasks: list[TaskFull]
    clients: list[ClientFull]
    more: bool = False
    missed: bool = False


class TaskChanged(FromServer, frozen=True, tag="task"):
    event: int
    task: TaskFull


class TaskDeleted(FromServer, frozen=True, tag="task_deleted"):
    event: int
    id: str


class ClientChanged(FromServer, frozen=True, tag="client"):
    event: int
    client: ClientFull


class ClientForgotten(FromServer, frozen=True, tag="client_forgotten"):
    event: int
    id: str


class Happened(FromServer, frozen=True, tag="event"):
    event: EventFull


class PointsAdded(FromServer, frozen=True, tag="points"):
    """New metric points of rank 0 of an attempt. `gap`: earlier ones were dropped for this slow
    reader; the history has them.

    A reader that subscribes first and loads the history then has every point; those it has twice
    are equal in attempt and step.
    """

    task_id: str
    attempt: int
    points: list[Point]
    gap: bool = False


class LinesAdded(FromServer, frozen=True, tag="log"):
    """The rank's log has grown to `total` lines; the log route has them. `open`: what the next
    line, which has not ended, shows so far, such as a progress bar: at most every second."""

    task_id: str
    attempt: int
    rank: int
    total: int
    open: str = ""


class Refused(FromServer, frozen=True, tag="error"):
    error: ErrorBody


Message = (
    Snapshot
    | TaskChanged
    | TaskDeleted
    | ClientChanged
    | ClientForgotten
    | Happened
    | PointsAdded
    | LinesAdded
    | Refused
)

Frame = list[Message]
"""What the server sends at once: everything that gathered since the last frame, in order."""
