"""The session and its outbox under everything that can go wrong between them and the server.

A model of the server applies the rules of `seq`; workers write journals that outlive the agent;
messages are lost, doubled and cut off; the agent dies at any statement of the outbox.
"""

import contextlib
import random
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aifarm.wire import agent as wire
from aifarm.wire.codec import decode_client, decode_server, encode
from aifarm.wire.types import Requirements
from aifarm_agent import events
from aifarm_agent.events import Checkpoint, Identity, Mark, RankKey, Restored
from aifarm_agent.outbox import Outbox
from aifarm_agent.session import Session

IDENTITY = Identity("ws1", "machine", "boot", "host", "1", {})
SHA = "0" * 64


class Crash(BaseException):
    """The agent's process is killed at this instant."""


class Mortal:
    """A database connection whose process dies after so many statements."""

    def __init__(self, db, statements):
        self._db = db
        self._left = statements

    def execute(self, *args):
        self._left -= 1
        if self._left < 0:
            raise Crash
        return self._db.execute(*args)

    def __getattr__(self, name):
        return getattr(self._db, name)


@dataclass
class Worker:
    """A worker and its run folder. The journal holds reports, the log lines; both are durable."""

    journal: list = field(default_factory=list)
    log: list = field(default_factory=list)
    dropped: list = field(default_factory=list)
    alive: bool = True
    desired: str = "running"
    step: int = 0

    def start(self):
        if not self.journal:
            self.journal.append(events.Started())

    def obey(self):
        if self.alive and self.desired == "stopped":
            self.start()
            self.checkpoint()
            self.end(events.Stopped(self.step))

    def checkpoint(self):
        self.step += 1
        written = Checkpoint(f"/run/{self.step}.pt", self.step, 9, SHA)
        self.journal.append(events.CheckpointWritten(written))

    def end(self, line):
        self.journal.append(line)
        self.alive = False

    def steps(self):
        batches = (line.points for line in self.journal if isinstance(line, events.Points))
        return [step for points in batches for step, _, _ in points]

    def checkpoints(self):
        written = (line for line in self.journal if isinstance(line, events.CheckpointWritten))
        steps = [line.checkpoint.step for line in written]
        return [step for step in steps if step not in self.dropped]


@dataclass
class Known:
    """What the server has recorded of a rank."""

    seq: int = 0
    current: bool = True
    desired: str = "running"
    ran: bool = False
    points: list = field(default_factory=list)
    lines: list = field(default_factory=list)
    states: list = field(default_factory=list)
    checkpoints: list = field(default_factory=list)
    results: list = field(default_factory=list)


class Server:
    """Applies each message once, in order; acknowledges everything."""

    def __init__(self):
        self.ranks: dict[RankKey, Known] = {}

    def assignment(self, key):
        known = self.ranks[key]
        return wire.TaskAssignment(
            data=wire.AssignedTask(
                id=key.task_id,
                type="training",
                config={},
                requirements=Requirements(),
                farm=wire.FarmAssignment(
                    attempt=key.attempt,
                    rank=key.rank,
                    world_size=1,
                    package=wire.PackageRef("m", "1", SHA, 1),
                    desired=known.desired,
                ),
            )
        )

    def receive(self, message):
        if isinstance(message, wire.Heartbeat):
            return []
        if isinstance(message, wire.Hello):
            return self.welcome(message)
        key = RankKey(message.task_id, message.attempt, message.rank)
        known = self.ranks[key]
        seq_to = getattr(message, "seq_to", None) or message.seq
        if seq_to > known.seq and message.seq <= known.seq + 1:
            assert not known.results, "nothing follows a result"
            known.seq = seq_to
            self.apply(known, message)
        return [wire.Ack(task_id=key[0], attempt=key[1], rank=key[2], seq=known.seq)]

    def apply(self, known, message):
        match message:
            case wire.TaskProgress(points=points):
                known.points += [step for step, _, _ in points]
            case wire.TaskLog(lines=lines):
                known.lines += lines
            case wire.TaskState(state=state):
                known.ran = True
                known.states.append(state)
            case wire.TaskCheckpoint(step=step):
                known.checkpoints.append(step)
            case wire.TaskResult(status=status, cause=cause):
                known.results.append((status, cause))

    def welcome(self, hello):
        verdicts, again = [], []
        named = set()
        for held in hello.tasks:
            key = RankKey(held.task_id, held.attempt, held.rank)
            named.add(key)
            known = self.ranks[key]
            assert held.last_seq >= known.seq, "the agent forgot what it had said"
            verdict = "continue" if known.current else "stop"
            verdicts.append(
                wire.Verdict(*key, verdict=verdict, ack_seq=known.seq, desired=known.desired)
            )
            if known.current and held.state == "starting":
                again.append(self.assignment(key))
        answers = [wire.Welcome(lease=60, heartbeat=10, tasks=tuple(verdicts)), *again]
        for key, known in self.ranks.items():
            if key not in named and not known.results:
                assert not known.ran, "a rank that ran is never forgotten before its result"
                if known.current:
                    answers.append(self.assignment(key))
                else:
                    answers.append(wire.Withdraw(task_id=key[0], attempt=key[1], rank=key[2]))
        return answers


class World:
    """One agent, one server and what lies between. Each action takes a number to choose by."""

    def __init__(self, folder):
        self.folder = folder
        self.now = 0.0
        self.server = Server()
        self.workers: dict[RankKey, Worker] = {}
        self.written: dict[RankKey, Worker] = {}
        self.online = False
        self.up: list[bytes] = []
        self.down: list[bytes] = []
        self.boot()

    # ---------------------------------------------------------------- the agent's process

    def boot(self):
        """A new process on the same disk."""
        self.outbox = Outbox(self.folder / "outbox.sqlite3")
        self.outbox._db.execute("PRAGMA synchronous = OFF")  # what is committed survives here
        self.session = Session(IDENTITY, self.outbox, wire.Resources)
        self.preparing: list[RankKey] = []
        self.uploading: list[tuple[RankKey, Checkpoint]] = []
        effects = self.session.restored([Restored(key, True) for key in self.workers])
        self.read = {key: self.mark(key, "journal") for key in self.workers}
        self.read_log = {key: self.mark(key, "log") for key in self.workers}
        self.carry_out(effects)

    def mark(self, key, source):
        marks = self.outbox.marks(key)
        return marks[source].offset if source in marks else 0

    def reboot(self, _=0):
        self.disconnect()
        self.outbox._db.close()  # rolls back
        self.boot()

    def reboot_amid_work(self, number):
        """It is killed at a statement of the outbox, inside whatever happens next."""
        self.outbox._db = Mortal(self.outbox._db, number)
        with contextlib.suppress(Crash):
            self.now += 0.1
            self.tick()
            self.agent_receives(10)
            self.prepare()
            for key in list(self.workers):
                self.read_files(key)
            self.upload(0)
        self.reboot()

    def disconnect(self, _=0):
        if self.online:
            self.online = False
            self.carry_out(self.session.disconnected(self.now))
        self.up, self.down = [], []

    def carry_out(self, effects):
        for effect in effects:
            match effect:
                case events.Send(message):
                    self.up.append(encode(message))
                case events.Prepare(key):
                    self.preparing.append(key)
                case events.Launch(key, _, desired):
                    self.workers[key] = self.written[key] = Worker(desired=desired)
                    self.read[key] = self.read_log[key] = 0
                case events.Steer(key, desired):
                    self.workers[key].desired = desired
                case events.Kill(key):
                    self.kill(key)
                case events.Upload(key, checkpoint):
                    self.uploading.append((key, checkpoint))
                case events.Forget(key):
                    self.workers.pop(key, None)
                case events.Disconnect():
                    self.disconnect()

    def kill(self, key):
        self.preparing = [other for other in self.preparing if other != key]
        self.uploading = [item for item in self.uploading if item[0] != key]
        if key in self.workers:
            self.workers[key].alive = False
        else:
            self.report(key, events.Died(), None)

    def report(self, key, report, mark=None):
        self.carry_out(self.session.reported(key, report, self.now, mark))

    def read_files(self, key):
        """What the supervisor does when the doorbell rings."""
        worker = self.workers[key]
        worker.obey()
        new = worker.log[self.read_log[key] :]
        if new and (self.session.wants_log(key) or not worker.alive):  # its last lines, too
            self.read_log[key] += len(new)
            self.report(key, events.LogLines(new), Mark("log", 1, self.read_log[key]))
        for line in worker.journal[self.read[key] :]:
            self.read[key] += 1
            self.report(key, line, Mark("journal", 1, self.read[key]))
        last = worker.journal[-1] if worker.journal else None
        if not worker.alive and not isinstance(last, events.Finished | events.Stopped):
            self.report(key, events.Died(signal=9))

    def tick(self):
        self.carry_out(self.session.tick(self.now))

    # ---------------------------------------------------------------- what happens

    def connect(self, number=0):
        if not self.online:
            self.online = True
            self.carry_out(self.session.connected(self.now))
            if number % 4:
                self.flow(9)

    def assign(self, number):
        if sum(not known.results for known in self.server.ranks.values()) > 2:
            return
        key = RankKey(f"t{len(self.server.ranks)}", 1, 0)
        self.server.ranks[key] = Known(desired="running" if number % 4 else "paused")
        if self.online:
            self.down.append(encode(self.server.assignment(key)))

    def flow(self, number):
        self.server_receives(1 + number)
        self.agent_receives(1 + 2 * (number % 5))

    def server_receives(self, count):
        frames, self.up = self.up[:count], self.up[count:]
        for frame in frames:
            self.down += [encode(answer) for answer in self.server.receive(decode_client(frame))]

    def agent_receives(self, count):
        for _ in range(min(count, len(self.down))):
            if self.down:
                frame = self.down.pop(0)
                self.carry_out(self.session.received(decode_server(frame), self.now))

    def lose_connection(self, number):
        self.server_receives(number)
        self.disconnect()

    def lose(self, number):
        """One of a rank's messages, or an acknowledgement."""
        for frames, kinds in ((self.up, b"task_"), (self.down, b'"ack"')):
            for frame in frames[number % 3 :]:
                if kinds in frame:
                    frames.remove(frame)
                    return

    def double(self, number):
        for frames in (self.up, self.down):
            doubles = [f for f in frames if b'"hello"' not in f and b'"welcome"' not in f]
            if doubles:
                frame = doubles[number % len(doubles)]
                frames.insert(min(len(frames), frames.index(frame) + number % 4), frame)

    def time_passes(self, number):
        self.now += (0.05, 0.1, 0.1, 1, 11)[number % 5]
        self.tick()

    def prepare(self, _=0):
        while self.preparing:
            self.report(self.preparing.pop(0), events.Prepared())

    def fetch(self, number):
        """What is prepared has a word to say of it."""
        if self.preparing:
            key = self.preparing[number % len(self.preparing)]
            self.report(key, events.Remark("checkpoint_damaged", "fetched anew"))

    def some_worker(self, number):
        alive = sorted(key for key, worker in self.workers.items() if worker.alive)
        return self.workers[alive[number % len(alive)]] if alive else Worker(alive=False)

    def points(self, number):
        worker = self.some_worker(number)
        if worker.alive and worker.desired == "running":
            worker.start()
            steps = range(worker.step, worker.step + 1 + number % 3)
            worker.step += len(steps)
            worker.journal.append(
                events.Points(50.0, [(step, 0.5, {"loss": 1.0}) for step in steps])
            )

    def log(self, number):
        worker = self.some_worker(number)
        worker.log.append(f"line {len(worker.log)}")

    def checkpoint(self, number):
        worker = self.some_worker(number)
        if worker.alive:
            worker.start()
            worker.checkpoint()

    def end(self, number):
        worker = self.some_worker(number)
        if worker.alive:
            worker.start()
            worker.end(events.Finished({"final_loss": 0.1}))

    def die(self, number):
        self.some_worker(number).alive = False

    def read_some(self, number):
        if self.workers:
            self.read_files(sorted(self.workers)[number % len(self.workers)])

    def upload(self, number):
        if self.uploading:
            key, checkpoint = self.uploading.pop(0)
            if number % 4 == 3:
                self.written[key].dropped.append(checkpoint.step)
                self.report(key, events.CheckpointDropped(checkpoint, "a newer one"))
            else:
                self.report(key, events.CheckpointStored("u1", checkpoint))

    def order(self, number):
        """The server wants something of a task, or takes an attempt away."""
        open_ = [
            key
            for key, known in self.server.ranks.items()
            if known.current and not known.results and known.desired != "stopped"
        ]
        if not open_:
            return
        key, known = open_[number % len(open_)], self.server.ranks[open_[number % len(open_)]]
        action = ("pause", "resume", "resume", "stop", "withdraw")[number % 5]
        if action == "withdraw":
            known.current = False
            message = wire.Withdraw(task_id=key[0], attempt=key[1], rank=key[2])
        else:
            known.desired = {"pause": "paused", "resume": "running", "stop": "stopped"}[action]
            message = wire.Control(action=action, task_id=key.task_id)
        if self.online:
            self.down.append(encode(message))

    # ---------------------------------------------------------------- what must hold

    def check_record(self):
        for known in self.server.ranks.values():
            assert known.points == sorted(set(known.points))
            assert known.lines == [f"line {n}" for n in range(len(known.lines))]
            assert known.checkpoints == sorted(set(known.checkpoints))
            assert len(known.results) <= 1

    def calm_down(self):
        """Nothing fails any more, and every worker comes to its end."""
        for known in self.server.ranks.values():
            if known.desired == "paused":
                known.desired = "running"
        self.disconnect()
        for _ in range(30):
            self.connect()
            for _ in range(10):
                self.server_receives(100)
                self.agent_receives(100)
                self.prepare()
                for key, worker in list(self.workers.items()):
                    worker.obey()
                    if worker.alive and worker.desired != "paused":
                        worker.start()
                        worker.end(events.Finished())
                    self.read_files(key)
                while self.uploading:
                    self.upload(0)
            self.now += 11
            self.tick()
            if not self.session.ranks and all(k.results for k in self.server.ranks.values()):
                return

    def check_end(self):
        """Each rank has one result, and all that its worker said is at the server."""
        for key, known in self.server.ranks.items():
            assert len(known.results) == 1, f"{key} has no result"
            worker = self.written.get(key)
            if worker is not None and known.current:
                assert known.points == worker.steps()
                assert known.lines == worker.log
                assert known.checkpoints == worker.checkpoints()
                if worker.journal and isinstance(worker.journal[-1], events.Finished):
                    assert known.results == [("completed", "completed")]
        assert not self.session.ranks
        assert not self.workers
        assert self.outbox._db.execute("SELECT count(*) FROM message").fetchone() == (0,)


OFTEN = ["flow", "flow", "flow", "points", "points", "read_some", "read_some", "time_passes"]
LIKELY = ["connect", "connect", "assign", "prepare", "fetch", "log", "checkpoint", "upload"]
SELDOM = ["end", "die", "lose_connection", "lose", "double", "order", "reboot", "reboot_amid_work"]
ACTIONS = st.tuples(st.sampled_from(3 * OFTEN + 2 * LIKELY + SELDOM), st.integers(0, 20))


def live_through(actions):
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        try:
            for name, number in actions:
                getattr(world, name)(number)
                world.check_record()
            world.calm_down()
            world.check_record()
            world.check_end()
        finally:
            world.outbox._db.close()


BEGINNING = [("connect", 1), ("assign", 1), ("flow", 9), ("prepare", 0)]


@settings(max_examples=60, deadline=None)
@given(st.lists(ACTIONS, min_size=60, max_size=200))
def test_each_message_takes_effect_once_and_each_rank_has_one_result(actions):
    live_through(BEGINNING + actions)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_the_same_over_long_lives(seed):
    chance = random.Random(seed)
    names = 3 * OFTEN + 2 * LIKELY + SELDOM
    live_through((chance.choice(names), chance.randint(0, 20)) for _ in range(1000))
