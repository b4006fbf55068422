"""The real facade and real agent sessions on a virtual clock, through everything a lab does.

Each seed is one history: a storm of crashes, partitions, controls and disk errors, then calm. In
the calm every task must end, and the record must be one that makes sense. `make sim SEEDS=200`
runs many; a failing seed can be run alone: `SEED=17 make sim`.
"""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from aifarm.app import operations
from aifarm.core.task import FINAL, State
from aifarm.store import open_store
from aifarm.wire.requests import CreateTask, RequirementsBody, UpdateStatus
from aifarm_agent.events import RankKey
from databases import Cluster
from simulation.agents import HOLD_LIMIT, SimAgent, Worker
from simulation.clockwork import Clockwork
from simulation.server import USERS, SimServer

STORM, CALM = 400.0, 4_000.0
if "SEED" in os.environ:
    SEEDS = range(int(os.environ["SEED"]), int(os.environ["SEED"]) + 1)
else:
    SEEDS = range(int(os.environ.get("SEEDS", "200")))


POSTGRESQL_SEEDS = SEEDS[:20]
"""Histories on PostgreSQL: the farm is the same, a commit costs more."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a place: processes die here, power does not fail."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrated once; each history starts from a copy."""
    path = tmp_path_factory.mktemp("simulation") / "farm.db"
    open_store(f"sqlite:///{path}").close()
    return path


@pytest.fixture(scope="module")
def empty_postgresql() -> str:
    """As `empty_file`."""
    url = Cluster.shared().empty()
    open_store(url).close()
    return url


class World:
    """Three workstations, two submitters, one server, and what befalls them."""

    def __init__(self, seed: int, url: str, folder: Path) -> None:
        self.chance = random.Random(seed)
        self.clock = Clockwork()
        self.server = SimServer(self.clock, self.chance, url)
        launched: dict[RankKey, Worker] = {}
        self.agents = [
            SimAgent(
                f"ws{number}", 2 + number, self.clock, self.chance, self.server, folder, launched
            )
            for number in range(3)
        ]
        self.submitted: set[str] = set()
        self.over_committed: list[str] = []
        self.clock.every(1.0, self._watch)

    def storm(self) -> None:
        self.server.crash_chance = self.chance.choice([0.0, 0.002, 0.01])
        self.server.fail_chance = self.chance.choice([0.0, 0.01, 0.05])
        for _ in range(self.chance.randint(3, 8)):
            self.clock.after(self.chance.uniform(0, STORM / 2), self._submit)
        troubles: list[Any] = [
            self._control,
            self._control,
            lambda: self.chance.choice(self.agents).crash(),
            lambda: self.chance.choice(self.agents).crash(whole_machine=True),
            lambda: self.chance.choice(self.agents).fall_silent(),
            lambda: self.chance.choice(self.agents).kill_a_worker(),
            self.server.crash,
        ]
        for _ in range(self.chance.randint(0, 14)):
            self.clock.after(self.chance.uniform(0, STORM), self.chance.choice(troubles))
        self.clock.run(STORM)

    def calm(self) -> None:
        """Nothing breaks any more, and whoever paused a task lets it go on."""
        self.server.crash_chance = self.server.fail_chance = 0.0
        for agent in self.agents:
            agent.calm = True
        self.clock.run(STORM + 200.0)
        for record in self.server.tasks():
            if not record.task.final and record.task.desired == "paused":
                self._set(record.task.id, "running")
        while not self._quiet() and self.clock.now < STORM + CALM:
            self.clock.run(self.clock.now + 100.0)

    def _quiet(self) -> bool:
        sessions = [agent.session for agent in self.agents]
        return all(session is not None and not session.ranks for session in sessions) and all(
            record.task.final for record in self.server.tasks()
        )

    def _submit(self) -> None:
        gang = self.chance.random() < 0.3
        processes = self.chance.choice([1, 1, 2]) if gang else 1
        body = CreateTask(
            name="model",
            version="1",
            epochs=self.chance.randint(5, 60),
            distributed=gang,
            n_clients=self.chance.randint(1 if processes > 1 else 2, 3) if gang else 1,
            processes_per_client=processes,
            requirements=RequirementsBody(min_cpu_cores=self.chance.randint(1, 3 - processes)),
            max_retries=self.chance.randint(0, 2),
            config={
                "fails_at": self.chance.randint(1, 5),
                "fails": self.chance.choice([0, 0, 0, 1, 9]),
            },
        )
        user = USERS[self.chance.choice(list(USERS))]
        record = self.server.ask(operations.create_task(body, user, frozenset(), None))
        if hasattr(record, "task"):
            self.submitted.add(record.task.id)
            if self.chance.random() < 0.3:
                self._rest(record.task.id)

    def _rest(self, task_id: str) -> None:
        """Somebody pauses it while it runs, and lets it go on about when it is vacated."""
        paused = self.chance.uniform(1, 60)
        self.clock.after(paused, lambda: self._set(task_id, "paused"))
        resumed = paused + HOLD_LIMIT + self.chance.uniform(-15, 15)
        self.clock.after(resumed, lambda: self._set(task_id, "running"))

    def _control(self) -> None:
        if self.submitted:
            task_id = self.chance.choice(sorted(self.submitted))
            self._set(task_id, self.chance.choice(["paused", "running", "paused", "stopped"]))

    def _set(self, task_id: str, status: Any) -> None:
        for user in USERS.values():
            self.server.ask(operations.set_status(task_id, UpdateStatus(status=status), user))

    def _watch(self) -> None:
        """At no time does a client run more than it has."""
        for agent in self.agents:
            alive = sum(worker.alive for worker in agent.workers.values())
            if alive > agent.cores:
                self.over_committed.append(f"{agent.name} at {self.clock.now}: {alive} workers")


@pytest.mark.parametrize("seed", SEEDS)
def test_every_task_ends_and_the_record_makes_sense(
    seed: int, empty_file: Path, folder: Path
) -> None:
    database = folder / "farm.db"
    shutil.copy(empty_file, database)
    history(seed, f"sqlite:///{database}", folder)


@pytest.mark.parametrize("seed", POSTGRESQL_SEEDS)
def test_so_it_is_on_postgresql(seed: int, empty_postgresql: str, folder: Path) -> None:
    url = Cluster.shared().copy(empty_postgresql)
    history(seed, url, folder)
    Cluster.shared().drop(url)


def history(seed: int, url: str, folder: Path) -> None:
    """One world's storm and calm, and what must be true of it in the end."""
    world = World(seed, url, folder)
    world.storm()
    world.calm()
    facade = world.server.facade
    assert facade is not None
    store = facade.store
    records = {record.task.id: record for record in world.server.tasks()}
    assert world.submitted <= set(records), "an acknowledged task is gone"
    assert not world.over_committed
    for task_id, record in records.items():
        task = record.task
        story = "\n".join(f"{e.id} {e.message}" for e in store.events(task_id=task_id))
        assert task.state in FINAL, f"{task}\n{story}"
        ends = [e for e in store.events(task_id=task_id) if e.kind in set(FINAL)]
        assert [e.kind for e in ends] == [task.state.value], story
        attempts = store.attempts(task_id)
        assert [a.attempt for a in attempts] == list(range(1, task.attempt + 1)), story
        assert all(a.ended_at is not None for a in attempts), story
        if task.state is State.COMPLETED:
            steps = record.spec.config["epochs"]
            (loss,) = store.series(task_id, names=["loss"], points=None)
            assert loss.step == list(range(1, steps + 1)), story
            assert record.checkpoint is not None
            assert record.checkpoint.step == steps, story
    for agent in world.agents:
        assert agent.session is not None
        assert not agent.session.ranks, f"{agent.name} still knows {agent.session.ranks}"
        assert not agent.workers
    world.server.crash()
