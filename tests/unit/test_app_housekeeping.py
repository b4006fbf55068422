"""What the farm throws away by itself, what it keeps, and what one batch may not break."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from aifarm.app import care, data, operations, outputs
from aifarm.app.draft import Draft
from aifarm.app.errors import Conflict, FarmError, NotFound
from aifarm.app.facade import Facade, Settings
from aifarm.app.housekeeping import (
    DAY,
    PACES_KEPT,
    REPLACED_KEPT,
    SURPLUS_KEPT,
    Housekeeper,
    let_go,
    purge,
)
from aifarm.app.lookup import ref_of
from aifarm.app.records import (
    AttemptRecord,
    CheckpointRecord,
    LogLines,
    PaceRecord,
    PackageRecord,
    Part,
    TaskRecord,
    TaskSpec,
    UploadRecord,
)
from aifarm.app.scopes import Principal
from aifarm.app.writer import Inline
from aifarm.artifacts import StorageUnavailable, open_artifacts
from aifarm.core.pace import Pace
from aifarm.core.task import RankKey, State, Task
from aifarm.store import open_store
from aifarm.wire.agent import OutputFile, TaskOutputs
from aifarm.wire.requests import CreateData, CreateTask, EditTask

ADA = Principal("token", "ada", "researcher")
START = 1_700_000_000.0


class Farm:
    """A facade whose writer runs inline, on a clock that stands still until it is moved."""

    def __init__(self, folder: Path) -> None:
        self.now = START
        ids = iter(range(1_000_000))
        self.store = open_store(f"sqlite:///{folder}/farm.db")
        self.artifacts = open_artifacts(f"file://{folder}/artifacts")
        self.facade = Facade(
            self.store,
            self.artifacts,
            clock=lambda: self.now,
            monotonic=lambda: 0.0,
            new_id=lambda: f"id{next(ids)}",
            executor=Inline(),
            post=lambda call: call(),
            settings=Settings(),
        )
        self.facade.start()
        self.keeper = Housekeeper(
            self.store, self.artifacts, lambda: self.now, self.facade.write, self._read
        )

    async def _read(self, function: Any, *args: Any, **options: Any) -> Any:
        return function(*args, **options)

    def ask(self, operation: Any) -> Any:
        answers: list[Any] = []
        self.facade.submit(operation, answers.append)
        return answers[0]

    def must(self, operation: Any) -> Any:
        value = self.ask(operation)
        assert not isinstance(value, FarmError), value
        return value

    def together(self, *operations: Any) -> list[Any]:
        """What each of them gives, as one batch."""
        answers: list[Any] = []

        def all_queued(draft: Draft) -> None:
            for operation in operations:
                self.facade.submit(operation, answers.append)

        self.facade.submit(all_queued, lambda _: None)
        return answers

    def over(self, task_id: str, **spec: Any) -> TaskRecord:
        """A finished task with something of every kind."""
        record = TaskRecord(
            Task(task_id, "ada", self.now, state=State.COMPLETED, attempt=1, ended_at=self.now),
            TaskSpec("training", "net", {"lr": 0.1}, **spec),
        )
        with self.store.transaction() as tx:
            key = RankKey(task_id, 1, 0)
            tx.put_task(record, None)
            tx.put_attempt(AttemptRecord(task_id, 1, ("ws1",), self.now))
            tx.add_points(key, [(step, 1.0, {"loss": 1.0}) for step in range(5000)])
            tx.add_log(LogLines(key, 0, ("a line",)))
        return record

    def checkpoint(self, task_id: str, name: str, **more: Any) -> str:
        key = f"checkpoints/{task_id}/{name}"
        part = self.artifacts.put_part(key, 0, name.encode())
        step = more.pop("step", 1)
        record = CheckpointRecord(
            name, task_id, 1, step, part.size, part.sha256, key, (part,), self.now, **more
        )
        with self.store.transaction() as tx:
            tx.put_checkpoint(record)
        return key

    def keep(self, task_id: str, removed: tuple[str, ...] = (), **files: bytes) -> None:
        """A running attempt uploads files, and says that the task keeps them."""
        told = []
        for name, content in files.items():
            upload_id = f"{task_id}-{name}-{content.decode()}"
            key = f"outputs/{task_id}/{upload_id}"
            part = self.artifacts.put_part(key, 0, content)
            whole = (part.size, part.sha256, 4, self.now, (part,), "output")
            with self.store.transaction() as tx:
                tx.put_upload(UploadRecord(upload_id, task_id, 1, 0, key, *whole))
            told.append(OutputFile(name, part.size, part.sha256, upload_id))
        message = TaskOutputs(task_id=task_id, files=told, removed=list(removed))
        self.must(lambda draft: outputs.commit(draft, RankKey(task_id, 1, 0), message))

    def stored(self) -> set[str]:
        return set(self.artifacts.keys())

    def rows(self) -> dict[str, int]:
        from sqlalchemy import func, select

        from aifarm.store.tables import metadata

        with self.store._reading() as connection:
            return {
                table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in metadata.sorted_tables
            }


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    made = Farm(tmp_path)
    yield made
    made.store.close()


async def test_nothing_is_left_of_a_task_when_its_time_in_the_trash_is_over(farm: Farm) -> None:
    before = farm.rows()
    farm.over("t")
    farm.checkpoint("t", "c")
    farm.must(care.delete_task("t", ADA))
    farm.now += 7 * DAY - 1
    await farm.keeper.tidy()
    assert farm.stored() == {"checkpoints/t/c"}
    farm.now += 2
    await farm.keeper.tidy()
    assert farm.stored() == set()
    (told,) = farm.store.events()
    assert told.kind == "purged"
    assert farm.rows() == {**before, "events": 1}
    assert isinstance(farm.ask(care.restore_task("t", ADA)), NotFound)


async def test_a_restored_task_is_kept(farm: Farm) -> None:
    record = farm.over("t")
    farm.must(care.delete_task("t", ADA))
    farm.must(care.restore_task("t", ADA))
    farm.now += 8 * DAY
    await farm.keeper.tidy()
    assert farm.store.task("t") == record


async def test_a_checkpoint_outlives_its_task_for_those_who_began_with_it(farm: Farm) -> None:
    farm.over("parent")
    farm.checkpoint("parent", "used")
    farm.checkpoint("parent", "unused")
    farm.over("younger", from_checkpoint="used")
    farm.now -= 10
    farm.over("older", from_checkpoint="used")
    for kept, purged in ((["older", "younger"], "parent"), (["younger"], "older")):
        farm.must(care.delete_task(purged, ADA))
        farm.now += 8 * DAY
        await farm.keeper.tidy()
        assert farm.stored() == {"checkpoints/parent/used"}
        found = farm.store.checkpoint("used")
        assert found is not None
        assert found.task_id == kept[0]
    farm.must(care.delete_task("younger", ADA))
    farm.now += 8 * DAY
    await farm.keeper.tidy()
    assert farm.stored() == set()


async def test_checkpoints_go_when_newer_ones_took_their_place_for_a_while(farm: Farm) -> None:
    farm.over("t")
    for step in range(4):
        farm.checkpoint("t", f"c{step}", step=step, best=step == 1)
        farm.now += 1
    await farm.keeper.thin()
    assert len(farm.stored()) == 4
    farm.must(care.pin_checkpoint("t", "c0", True, ADA))
    farm.now += SURPLUS_KEPT
    await farm.keeper.thin()
    kept = {"checkpoints/t/c0", "checkpoints/t/c1", "checkpoints/t/c3"}
    assert farm.stored() == kept
    assert farm.store.artifact_keys() == kept


async def test_a_checkpoint_that_a_task_would_resume_from_is_no_surplus(farm: Farm) -> None:
    farm.over("t")
    farm.checkpoint("t", "c")
    farm.checkpoint("t", "newer", step=2)
    body = CreateTask(name="net", url="https://example.org/net.py", from_checkpoint="c")
    child = farm.must(operations.create_task(body, ADA, frozenset(), None))
    farm.now += SURPLUS_KEPT + 1
    assert farm.must(let_go("c")) == []
    farm.must(care.delete_task(child.task.id, ADA))
    assert farm.must(let_go("c")) == ["checkpoints/t/c"]


async def test_a_task_with_a_pinned_checkpoint_waits_in_the_trash(farm: Farm) -> None:
    farm.over("t")
    farm.checkpoint("t", "c")
    farm.must(care.pin_checkpoint("t", "c", True, ADA))
    farm.must(care.delete_task("t", ADA))
    farm.now += 30 * DAY
    await farm.keeper.tidy()
    assert farm.stored() == {"checkpoints/t/c"}
    farm.must(care.restore_task("t", ADA))
    assert farm.store.checkpoint("c") is not None


async def test_an_upload_that_was_given_up_is_swept_after_a_day(farm: Farm) -> None:
    farm.over("t")
    part = farm.artifacts.put_part("checkpoints/t/u", 0, b"half")
    upload = UploadRecord("u", "t", 1, 0, "checkpoints/t/u", 8, "0" * 64, 4, farm.now, (part,))
    with farm.store.transaction() as tx:
        tx.put_upload(upload)
    farm.now += DAY - 1
    await farm.keeper.tidy()
    assert farm.store.upload("u") == upload
    farm.now += 2
    await farm.keeper.tidy()
    assert farm.store.upload("u") is None
    assert farm.stored() == set()


async def test_what_a_newer_output_replaced_is_swept_at_a_later_round(farm: Farm) -> None:
    farm.over("t")
    farm.keep("t", a=b"1", b=b"2")
    farm.keep("t", a=b"3", removed=("b",))
    await farm.keeper.tidy()
    assert farm.stored() == {"outputs/t/t-a-1", "outputs/t/t-b-2", "outputs/t/t-a-3"}
    farm.now += REPLACED_KEPT
    await farm.keeper.tidy()
    assert farm.stored() == {"outputs/t/t-a-3"}


async def test_equal_files_share_their_bytes_until_the_last_of_them_goes(farm: Farm) -> None:
    farm.over("t")
    farm.keep("t", a=b"1")
    (a,) = farm.store.outputs("t")
    same = OutputFile("b", a.size, a.sha256, "t-a-1")  # its upload became `a` in another message
    message = TaskOutputs(task_id="t", files=[same], removed=["a"])
    farm.must(lambda draft: outputs.commit(draft, RankKey("t", 1, 0), message))
    for _ in range(2):
        await farm.keeper.tidy()
        farm.now += REPLACED_KEPT
    assert [(one.path, one.key) for one in farm.store.outputs("t")] == [("b", a.key)]
    assert farm.stored() == {a.key}


async def test_outputs_go_with_their_task(farm: Farm) -> None:
    farm.over("t")
    farm.keep("t", a=b"1")
    farm.must(care.delete_task("t", ADA))
    farm.now += 7 * DAY + 1
    await farm.keeper.tidy()
    assert farm.stored() == set()
    assert farm.rows()["outputs"] == 0


async def test_files_outlive_their_task_for_those_who_began_with_them(farm: Farm) -> None:
    farm.over("t")
    farm.keep("t", a=b"1", b=b"2")
    body = CreateTask(
        name="net", url="https://example.org/net.py", from_checkpoint="t", outputs=["a"]
    )
    child = farm.must(operations.create_task(body, ADA, frozenset(), None)).task.id
    assert farm.store.stored("ada") == 2
    farm.must(care.delete_task("t", ADA))
    farm.now += 7 * DAY + 1
    await farm.keeper.tidy()
    assert farm.stored() == {"outputs/t/t-a-1"}
    farm.must(care.delete_task(child, ADA))
    farm.now += 7 * DAY + 1
    await farm.keeper.tidy()
    assert farm.stored() == set()


def test_a_task_keeps_no_more_files_and_bytes_than_it_may(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "MAX_OUTPUTS", 2)
    monkeypatch.setattr(outputs, "MAX_OUTPUT_BYTES", 6)
    farm.over("t")
    farm.keep("t", a=b"11", b=b"22")
    for more, what in (({"c": b"33"}, "2 files"), ({"b": b"55555"}, "GiB")):
        with pytest.raises(AssertionError, match=what):
            farm.keep("t", **more)
    farm.keep("t", removed=("a",), c=b"3333")
    assert [(one.path, one.size) for one in farm.store.outputs("t")] == [("b", 2), ("c", 4)]


def test_a_batch_that_fails_leaves_the_outputs_as_they_were(farm: Farm) -> None:
    farm.over("t")
    farm.keep("t", a=b"1")
    message = TaskOutputs(task_id="t", removed=["a"])

    def fails(draft: Draft) -> None:
        outputs.commit(draft, RankKey("t", 1, 0), message)
        raise Conflict("something else")

    assert isinstance(farm.ask(fails), Conflict)
    farm.keep("t", b=b"2")
    assert [one.path for one in farm.store.outputs("t")] == ["a", "b"]


async def test_data_that_did_not_arrive_is_swept_after_a_day_and_what_did_stays(
    farm: Farm,
) -> None:
    for sha256, content in (("a" * 64, b"all"), ("b" * 64, b"half")):
        body = CreateData(sha256=sha256, size=len(content), name="it")
        record, _ = farm.must(data.begin(body, ADA))
        part = farm.artifacts.put_part(record.key, 0, content)
        farm.must(data.add_part(sha256, part, ADA))
    parts = farm.store.data("a" * 64, "ada").parts
    whole, _ = farm.must(data.commit("a" * 64, ADA, parts))
    farm.now += DAY - 1
    await farm.keeper.tidy()
    assert len(farm.stored()) == 2
    farm.now += 2
    await farm.keeper.tidy()
    assert farm.stored() == {whole.key}
    assert farm.store.data("a" * 64) == whole
    assert farm.store.data("b" * 64, "ada") is None


def test_data_whose_parts_changed_while_they_were_hashed_is_not_committed(farm: Farm) -> None:
    body = CreateData(sha256="a" * 64, size=4, name="it")
    record, _ = farm.must(data.begin(body, ADA))
    first = farm.artifacts.put_part(record.key, 0, b"good")
    farm.must(data.add_part("a" * 64, first, ADA))
    other = farm.artifacts.put_part(record.key, 0, b"evil")
    farm.must(data.add_part("a" * 64, other, ADA))
    assert isinstance(farm.ask(data.commit("a" * 64, ADA, (first,))), Conflict)
    assert farm.store.data("a" * 64) is None
    assert farm.must(data.commit("a" * 64, ADA, (other,)))[0].complete


async def test_what_a_step_cost_is_forgotten_when_no_gang_measured_it_for_long(farm: Farm) -> None:
    def measured(package: str, gang: str) -> None:
        with farm.store.transaction() as tx:
            tx.put_pace(PaceRecord(package, gang, farm.now, Pace(2, 0.1, 1.0, 100.0, 0.001)))

    measured("gone", "gang")
    measured("used", "gang")
    farm.now += PACES_KEPT
    measured("used", "gang")
    await farm.keeper.tidy()
    assert {one.package for one in farm.store.paces("", "gang")} == {"gone", "used"}
    farm.now += 1
    await farm.keeper.tidy()
    assert [one.package for one in farm.store.paces("", "gang")] == ["used"]


async def test_the_checkpoint_that_a_finished_task_would_be_tried_again_from_stays(
    farm: Farm,
) -> None:
    """It need not be the newest: that one may have been found damaged."""
    record = farm.over("t")
    farm.checkpoint("t", "whole", step=80)
    farm.checkpoint("t", "damaged", step=100)
    found = farm.store.checkpoint("whole")
    assert found is not None
    with farm.store.transaction() as tx:
        tx.put_task(replace(record, checkpoint=ref_of(found)), record)
    farm.now += SURPLUS_KEPT + 1
    await farm.keeper.thin()
    assert "checkpoints/t/whole" in farm.stored()


async def test_a_checkpoint_that_lost_its_place_just_now_can_still_be_read_to_its_end(
    farm: Farm,
) -> None:
    farm.over("t")
    farm.checkpoint("t", "older", step=1)
    farm.now += 10 * SURPLUS_KEPT
    farm.checkpoint("t", "newer", step=2)
    await farm.keeper.thin()
    assert len(farm.stored()) == 2
    farm.now += SURPLUS_KEPT + 1
    await farm.keeper.thin()
    assert farm.stored() == {"checkpoints/t/newer"}


async def test_bytes_without_a_row_get_a_day_to_find_one(farm: Farm) -> None:
    part = farm.artifacts.put_part("packages/late", 0, b"zip")
    farm.artifacts.put_part("packages/never", 0, b"zip")
    await farm.keeper.tidy()
    farm.now += DAY / 2
    late = PackageRecord(
        "net", "1", "0" * 64, 3, "script", "{}", "packages/late", (part,), "ada", farm.now
    )
    farm.must(operations.add_package(late))
    await farm.keeper.tidy()
    assert farm.stored() == {"packages/late", "packages/never"}
    farm.now += DAY / 2
    await farm.keeper.tidy()
    assert farm.stored() == {"packages/late"}


async def test_bytes_that_cannot_be_removed_now_are_removed_later(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm.over("t")
    farm.checkpoint("t", "c")
    farm.must(care.delete_task("t", ADA))
    farm.now += 8 * DAY

    def fails(key: str) -> None:
        raise StorageUnavailable("The disk is away.")

    with monkeypatch.context() as patch:
        patch.setattr(farm.artifacts, "delete", fails)
        await farm.keeper.tidy()
    assert farm.store.trash() == []
    assert farm.stored() == {"checkpoints/t/c"}
    farm.now += DAY
    await farm.keeper.tidy()
    assert farm.stored() == set()


# ---------------------------------------------------------------- within one batch


def test_edits_of_a_finished_task_in_one_batch_add_up(farm: Farm) -> None:
    farm.over("t")
    farm.together(
        care.edit_task("t", EditTask(title="new"), ADA),
        care.tag_task("t", ["a"], [], ADA),
        care.tag_task("t", ["b"], [], ADA),
        care.edit_task("t", EditTask(notes="n"), Principal("other", "ben", "researcher")),
    )
    found = farm.store.task("t")
    assert found is not None
    assert (found.about.title, found.about.tags, found.about.notes) == ("new", ("a", "b"), None)
    assert farm.facade.view.task("t") == found


def test_a_task_restored_in_the_last_moment_is_not_purged(farm: Farm) -> None:
    farm.over("t")
    farm.must(care.delete_task("t", ADA))
    farm.now += 8 * DAY
    _, freed = farm.together(care.restore_task("t", ADA), purge("t", farm.now - 7 * DAY))
    assert freed == []
    assert farm.store.task("t") is not None
    farm.must(care.delete_task("t", ADA))
    farm.now += 8 * DAY
    _, restored = farm.together(purge("t", farm.now - 7 * DAY), care.restore_task("t", ADA))
    assert isinstance(restored, NotFound)


def test_nothing_begins_with_what_is_deleted_in_the_same_batch(farm: Farm) -> None:
    farm.must(
        operations.add_package(
            PackageRecord(
                *("net", "1", "0" * 64, 3, "script", "{}", "packages/p"),
                parts=(Part(0, 3, "0" * 64),),
                publisher="ada",
                created_at=farm.now,
            )
        )
    )
    farm.over("t")
    farm.checkpoint("t", "c")
    body = CreateTask(name="net", version="1")

    def create(**more: Any) -> Any:
        return operations.create_task(replace(body, **more), ADA, frozenset(), None)

    _, began = farm.together(care.delete_checkpoint("t", "c", ADA), create(from_checkpoint="c"))
    assert isinstance(began, NotFound)
    farm.checkpoint("t", "d")
    _, deleted = farm.together(create(from_checkpoint="d"), care.delete_checkpoint("t", "d", ADA))
    assert isinstance(deleted, Conflict)
    (record,) = (one for one in farm.facade.view.tasks.values())
    farm.must(care.delete_task(record.task.id, ADA))
    farm.now += 8 * DAY
    farm.must(purge(record.task.id, farm.now - 7 * DAY))
    key, made = farm.together(care.delete_package("net", "1", ADA), create())
    assert key == "packages/p"
    assert isinstance(made, NotFound)
