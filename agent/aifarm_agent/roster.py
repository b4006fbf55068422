"""The ranks of this agent: what happens to each, and what the server is told of it."""

import dataclasses
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

from aifarm.wire.agent import (
    Endpoint,
    GangEndpoint,
    TaskCheckpoint,
    TaskLog,
    TaskMeasured,
    TaskNote,
    TaskState,
)
from aifarm.wire.types import DesiredState
from aifarm_agent import events
from aifarm_agent.batches import log_messages, output_messages, progress_messages
from aifarm_agent.events import Effect, End, Mark, RankKey, Report
from aifarm_agent.outbox import Outbox
from aifarm_agent.rank import LIVE, MOVES, OVER, UNBEGUN, Rank, Reason, ending, recall, result

logger = logging.getLogger(__name__)

REMEMBERED = 1000
"""Ranks whose end is acknowledged and that a late duplicate must not start again."""

GATHERED = 16
"""Reports of points held in memory at most, for a rank whose journal grew while nobody read."""


class Roster:
    """Holds the ranks and appends to the outbox; its methods return effects.

    Its caller opens the transactions.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._over: deque[RankKey] = deque(maxlen=REMEMBERED)
        self._uploading: set[tuple[RankKey, str]] = set()
        self._collecting: set[RankKey] = set()
        self.ranks = {key: recall(key, memo) for key, memo in outbox.ranks()}

    def add(self, key: RankKey, **fields: Any) -> Rank:
        rank = self.ranks[key] = Rank(key, **fields)
        return rank

    def over(self, key: RankKey) -> bool:
        """Whether this rank's end was acknowledged lately."""
        return key in self._over

    def older(self, key: RankKey) -> list[Rank]:
        """Ranks of earlier attempts at the same task."""
        return [
            rank
            for other, rank in self.ranks.items()
            if other.task_id == key.task_id and other.attempt < key.attempt
        ]

    # ------------------------------------------------------------ orders

    def steer(self, rank: Rank, desired: DesiredState) -> list[Effect]:
        """Towards the desired state, whatever the rank is doing."""
        if rank.state in OVER or rank.reason:
            return []
        if desired != rank.desired:
            rank.desired, rank.held_since = desired, None
        self._save(rank)
        if rank.state in LIVE:
            return [events.Steer(rank.key, desired)]
        return [events.Kill(rank.key)] if desired == "stopped" else []

    def start(self, rank: Rank, endpoint: Endpoint | None) -> list[Effect]:
        """Launches the worker once it is prepared and, in a gang, knows the endpoint."""
        rank.endpoint = endpoint or rank.endpoint
        waits = rank.gang and rank.endpoint is None
        if rank.state != "ready" or waits or rank.reason or rank.desired == "stopped":
            return []
        rank.state = "launched"
        self._save(rank, begins=True)
        logger.info("%s: starting", rank.key)
        return [events.Launch(rank.key, rank.endpoint, rank.desired)]

    def resume(self, rank: Rank) -> list[Effect]:
        """What a worker that an earlier agent left must be told anew."""
        if rank.state not in LIVE:
            return []
        if rank.reason == "withdrawn":
            return [events.Kill(rank.key)]
        return [events.Steer(rank.key, rank.desired)] if rank.desired != "running" else []

    def leave(self, rank: Rank, reason: Reason) -> list[Effect]:
        """For a reason of this agent's: its worker writes a checkpoint and ends."""
        if rank.state in OVER or rank.reason:
            return []
        effects = self.steer(rank, "stopped")
        rank.reason = reason
        self._save(rank)
        return effects

    def withdraw(self, rank: Rank) -> list[Effect]:
        """This attempt is stale: its worker ends at once, and nothing of it is kept."""
        if rank.state == "ended" or rank.reason == "withdrawn":
            return []
        logger.info("%s: withdrawn", rank.key)
        rank.reason = "withdrawn"
        self._uploading.difference_update((rank.key, c.path) for c in rank.uploads)
        rank.uploads = []
        rank.keeps = False
        if rank.state == "closing":
            self._close(rank, events.Died())
        self._save(rank)
        return [events.Kill(rank.key)]

    def refuse(self, key: RankKey, reason: Reason) -> None:
        """Says of a rank that never ran here that it was stopped."""
        self._close(Rank(key, "preparing", "stopped", reason), events.Died())

    def begin_again(self, rank: Rank) -> None:
        """It has no worker: where it had none yet, it goes on once its assignment comes again."""
        if rank.state not in UNBEGUN or rank.reason or rank.desired == "stopped":
            self.lose(rank)
        else:
            rank.state = "preparing"
            self._save(rank)

    def lose(self, rank: Rank) -> None:
        """Its worker and its run folder are gone."""
        if rank.state not in OVER:
            rank.keeps = False
            self._close(rank, events.Died())

    def acknowledged(self, rank: Rank, seq: int) -> list[Effect]:
        """The server has this rank's messages up to `seq`; with the result it is over."""
        self._outbox.ack(rank.key, seq)
        if rank.state != "ended" or seq < self._outbox.last_seq(rank.key):
            return []
        del self.ranks[rank.key]
        self._outbox.forget(rank.key)
        self._collecting.discard(rank.key)
        self._over.append(rank.key)
        return [events.Forget(rank.key)]

    # ------------------------------------------------------------ reports

    def report(self, rank: Rank, report: Report, mark: Mark | None) -> list[Effect]:
        """One report of a rank that has not ended; `mark` is stored with what comes of it."""
        if mark is not None:
            rank.marks[mark.source] = mark
        if isinstance(report, events.Points):
            rank.points.append(report)
            if len(rank.points) >= GATHERED:
                self.flush(rank)
            return []
        if isinstance(report, events.LogLines):
            rank.lines += report.lines
            rank.open_line = report.open
            return []
        self.flush(rank)
        effects = self._REPORTS[type(report)](self, rank, report)
        self._save(rank)
        return effects

    def flush(self, rank: Rank) -> None:
        """Puts what was gathered into the outbox, with the marks that go with it."""
        if rank.points:
            points = [point for batch in rank.points for point in batch.points]
            rank.progress = rank.points[-1].progress
            messages, lost = progress_messages(rank.key, rank.progress, points)
            for progress in messages:
                self._outbox.append(rank.key, progress)
            self._outbox.drop(rank.key, lost + sum(batch.dropped for batch in rank.points))
        for lines in log_messages(rank.key, rank.lines, rank.open_line):
            self._outbox.append(rank.key, lines)
        for mark in rank.marks.values():
            self._outbox.mark(rank.key, mark)
        rank.points, rank.lines, rank.open_line, rank.marks = [], [], None, {}
        self._save(rank)

    def greet(self, rank: Rank) -> list[Effect]:
        """A connection stands: tell what was thinned while there was none, go on with uploads."""
        if rank.state != "ended":
            self._tell_dropped(rank)
        return self._upload(rank) + (self._collect(rank) if rank.state == "closing" else [])

    def _tell_dropped(self, rank: Rank) -> None:
        """A line in the task's log where points are missing from its curves."""
        dropped = self._outbox.take_dropped(rank.key)
        if dropped:
            words = f"[aifarm] {dropped} metric points were thinned out while nobody took them."
            self._outbox.append(rank.key, TaskLog(**rank.key._asdict(), lines=[words]))

    def _upload(self, rank: Rank) -> list[Effect]:
        """Of the checkpoints that are not stored yet, those not ordered in this process."""
        waiting = [c for c in rank.uploads if (rank.key, c.path) not in self._uploading]
        self._uploading.update((rank.key, checkpoint.path) for checkpoint in waiting)
        return [events.Upload(rank.key, checkpoint) for checkpoint in waiting]

    def _collect(self, rank: Rank) -> list[Effect]:
        """What the task keeps, unless a collection goes on, which the next one then follows."""
        if not rank.keeps or rank.key in self._collecting:
            return []
        self._collecting.add(rank.key)
        return [events.Collect(rank.key, rank.state == "closing")]

    def _prepared(self, rank: Rank, report: events.Prepared) -> list[Effect]:
        rank.state = MOVES.get((rank.state, events.Prepared), rank.state)
        return self.start(rank, None)

    def _endpoint(self, rank: Rank, report: events.EndpointOpened) -> list[Effect]:
        opened = GangEndpoint(**rank.key._asdict(), address=report.address, port=report.port)
        self._outbox.append(rank.key, opened)
        rank.met = True
        return []

    def _remark(self, rank: Rank, report: events.Remark) -> list[Effect]:
        told = TaskNote(**rank.key._asdict(), kind=report.kind, message=report.message)
        self._outbox.append(rank.key, told)
        return []

    def _measured(self, rank: Rank, report: events.Measured) -> list[Effect]:
        costs = dataclasses.asdict(report)
        self._outbox.append(rank.key, TaskMeasured(**rank.key._asdict(), **costs))
        return []

    def _observed(
        self, rank: Rank, report: events.Started | events.Running | events.Paused
    ) -> list[Effect]:
        moved = MOVES.get((rank.state, type(report)))
        if moved is not None:
            rank.state, rank.held_since = moved, None
        elif isinstance(report, events.Started) or report.resumed is None:
            return []
        state = rank.state
        if state != "running" and state != "paused":
            return []
        if isinstance(report, events.Started):
            told = TaskState(**rank.key._asdict(), state=state, provenance=report.provenance)
        else:
            told = TaskState(
                **rank.key._asdict(),
                state=state,
                step=report.step,
                how=report.how if isinstance(report, events.Paused) else None,
                resumed=report.resumed,
            )
        self._outbox.append(rank.key, told)
        return []

    def _cannot_pause(self, rank: Rank, report: events.CannotPause) -> list[Effect]:
        return self.leave(rank, "vacated") if rank.desired == "paused" else []

    def _written(self, rank: Rank, report: events.CheckpointWritten) -> list[Effect]:
        if rank.state in OVER or rank.reason == "withdrawn":
            return []
        rank.uploads.append(report.checkpoint)
        rank.checkpoint = report.checkpoint.path
        return self._upload(rank) + self._collect(rank)

    def _stored(self, rank: Rank, report: events.CheckpointStored) -> list[Effect]:
        stored = report.checkpoint
        if stored not in rank.uploads:
            return []
        self._outbox.append(
            rank.key,
            TaskCheckpoint(
                **rank.key._asdict(),
                upload_id=report.upload_id,
                step=stored.step,
                size=stored.size,
                sha256=stored.sha256,
                epoch=stored.epoch,
                progress=stored.progress,
                metrics=stored.metrics,
                final=stored.final,
                best=stored.best,
            ),
        )
        return self._done(rank, stored)

    def _dropped(self, rank: Rank, report: events.CheckpointDropped) -> list[Effect]:
        step = report.checkpoint.step
        logger.info("%s: checkpoint of step %d not uploaded: %s", rank.key, step, report.reason)
        return self._done(rank, report.checkpoint)

    def _done(self, rank: Rank, checkpoint: events.Checkpoint) -> list[Effect]:
        """One upload less."""
        self._uploading.discard((rank.key, checkpoint.path))
        rank.uploads = [other for other in rank.uploads if other != checkpoint]
        if rank.state == "closing":
            self._conclude(rank)
        return []

    def _due(self, rank: Rank, report: events.OutputsDue) -> list[Effect]:
        return self._collect(rank) if rank.state in LIVE else []

    def _weights(self, rank: Rank, report: events.WeightsWritten) -> list[Effect]:
        """They are collected at the end, which is near."""
        if rank.state not in OVER and rank.reason != "withdrawn":
            rank.keeps = True
        return []

    def _collected(self, rank: Rank, report: events.OutputsCollected) -> list[Effect]:
        self._collecting.discard(rank.key)
        if rank.reason == "withdrawn":
            return []
        for lines in log_messages(rank.key, [f"[aifarm] {words}" for words in report.said]):
            self._outbox.append(rank.key, lines)
        for message in output_messages(rank.key, report):
            self._outbox.append(rank.key, message)
        if rank.state != "closing":
            return []
        if report.final:
            rank.keeps = False
            self._conclude(rank)
        return self._collect(rank)

    def _ended(self, rank: Rank, report: End) -> list[Effect]:
        if rank.state in OVER:
            return []
        rank.keeps = rank.keeps and rank.state in LIVE
        self._close(rank, report)
        return self._collect(rank) if rank.state == "closing" else []

    def _close(self, rank: Rank, end: End) -> None:
        """The worker is gone. The result follows once its checkpoints and outputs are stored."""
        self.ranks[rank.key] = rank
        rank.ending = ending(rank, end)
        rank.state = "closing"
        self._conclude(rank)

    def _conclude(self, rank: Rank) -> None:
        """Puts the result into the outbox, unless something is stored first that it implies."""
        if rank.ending is None or rank.uploads or rank.keeps:
            return
        self._tell_dropped(rank)
        self._outbox.append(rank.key, result(rank, rank.ending))
        rank.state = "ended"
        self._save(rank)
        logger.info("%s: %s", rank.key, rank.ending.status)

    def _save(self, rank: Rank, begins: bool = False) -> None:
        """Keeps what a restart must find: nothing until the rank speaks or its worker `begins`."""
        memo = rank.memo()
        if memo != rank.saved and (begins or self._outbox.knows(rank.key)):
            self._outbox.save(rank.key, memo)
            rank.saved = memo

    _REPORTS: ClassVar[dict[type[Report], Callable[..., list[Effect]]]] = {
        events.Prepared: _prepared,
        events.EndpointOpened: _endpoint,
        events.Started: _observed,
        events.Running: _observed,
        events.Paused: _observed,
        events.CannotPause: _cannot_pause,
        events.CheckpointWritten: _written,
        events.CheckpointStored: _stored,
        events.CheckpointDropped: _dropped,
        events.OutputsDue: _due,
        events.WeightsWritten: _weights,
        events.OutputsCollected: _collected,
        events.Remark: _remark,
        events.Measured: _measured,
        events.Finished: _ended,
        events.Stopped: _ended,
        events.Failed: _ended,
        events.Died: _ended,
    }
