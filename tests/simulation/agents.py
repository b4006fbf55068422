"""Real agent sessions over simulated workers.

A worker writes its reports down in order; the agent reads them and keeps in its outbox how far it
has read, as with the journal of a real run folder. So an agent may crash and come back while its
workers go on.
"""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aifarm.app import uploads
from aifarm.app.errors import FarmError
from aifarm.app.records import Part
from aifarm.wire.agent import Cpu, Memory, Resources
from aifarm.wire.requests import CreateUpload
from aifarm_agent import events
from aifarm_agent.events import Identity, Mark, RankKey
from aifarm_agent.outbox import Outbox
from aifarm_agent.session import Session
from simulation.clockwork import Clockwork
from simulation.network import Channel
from simulation.server import SimServer

CHECKPOINT_EVERY = 5
HOLD_LIMIT = 20.0


@dataclass
class Worker:
    """Trains a step a second; its `journal` survives the agent."""

    key: RankKey
    steps: int
    step: int
    fails_at: int | None
    desired: str = "running"
    observed: str = ""
    alive: bool = True
    died: bool = False
    stopped: bool = False
    journal: list[Any] = field(default_factory=list)

    def write(self, report: Any) -> None:
        self.journal.append(report)

    def turn(self) -> None:
        """One second of its life."""
        if not self.alive:
            return
        if self.desired == "stopped":
            self.checkpoint(final=False)
            self.end(events.Stopped(self.step))
            return
        wanted = "paused" if self.desired == "paused" else "running"
        if wanted != self.observed:
            self.observed = wanted
            kind = events.Paused if wanted == "paused" else events.Running
            self.write(kind(self.step))
        if wanted == "paused":
            return
        self.step = min(self.step + 1, self.steps)
        if self.step == self.fails_at:
            self.end(events.Failed("user_error", "the loss is not a number"))
            return
        progress = 100.0 * self.step / self.steps
        self.write(events.Points(progress, [(self.step, float(self.step), {"loss": 1.0})]))
        if self.step >= self.steps:
            self.checkpoint(final=True)
            self.end(events.Finished({"final_loss": 0.5}))
        elif self.step % CHECKPOINT_EVERY == 0:
            self.checkpoint(final=False)

    def checkpoint(self, final: bool) -> None:
        if self.key.rank == 0:
            name = f"{self.key.attempt:02d}{self.step:06d}"
            written = events.Checkpoint(
                path=name, step=self.step, size=1, sha256=name.rjust(64, "0"), final=final
            )
            self.write(events.CheckpointWritten(written))

    def end(self, report: Any) -> None:
        self.write(report)
        self.alive = False
        self.stopped = isinstance(report, events.Stopped)
        self.died = not isinstance(report, events.Finished | events.Stopped)

    def vanish(self) -> None:
        self.alive, self.died = False, True


class SimAgent:
    """One workstation: `session` is None while its agent is down."""

    def __init__(
        self,
        name: str,
        cores: int,
        clock: Clockwork,
        chance: random.Random,
        server: SimServer,
        folder: Path,
        launched: dict[RankKey, Worker],
    ) -> None:
        self.name = name
        self.cores = cores
        self.workers: dict[RankKey, Worker] = {}
        self.calm = False
        self._clock = clock
        self._chance = chance
        self._server = server
        self._database = folder / f"{name}.db"
        self._boots = 0
        self._launched = launched
        self._channel: Channel | None = None
        self._steps: dict[RankKey, Any] = {}
        self.session: Session | None = None
        clock.every(1.0, self._turn)
        self._next_tick = float("inf")
        self.start()

    # ------------------------------------------------------------ its life

    def start(self) -> None:
        self._outbox = Outbox(self._database)
        identity = Identity(self.name, f"machine-{self.name}", f"boot-{self._boots}", "", "1", {})
        self.session = Session(identity, self._outbox, self._resources, hold_limit=HOLD_LIMIT)
        effects = self.session.restored(events.Restored(key, True) for key in self.workers)
        self._carry_out(effects)
        self._connect()

    def crash(self, whole_machine: bool = False) -> None:
        """The agent's process is killed; with the whole machine its workers are, too."""
        if self.session is None:
            return
        self.session = None
        self._outbox.close()
        if whole_machine:
            self._boots += 1
            for worker in self.workers.values():
                worker.vanish()
            self.workers.clear()
        if self._channel is not None:
            self._channel.cut()
            self._channel = None
        self._clock.after(self._chance.uniform(1, 150), self.start)

    def kill_a_worker(self) -> None:
        """As SIGKILL of one worker: it says no last word."""
        alive = [worker for worker in self.workers.values() if worker.alive]
        if alive:
            self._chance.choice(alive).end(events.Died(signal=9))

    def fall_silent(self) -> None:
        if self._channel is not None:
            self._channel.fall_silent()

    # ------------------------------------------------------------ its connection

    def _connect(self) -> None:
        if self.session is None or (self._channel is not None and self._channel.open):
            return
        channel = Channel(self._clock, self._chance, unruly=not self.calm)
        if not self._server.accept(self.name, channel):
            self._clock.after(self._chance.uniform(0.2, 10), self._connect)
            return
        born = self.session

        def arrived(message: Any) -> None:
            if self.session is born and self._channel is channel:
                self._carry_out(born.received(message, self._clock.now))

        def lost() -> None:
            if self.session is born and self._channel is channel:
                self._channel = None
                self._carry_out(born.disconnected(self._clock.now))
                self._clock.after(self._chance.uniform(0.2, 10), self._connect)

        channel.to_agent, channel.agent_lost = arrived, lost
        self._channel = channel
        self._carry_out(born.connected(self._clock.now))

    def _resources(self) -> Resources:
        return Resources(cpu=Cpu(self.cores), ram=Memory(16_384))

    # ------------------------------------------------------------ its work

    def _tick(self) -> None:
        self._next_tick = float("inf")
        if self.session is not None:
            self._carry_out(self.session.tick(self._clock.now))

    def _plan_tick(self) -> None:
        due = self.session.due() if self.session is not None else float("inf")
        if due < self._next_tick:
            self._next_tick = due
            self._clock.after(max(due - self._clock.now, 0.001), self._tick)

    def _turn(self) -> None:
        self._gangs_notice()
        for worker in list(self.workers.values()):
            worker.turn()
        self._read_journals()

    def _gangs_notice(self) -> None:
        """A rank of a gang whose peers died ends, as a collective that fails makes it; one of
        whose peers stopped agrees to stop."""
        for worker in self.workers.values():
            peers = [peer for key, peer in self._launched.items() if key[:2] == worker.key[:2]]
            if worker.alive and any(peer.died for peer in peers):
                worker.end(events.Failed("peers_lost", "lost contact with its peers"))
            elif any(peer.stopped for peer in peers):
                worker.desired = "stopped"

    def _read_journals(self) -> None:
        for key, worker in list(self.workers.items()):
            if self.session is None:
                return
            mark = self._outbox.marks(key).get("journal")
            for position in range(mark.offset if mark else 0, len(worker.journal)):
                if self.session is None:
                    return
                effects = self.session.reported(
                    key, worker.journal[position], self._clock.now, Mark("journal", 1, position + 1)
                )
                self._carry_out(effects)

    def _report(self, key: RankKey, report: Any) -> None:
        if self.session is not None:
            self._carry_out(self.session.reported(key, report, self._clock.now))

    def _carry_out(self, effects: list[Any]) -> None:
        for effect in effects:
            match effect:
                case events.Send(message):
                    if self._channel is not None:
                        self._channel.say(message)
                case events.Disconnect():
                    if self._channel is not None:
                        self._channel.cut()
                case events.Prepare(key, task):
                    self._steps[key] = task
                    self._later(key, events.Prepared())
                case events.OpenEndpoint(key):
                    self._later(key, events.EndpointOpened("10.0.0.1", 29_500))
                case events.Launch(key, _, desired):
                    self._launch(key, desired)
                case events.Steer(key, desired):
                    if key in self.workers:
                        self.workers[key].desired = desired
                case events.Kill(key):
                    worker = self.workers.get(key)
                    if worker is None:
                        self._later(key, events.Died())
                    elif worker.alive:
                        worker.end(events.Died(signal=9))
                case events.Upload(key, checkpoint):
                    delay = self._chance.uniform(0.05, 3.0)
                    self._clock.after(delay, lambda k=key, c=checkpoint: self._upload(k, c))
                case events.Forget(key):
                    self.workers.pop(key, None)
        self._plan_tick()

    def _later(self, key: RankKey, report: Any) -> None:
        born = self.session
        self._clock.after(
            self._chance.uniform(0.01, 1.0),
            lambda: self._report(key, report) if self.session is born else None,
        )

    def _launch(self, key: RankKey, desired: str) -> None:
        task = self._steps.pop(key)
        config, resume = task.config, task.farm.resume
        worker = Worker(
            key=key,
            steps=config["epochs"],
            step=resume.step if resume else 0,
            fails_at=config.get("fails_at") if key.attempt <= config.get("fails", 0) else None,
            desired=desired,
        )
        worker.write(events.Started({"python": "3.11"}))
        self.workers[key] = self._launched[key] = worker

    def _upload(self, key: RankKey, checkpoint: events.Checkpoint) -> None:
        """Stands for the transfers: begin, one part, and again later where it fails."""
        if self.session is None or key not in self.session.ranks:
            return
        body = CreateUpload(
            task_id=key.task_id,
            attempt=key.attempt,
            rank=key.rank,
            size=checkpoint.size,
            sha256=checkpoint.sha256,
        )
        begun = self._server.ask(uploads.begin(body, self.name))
        if isinstance(begun, FarmError) and begun.code in ("FORBIDDEN", "NOT_FOUND"):
            self._report(key, events.CheckpointDropped(checkpoint, begun.message))
            return
        stored = begun
        if begun is not None and not isinstance(begun, FarmError):
            part = Part(0, checkpoint.size, checkpoint.sha256)
            stored = self._server.ask(lambda draft: _stored(draft, begun[0].id, part))
        if stored is None or isinstance(stored, FarmError):
            self._clock.after(5.0, lambda: self._upload(key, checkpoint))
            return
        self._report(key, events.CheckpointStored(begun[0].id, checkpoint))


def _stored(draft: Any, upload_id: str, part: Part) -> bool:
    uploads.add_part(upload_id, part)(draft)
    return True
