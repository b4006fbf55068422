"""What submitting, asking and finishing cost while more and more tasks wait, with 1,000 clients.

The real facade over a real SQLite file, without sockets: placement, the rows and the commit are in
it. Processor time, since that is what may grow; the commit's wait for the disk does not.
"""

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aifarm.app import operations
from aifarm.app.facade import Facade, Settings, digest_of
from aifarm.app.records import PackageRecord, Part, TaskRecord, TokenRecord
from aifarm.app.scopes import Principal
from aifarm.app.writer import Inline
from aifarm.artifacts import open_artifacts
from aifarm.store import open_store
from aifarm.wire import agent as wire
from aifarm.wire.requests import CreateTask, RequirementsBody
from bench.farm import WORKSPACE
from bench.stats import Figure

CLIENTS, WAITING, ROUNDS, SUBMITTERS = 1_000, (10, 1_000, 100_000), 200, 10
GOAL = 2.0
MEMORY = (0, 4_096, 8_192, 12_288, 16_384, 24_576)
"""MiB of GPU memory that tasks ask for, by turns: classes of equal requirements."""

AGENT = Principal("agents", "agents", "agent")
CAPACITY = wire.Resources(
    cpu=wire.Cpu(8),
    ram=wire.Memory(65_536),
    gpu=[wire.Gpu(id=0, name="a GPU", memory=wire.Memory(24_576))],
)


class Client:
    """A contract-only client: it asks, is given a task, and ends it."""

    def __init__(self, farm: Facade, name: str) -> None:
        self._farm = farm
        self.name = name
        self.task_id: str | None = None
        self._link = farm.links.opened(name, AGENT, self)
        self.say(wire.Heartbeat(system_info=wire.SystemInfo(resources=CAPACITY)))

    def say(self, message: Any) -> None:
        self._farm.links.received(self._link, message)

    def send(self, message: Any) -> None:
        if isinstance(message, wire.TaskAssignment):
            self.task_id = message.data.id

    def close(self, code: int, reason: str) -> None: ...

    def finish(self) -> None:
        task_id, self.task_id = self.task_id, None
        self.say(wire.TaskResult(task_id=task_id, status="completed"))


class Crowd:
    """A farm with CLIENTS clients, all at work, and tasks that wait."""

    def __init__(self, folder: Path) -> None:
        ids = itertools.count()
        self.store = open_store(f"sqlite:///{folder}/farm.db")
        self.farm = Facade(
            self.store,
            open_artifacts(f"file://{folder}/artifacts"),
            clock=time.time,
            monotonic=time.monotonic,
            new_id=lambda: f"{next(ids):032x}",
            executor=Inline(),
            post=lambda call: call(),
            settings=Settings(),
        )
        self.farm.start()
        self._tasks = itertools.count()
        self.must(_seed)
        self.waiting = 0
        self.add(CLIENTS)
        self.clients = [Client(self.farm, f"ws{number}") for number in range(CLIENTS)]
        for client in self.clients:
            client.say(wire.TaskRequest())
        self.waiting = 0

    def must(self, operation: Any) -> Any:
        values: list[Any] = []
        self.farm.submit(operation, values.append)
        (value,) = values
        if isinstance(value, Exception):
            raise value
        return value

    def creation(self) -> Any:
        number = next(self._tasks)
        needs = RequirementsBody(min_gpu_memory=MEMORY[number % len(MEMORY)], min_cpu_cores=1)
        by = Principal("t", f"submitter-{number % SUBMITTERS}", "researcher")
        body = CreateTask(name="model", version="1", requirements=needs)
        return operations.create_task(body, by, frozenset(), None)

    def add(self, count: int) -> None:
        """So many more tasks that wait, in batches."""
        failures: list[Any] = []

        def done(value: Any) -> None:
            if not isinstance(value, TaskRecord):
                failures.append(value)

        def several(_: Any) -> None:
            for _ in range(count):
                self.farm.submit(self.creation(), done)

        self.farm.submit(lambda draft: None, several)
        if failures:
            raise failures[0]
        self.waiting += count

    def round(self, client: Client) -> dict[str, float]:
        """Processor seconds of one submission, one end and one request, which is given a task."""
        spent = {
            "submit": _cpu(lambda: self.must(self.creation())),
            "finish": _cpu(client.finish),
            "task_request": _cpu(lambda: client.say(wire.TaskRequest())),
        }
        if client.task_id is None:
            raise RuntimeError(f"{client.name} was given nothing")
        return spent


def _seed(draft: Any) -> None:
    part = Part(0, 1, "0" * 64)
    package = PackageRecord(
        "model", "1", "0" * 64, 1, "declarative", "{}", "k", (part,), "ada", draft.at
    )
    draft.add_package(package)
    draft.set_token(TokenRecord("agents", "agents", "agent", digest_of("x"), draft.at))


def _cpu(act: Callable[[], Any]) -> float:
    began = time.process_time()
    act()
    return time.process_time() - began


def run() -> list[Figure]:
    medians: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=WORKSPACE) as folder:
        crowd = Crowd(Path(folder))
        for waiting in WAITING:
            crowd.add(waiting - crowd.waiting)
            rounds = [crowd.round(crowd.clients[number]) for number in range(ROUNDS)]
            medians[waiting] = {
                name: statistics.median(spent[name] for spent in rounds) for name in rounds[0]
            }
        crowd.farm.stop()
        crowd.store.close()
    few = medians[WAITING[0]]
    return [
        Figure(
            "growth",
            f"{name} with {WAITING[-1]:,} waiting / with {WAITING[0]}, {CLIENTS:,} clients",
            medians[WAITING[-1]][name] / few[name],
            "ratio",
            f"<= {GOAL:.0f}",
            medians[WAITING[-1]][name] <= GOAL * few[name],
            ", ".join(f"{one[name] * 1e3:.2f} ms with {n:,}" for n, one in medians.items()),
        )
        for name in few
    ]
