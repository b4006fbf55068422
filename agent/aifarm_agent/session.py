"""What an agent decides: messages and reports in, effects out.

No clock, and no I/O but the outbox that it is given, so a simulation can drive it. Each public
method is one transaction of the outbox; its effects may be carried out once that is committed,
in their order. `now` is a monotonic time in seconds.
"""

import logging
from collections.abc import Callable, Iterable
from typing import ClassVar, Literal

from msgspec import UNSET

from aifarm.wire import agent as wire
from aifarm.wire.types import DesiredState
from aifarm_agent.events import (
    Disconnect,
    Effect,
    Identity,
    LogLines,
    Look,
    Mark,
    OpenEndpoint,
    Points,
    Prepare,
    RankKey,
    Report,
    Restored,
    Send,
)
from aifarm_agent.flow import Flow
from aifarm_agent.outbox import Outbox
from aifarm_agent.rank import HELD, HOLD_LIMIT, OVER, UNBEGUN, Rank
from aifarm_agent.roster import Roster

logger = logging.getLogger(__name__)

COALESCE = 0.1
"""Seconds between a rank's messages of points and log lines: what comes meanwhile is one."""
GREETING = 10.0
"""Seconds to wait for the answer to `hello`."""
WITHOUT_RESERVE = 30.0
"""Seconds that tasks go on without a server where the disk has no room for what they say."""
LOGS_WAITING = 64
"""Unacknowledged log messages of a rank beyond which its log is left where it is, on disk."""

DESIRED: dict[str, DesiredState] = {"pause": "paused", "resume": "running", "stop": "stopped"}
NEVER = float("inf")


class Session:
    """One agent's side of the protocol, over any number of connections."""

    def __init__(
        self,
        identity: Identity,
        outbox: Outbox,
        resources: Callable[[], wire.Resources],
        hold_limit: float = HOLD_LIMIT,
        offline_limit: float = NEVER,
    ) -> None:
        self._identity = identity
        self._hold_limit = hold_limit
        self._outbox = outbox
        self._resources = resources
        self._roster = Roster(outbox)
        self._link: Literal["down", "greeting", "up"] = "down"
        self._flow = Flow()
        self._heartbeat = 0.0
        self._next_heartbeat = NEVER
        self._flush_at, self._flushed_at = NEVER, -NEVER
        self._giving_back = False
        self._offline_limit = offline_limit
        self._offline_since: float | None = None
        self._has_reserve = True

    @property
    def ranks(self) -> dict[RankKey, Rank]:
        """To look at, not to change."""
        return self._roster.ranks

    # ------------------------------------------------------------ the connection

    def connected(self, now: float) -> list[Effect]:
        self._link = "greeting"
        self._next_heartbeat = now + GREETING
        who = self._identity
        hello = wire.Hello(
            client_id=who.client_id,
            boot_id=who.boot_id,
            machine_id=who.machine_id,
            agent_version=who.agent_version,
            protocol=wire.PROTOCOL,
            resources=self._resources(),
            hostname=who.hostname,
            labels=who.labels,
            environments=who.environments,
            lends=not self._giving_back,
            tasks=tuple(
                wire.HeldRank(*key, state=HELD[rank.state], last_seq=self._outbox.last_seq(key))
                for key, rank in self.ranks.items()
            ),
        )
        return [Send(hello)]

    def disconnected(self, now: float) -> list[Effect]:
        self._link = "down"
        if self._offline_since is None:
            self._offline_since = now
        return []

    def reserve(self, stands: bool, now: float) -> list[Effect]:
        """Whether the disk has its reserve for the outbox: without it, and without a server, no
        task goes on for long."""
        self._has_reserve = stands
        return self.tick(now)

    def received(self, message: wire.FromServer, now: float) -> list[Effect]:
        with self._outbox.transaction():
            effects = self._HANDLERS[type(message)](self, message, now)
            return effects + self._pump(now)

    def tick(self, now: float) -> list[Effect]:
        """Heartbeats, what was gathered, and what was not acknowledged in time."""
        if self._link == "greeting" and now >= self._next_heartbeat:
            self._link = "down"
            return [Disconnect(f"no answer to hello within {GREETING:.0f} s")]
        effects: list[Effect] = []
        with self._outbox.transaction():
            if now >= self._flush_at:
                self._flush_at, self._flushed_at = NEVER, now
                for rank in self.ranks.values():
                    self._roster.flush(rank)
            if now >= self._give_up_at():
                effects += self._give_up()
            if self._link == "up" and now >= self._next_heartbeat:
                self._next_heartbeat = now + self._heartbeat
                effects.append(Send(self._pulse()))
            for rank in self.ranks.values():
                effects += self._vacate(rank, now)
            self._flow.resend_stalled(now)
            return effects + self._pump(now)

    def due(self) -> float:
        """When `tick` has something to do, or infinity."""
        held = (rank.held_until(self._hold_limit) for rank in self.ranks.values() if rank.held)
        here = min([self._flush_at, self._give_up_at(), *held])
        if self._link == "down":
            return here
        return min(here, self._next_heartbeat, self._flow.due())

    def _vacate(self, rank: Rank, now: float) -> list[Effect]:
        """Ends a worker that was held for its limit. While the server is away, too: what it will
        be told is the same."""
        if not rank.held:
            return []
        if rank.held_since is None:
            rank.held_since = now
        if now < rank.held_until(self._hold_limit):
            return []
        logger.info("%s: held for its limit", rank.key)
        return self._roster.leave(rank, "vacated")

    def _give_up_at(self) -> float:
        """When the tasks have gone on without a server for long enough."""
        trains = any(rank.state not in OVER and not rank.reason for rank in self.ranks.values())
        if self._link == "up" or self._offline_since is None or not trains:
            return NEVER
        most = NEVER if self._has_reserve else WITHOUT_RESERVE
        return self._offline_since + min(self._offline_limit, most)

    def _give_up(self) -> list[Effect]:
        why = "for too long" if self._has_reserve else "and the disk is full"
        logger.warning("the server is away %s: every task writes a checkpoint and ends", why)
        return [
            effect
            for rank in self.ranks.values()
            for effect in self._roster.leave(rank, "server_away")
        ]

    def _pulse(self) -> wire.Heartbeat:
        seen = self._resources()
        loads = [gpu.utilization for gpu in seen.gpu if gpu.utilization is not None]
        return wire.Heartbeat(
            system_info=wire.SystemInfo(
                cpu_usage=seen.cpu.usage,
                ram_usage=round(100 * seen.ram.used / max(seen.ram.total, 1), 1),
                gpu_usage=sum(loads) / len(loads) if loads else None,
                resources=seen,
            )
        )

    def _pump(self, now: float) -> list[Effect]:
        """The next messages of the outbox, as many as the window takes, fairly over the ranks."""
        count, size = self._flow.room() if self._link == "up" else (0, 0)
        behind = [key for key in self.ranks if self._outbox.last_seq(key) > self._flow.after(key)]
        effects: list[Effect] = []
        for left, key in zip(range(len(behind), 0, -1), behind, strict=True):
            if count <= 0 or size <= 0:
                break
            for item in self._outbox.pending(
                key, self._flow.after(key), -(-count // left), size // left
            ):
                self._flow.sent(key, item.seq_to, item.size, now)
                effects.append(Send(item.message))
                count, size = count - 1, size - item.size
        return effects

    # ------------------------------------------------------------ this machine

    def restored(self, ranks: Iterable[Restored]) -> list[Effect]:
        """What the disk holds after a restart of the agent; before `connected`.

        One whose worker was not started yet begins again with the next greeting. Any other that is
        not named, or not alive, is lost. Of one that is alive by its run folder, the supervisor
        reports what its worker did since, even if that has ended; one that was to end, or to hold,
        is told so again.
        """
        found = {rank.key: rank for rank in ranks}
        for key, one in found.items():
            if one.alive and one.begun and key not in self.ranks:
                self._roster.add(key, state="launched")
        with self._outbox.transaction():
            for rank in self.ranks.values():
                unbegun = Restored(rank.key, not rank.met, False)
                gone = Restored(rank.key, False)
                one = found.get(rank.key, unbegun if rank.state in UNBEGUN else gone)
                if not one.alive:
                    self._roster.lose(rank)
                elif not one.begun:
                    self._roster.begin_again(rank)
        return [effect for rank in self.ranks.values() for effect in self._roster.resume(rank)]

    def reported(
        self, rank: RankKey, report: Report, now: float, mark: Mark | None = None
    ) -> list[Effect]:
        """`mark`: how far the file that this was read from is consumed with this report.

        Points and log lines that come within COALESCE seconds of the last ones sent are gathered,
        their marks with them; the first after a while goes at once.
        """
        known = self.ranks.get(rank)
        if self._link == "down" and self._offline_since is None:  # since this agent began
            self._offline_since = now
        if known is None or known.state == "ended":
            return []
        if isinstance(report, Points | LogLines):
            self._flush_at = min(self._flush_at, max(now, self._flushed_at + COALESCE))
        with self._outbox.transaction():
            effects = self._roster.report(known, report, mark)
            return effects + self._pump(now)

    def give_back(self, now: float) -> list[Effect]:
        """The owner stops this agent: every task goes back to the queue, after a checkpoint."""
        self._giving_back = True
        effects: list[Effect] = [] if self._link == "down" else [Send(wire.Lending(lends=False))]
        with self._outbox.transaction():
            for rank in self.ranks.values():
                effects += self._roster.leave(rank, "owner_returned")
        return effects

    def seen(self, paths: dict[str, bool]) -> list[Effect]:
        """Whether paths can be read; on another connection it is found out anew."""
        return [Send(wire.Readable(paths=paths))] if self._link == "up" else []

    def wants_log(self, key: RankKey) -> bool:
        """Whether more of this rank's log may be read: what the server has not taken waits."""
        rank = self.ranks.get(key)
        if rank is None or rank.state == "ended" or rank.lines:
            return False
        return self._outbox.waiting_logs(key) < LOGS_WAITING

    # ------------------------------------------------------------ messages of the server

    def _on_welcome(self, message: wire.Welcome, now: float) -> list[Effect]:
        if self._link != "greeting":
            return []
        self._link = "up"
        self._offline_since = None
        self._heartbeat = message.heartbeat
        self._next_heartbeat = now + message.heartbeat
        self._flow = Flow()
        effects: list[Effect] = []
        for verdict in message.tasks:
            rank = self.ranks.get(RankKey(verdict.task_id, verdict.attempt, verdict.rank))
            if rank is None:
                continue
            self._flow.open(rank.key, verdict.ack_seq, now)
            effects += self._roster.acknowledged(rank, verdict.ack_seq)
            if verdict.verdict == "stop":
                effects += self._roster.withdraw(rank)
            else:
                effects += self._roster.steer(rank, verdict.desired)
        for rank in self.ranks.values():
            effects += self._roster.greet(rank)
        return effects

    def _on_task(self, message: wire.TaskAssignment, now: float) -> list[Effect]:
        task, farm = message.data, message.data.farm
        if not farm:
            logger.warning("task %s came without what an agent needs", task.id)
            return []
        key = RankKey(task.id, farm.attempt, farm.rank)
        known = self.ranks.get(key)
        if known is not None:
            effects = self._roster.steer(known, farm.desired) + self._prepare(known, task, farm)
            return effects + self._roster.start(known, farm.endpoint)
        if self._roster.over(key):
            return []
        effects = [
            effect for older in self._roster.older(key) for effect in self._roster.withdraw(older)
        ]
        if self._giving_back or farm.desired == "stopped":
            self._roster.refuse(key, "owner_returned" if self._giving_back else "")
            return effects
        rank = self._roster.add(key, state="preparing", desired=farm.desired)
        return effects + self._prepare(rank, task, farm)

    def _prepare(
        self, rank: Rank, task: wire.AssignedTask, farm: wire.FarmAssignment
    ) -> list[Effect]:
        """Orders what the rank needs, once in this agent's life."""
        if rank.ordered or rank.state != "preparing" or rank.desired == "stopped" or rank.reason:
            return []
        rank.ordered = True
        rank.keeps = farm.rank == 0 and bool(farm.program.outputs)
        rank.gang = farm.world_size > 1
        rank.endpoint = farm.endpoint
        rank.hold_seconds = _seconds(task.config.get("hold_seconds"))
        effects: list[Effect] = [Prepare(rank.key, task)]
        if rank.gang and farm.rank == 0 and farm.endpoint is None and not rank.met:
            effects.append(OpenEndpoint(rank.key, task))
        return effects

    def _on_control(self, message: wire.Control, now: float) -> list[Effect]:
        return [
            effect
            for key, rank in self.ranks.items()
            if key.task_id == message.task_id and message.attempt in (key.attempt, UNSET)
            for effect in self._roster.steer(rank, DESIRED[message.action])
        ]

    def _on_gang_start(self, message: wire.GangStart, now: float) -> list[Effect]:
        rank = self.ranks.get(RankKey(message.task_id, message.attempt, message.rank))
        return self._roster.start(rank, message.endpoint) if rank else []

    def _on_withdraw(self, message: wire.Withdraw, now: float) -> list[Effect]:
        key = RankKey(message.task_id, message.attempt, message.rank)
        rank = self.ranks.get(key)
        if rank is not None:
            return self._roster.withdraw(rank)
        if not self._roster.over(key):  # its assignment never came: say that nothing runs here
            self._roster.refuse(key, "withdrawn")
        return []

    def _on_ack(self, message: wire.Ack, now: float) -> list[Effect]:
        rank = self.ranks.get(RankKey(message.task_id, message.attempt, message.rank))
        if rank is None or self._link != "up":
            return []
        self._flow.acked(rank.key, message.seq, now)
        effects = self._roster.acknowledged(rank, message.seq)
        if rank.key not in self.ranks:
            self._flow.close(rank.key)
        return effects

    def _on_look(self, message: wire.Look, now: float) -> list[Effect]:
        return [Look(message.paths)]

    def _on_result_ack(self, message: wire.TaskResultAck, now: float) -> list[Effect]:
        """For contract-only clients; an agent hears `ack`."""
        return []

    def _on_error(self, message: wire.ErrorMessage, now: float) -> list[Effect]:
        logger.warning("the server says %s: %s", message.error.code, message.error.message)
        return []

    _HANDLERS: ClassVar[dict[type, Callable[..., list[Effect]]]] = {
        wire.Welcome: _on_welcome,
        wire.TaskAssignment: _on_task,
        wire.Control: _on_control,
        wire.GangStart: _on_gang_start,
        wire.Withdraw: _on_withdraw,
        wire.Ack: _on_ack,
        wire.TaskResultAck: _on_result_ack,
        wire.ErrorMessage: _on_error,
        wire.Look: _on_look,
    }


def _seconds(value: object) -> float | None:
    """What a task's config says, if it is a duration: the config of a script is its own."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and value >= 0 else None
