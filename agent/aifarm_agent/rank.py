"""A rank as its agent sees it, and how its end is told. Pure.

::

    preparing ─▶ ready ─▶ launched ─▶ running ⇄ paused
        └─────────┴───────────┴──────────┴────────┴──▶ closing ─▶ ended ─▶ (forgotten)

preparing: package and checkpoint are fetched. ready: prepared, and in a gang waiting for the
endpoint. launched: the worker was started and has not spoken. closing: the worker is gone, its
last uploads go on. ended: the result is in the outbox, until the server acknowledged it.
"""

import signal
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from aifarm.wire.agent import Endpoint, HeldState, TaskResult
from aifarm.wire.types import DesiredState, Metrics, Outcome
from aifarm_agent.events import (
    Checkpoint,
    Died,
    End,
    Failed,
    Finished,
    Mark,
    Paused,
    Points,
    Prepared,
    RankKey,
    Report,
    Running,
    Started,
    Stopped,
)

HOLD_LIMIT = 300.0
"""Seconds for which a paused task may hold its client, where the owner says nothing else."""

State = Literal["preparing", "ready", "launched", "running", "paused", "closing", "ended"]
Reason = Literal["", "withdrawn", "owner_returned", "vacated", "server_away"]

MOVES: dict[tuple[State, type[Report]], State] = {
    ("preparing", Prepared): "ready",
    ("launched", Started): "running",
    ("running", Paused): "paused",
    ("paused", Running): "running",
}
"""Where a report leads; an end leads to `closing` from anywhere, and what is not here is late."""

LIVE: frozenset[State] = frozenset({"launched", "running", "paused"})
UNBEGUN: frozenset[State] = frozenset({"preparing", "ready"})
OVER: frozenset[State] = frozenset({"closing", "ended"})

HELD: dict[State, HeldState] = {
    "preparing": "starting",
    "ready": "starting",
    "launched": "starting",
    "running": "running",
    "paused": "paused",
    "closing": "running",
    "ended": "ended",
}
"""What `hello` calls them: a rank has ended once its result is in the outbox."""


class Ending(msgspec.Struct, frozen=True):
    """What the result will say, once the uploads are through."""

    status: Outcome
    cause: str
    message: str = ""
    metrics: Metrics = {}


class Memo(msgspec.Struct, frozen=True):
    """What of a rank must be found again after a restart."""

    state: State
    desired: DesiredState
    reason: Reason
    ending: Ending | None
    uploads: list[Checkpoint]
    checkpoint: str | None
    keeps: bool = False
    hold_seconds: float | None = None
    met: bool = False


@dataclass(slots=True)
class Rank:
    """`reason`: why this agent ends it, beside what the submitter wants. `hold_seconds`: for how
    long its task wants to be held at most; `held_since`: when the session saw it held.

    `ordered`: this agent has its assignment and fetches what it needs. `met`: its gang was told
    where to meet. `keeps`: files of it are still to be collected, at the latest when its worker is
    gone. `points`, `lines`, `open_line` and `marks` were reported and are not in the outbox yet;
    `saved` is the memo that is.
    """

    key: RankKey
    state: State
    desired: DesiredState = "running"
    reason: Reason = ""
    ending: Ending | None = None
    uploads: list[Checkpoint] = field(default_factory=list)
    checkpoint: str | None = None
    keeps: bool = False
    ordered: bool = False
    gang: bool = False
    met: bool = False
    endpoint: Endpoint | None = None
    progress: float = 0.0
    points: list[Points] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    open_line: str | None = None
    marks: dict[str, Mark] = field(default_factory=dict)
    saved: bytes = b""
    hold_seconds: float | None = None
    held_since: float | None = None

    @property
    def held(self) -> bool:
        """Whether its worker waits, as the submitter wants it to."""
        return self.state == "paused" and self.desired == "paused" and not self.reason

    def held_until(self, limit: float) -> float:
        """When it is to let go of its client; long ago where nobody saw yet that it is held."""
        if self.held_since is None:
            return 0.0
        return self.held_since + min(
            limit if self.hold_seconds is None else self.hold_seconds, limit
        )

    def memo(self) -> bytes:
        return msgspec.json.encode(
            Memo(
                self.state,
                self.desired,
                self.reason,
                self.ending,
                self.uploads,
                self.checkpoint,
                self.keeps,
                self.hold_seconds,
                self.met,
            )
        )


def recall(key: RankKey, memo: bytes) -> Rank:
    kept = msgspec.json.decode(memo, type=Memo)
    return Rank(
        key,
        kept.state,
        kept.desired,
        kept.reason,
        kept.ending,
        kept.uploads,
        kept.checkpoint,
        kept.keeps,
        saved=memo,
        hold_seconds=kept.hold_seconds,
        met=kept.met,
    )


def ending(rank: Rank, end: End) -> Ending:
    """What the end of a rank's worker means for its task."""
    if rank.reason == "withdrawn":
        return Ending("stopped", "withdrawn")
    if isinstance(end, Finished):
        return Ending("completed", "completed", metrics=end.metrics)
    if isinstance(end, Failed):
        return Ending("failed", end.cause, end.message)
    if rank.reason == "owner_returned":
        return Ending("stopped", "owner_returned", "The agent was stopped by its owner.")
    if rank.reason == "vacated":
        return Ending("stopped", "vacated", end.how if isinstance(end, Stopped) else "")
    if rank.reason == "server_away":
        return Ending("stopped", "owner_returned", "The server was away for too long.")
    if rank.desired == "stopped":
        return Ending("stopped", "stopped")
    if isinstance(end, Stopped) and "paused" in (rank.state, rank.desired):  # its gang vacates
        return Ending("stopped", "vacated", end.how)
    if isinstance(end, Stopped):
        return Ending("stopped", "owner_returned", "The worker stopped, as its agent was away.")
    return _died(end)


def _died(end: Died) -> Ending:
    if end.out_of_memory:
        return Ending(
            "failed", "out_of_memory", "The worker was killed, as the machine was out of memory."
        )
    if end.signal is not None:
        try:
            name = f"signal {end.signal} ({signal.Signals(end.signal).name})"
        except ValueError:
            name = f"signal {end.signal}"
        return Ending("failed", "user_error", f"The worker was killed by {name}.")
    if end.code is not None:
        return Ending(
            "failed", "user_error", f"The worker ended with exit code {end.code} before its task."
        )
    return Ending("failed", "agent_lost", "The worker was gone when the agent looked for it.")


def result(rank: Rank, told: Ending) -> TaskResult:
    return TaskResult(
        **rank.key._asdict(),
        status=told.status,
        cause=told.cause,
        message=told.message[:4096] or None,
        metrics=told.metrics,
        checkpoint_path=rank.checkpoint,
    )
