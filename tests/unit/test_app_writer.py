"""The single writer: what fails leaves no trace, and nobody is told before the commit."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aifarm.app import operations
from aifarm.app.draft import ROUTINE_EVENTS, Draft
from aifarm.app.errors import Conflict, Deposed, FarmError, Unavailable
from aifarm.app.facade import Facade, Settings
from aifarm.app.scopes import Principal
from aifarm.app.writer import Inline
from aifarm.artifacts import open_artifacts
from aifarm.core.task import Note
from aifarm.store import open_store
from aifarm.wire.agent import ServerMessage, TaskRequest, TaskResult
from aifarm.wire.requests import CreateTask, CreateToken

ADA = Principal("t1", "ada", "researcher")
BODY = CreateTask(name="model", url="http://elsewhere/models/model/1")


class Disk:
    """The real store; `full` makes every commit fail, `deposes` for good."""

    def __init__(self, path: Path) -> None:
        self.store = open_store(f"sqlite:///{path}")
        self.full = False
        self.deposes: Deposed | None = None
        self.commits = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        with self.store.transaction() as tx:
            yield tx
            if self.full:
                raise Unavailable("The database's disk is full.")
            if self.deposes is not None:
                raise self.deposes
        self.commits += 1


class Socket:
    def __init__(self) -> None:
        self.sent: list[ServerMessage] = []

    def send(self, message: ServerMessage) -> None:
        self.sent.append(message)

    def close(self, code: int, reason: str) -> None: ...


class Farm:
    """The facade inline: an operation is durable, or refused, when `ask` returns."""

    def __init__(self, folder: Path) -> None:
        ids = iter(range(1_000_000))
        self.disk = Disk(folder / "farm.db")
        self.facade = Facade(
            self.disk,
            open_artifacts("memory://unit"),
            clock=lambda: 1_700_000_000.0,
            monotonic=lambda: 0.0,
            new_id=lambda: f"id{next(ids)}",
            executor=Inline(),
            post=lambda call: call(),
            settings=Settings(),
        )
        self.facade.start()

    def ask(self, operation: Any) -> Any:
        answers: list[Any] = []
        self.facade.submit(operation, answers.append)
        (answer,) = answers
        return answer

    def create(self, key: str | None = None, body: CreateTask = BODY) -> Any:
        return self.ask(operations.create_task(body, ADA, frozenset(), key))


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    made = Farm(tmp_path)
    yield made
    made.disk.store.close()


def test_a_failed_commit_is_told_and_leaves_no_trace(farm: Farm) -> None:
    before = farm.create()
    farm.disk.full = True
    refused = farm.create()
    assert isinstance(refused, Unavailable)
    assert refused.message == "The database's disk is full."
    farm.disk.full = False
    after = farm.create()
    assert set(farm.facade.view.tasks) == {before.task.id, after.task.id}
    assert farm.disk.store.tasks().total == 2
    numbers = [event.id for event in farm.disk.store.events()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_nothing_is_acknowledged_before_it_is_durable(farm: Farm) -> None:
    socket = Socket()
    agent = Principal("t2", "agents", "agent")
    link = farm.facade.links.opened("ws1", agent, socket)
    farm.facade.links.received(link, TaskRequest())
    task_id = farm.create().task.id
    socket.sent.clear()
    farm.disk.full = True
    result = TaskResult(task_id=task_id, status="completed")
    farm.facade.links.received(link, result)
    assert [type(message).__name__ for message in socket.sent] == ["ErrorMessage"]
    assert farm.disk.store.task(task_id).task.state == "assigned"
    farm.disk.full = False
    farm.facade.links.received(link, result)
    assert socket.sent[-1].received
    assert farm.disk.store.task(task_id).task.state == "completed"


def test_an_operation_that_raises_does_not_spoil_its_batch(farm: Farm) -> None:
    answers: list[Any] = []

    def spoiled(draft: Draft) -> None:
        draft.note(Note("noise", "This must not stay."))
        operations.create_task(BODY, ADA, frozenset(), None)(draft)
        raise Conflict("no")

    def three(draft: Draft) -> str:
        farm.facade.submit(operations.create_task(BODY, ADA, frozenset(), None), answers.append)
        farm.facade.submit(spoiled, answers.append)
        farm.facade.submit(operations.create_task(BODY, ADA, frozenset(), None), answers.append)
        return "queued"

    assert farm.ask(three) == "queued"
    assert [isinstance(answer, FarmError) for answer in answers] == [False, True, False]
    assert farm.disk.store.tasks().total == 2
    assert {event.kind for event in farm.disk.store.events()} == {"submitted"}


def test_an_idempotency_key_holds_within_one_batch(farm: Farm) -> None:
    answers: list[Any] = []

    def both(draft: Draft) -> None:
        for _ in range(2):
            operation = operations.create_task(BODY, ADA, frozenset(), "key")
            farm.facade.submit(operation, answers.append)

    farm.ask(both)
    assert len({answer.task.id for answer in answers}) == 1
    assert farm.disk.store.tasks().total == 1


def test_who_may_not_write_any_more_writes_nothing_more(farm: Farm) -> None:
    before = farm.create()
    farm.disk.deposes = Deposed("Another server leads.")
    refused = farm.create()
    farm.disk.deposes = None
    assert farm.facade.deposed is refused
    assert farm.create() is refused
    assert farm.disk.store.tasks().items[0].task.id == before.task.id
    assert farm.disk.store.tasks().total == 1


def test_a_farm_where_nothing_happens_hears_that_another_took_over(farm: Farm) -> None:
    farm.facade.tick()
    assert farm.facade.deposed is None
    farm.disk.deposes = Deposed()
    farm.facade.tick()
    assert farm.facade.deposed is farm.disk.deposes


def test_what_comes_after_the_end_is_refused_and_does_not_wait(farm: Farm) -> None:
    farm.facade.stop()
    assert isinstance(farm.create(), Deposed)


def test_reading_operations_write_nothing(farm: Farm) -> None:
    task_id = farm.create().task.id
    commits = farm.disk.commits
    farm.ask(operations.why(task_id))
    assert farm.disk.commits == commits


def test_routine_events_of_a_task_are_capped(farm: Farm) -> None:
    task_id = farm.create().task.id

    def often(draft: Draft) -> None:
        for step in range(ROUTINE_EVENTS + 50):
            draft.note(Note("checkpoint", f"Checkpoint at step {step}.", task_id))

    farm.ask(often)
    kinds = [event.kind for event in farm.disk.store.events(task_id=task_id, limit=5000)]
    assert kinds.count("checkpoint") == ROUTINE_EVENTS


def test_a_probe_fails_while_nothing_can_be_stored_and_no_longer(farm: Farm) -> None:
    farm.ask(operations.create_token(CreateToken(name="ada", role="admin"), "digest", ADA))
    commits = farm.disk.commits
    assert farm.ask(operations.probe()) is None
    farm.disk.full = True
    assert isinstance(farm.create(), Unavailable)
    assert isinstance(farm.ask(operations.probe()), Unavailable)
    farm.disk.full = False
    assert farm.ask(operations.probe()) is None
    assert farm.ask(operations.probe()) is None
    assert farm.disk.commits == commits + 1, "only doubt is worth a commit"
