"""The table of runs, as a kernel has it: what is ticked in its page."""

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from aifarm.sdk import NotFound, Task
from aifarm.sdk.config import Address
from aifarm_jupyter.runs import RunsTable
from unit.test_jupyter_form import task


class FakeFarm:
    """Has every task but "gone"."""

    _http = SimpleNamespace(address=Address("http://farm.invalid", "t"))

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.slow: dict[str, threading.Event] = {}
        self.begun: Callable[[], object] = lambda: None

    def tasks(self, **_: object) -> list[Task]:
        return []

    def task(self, task_id: str) -> Task:
        self.asked.append(task_id)
        self.begun()
        if task_id in self.slow:
            assert self.slow[task_id].wait(30)
        if task_id == "gone":
            raise NotFound("There is no such task.")
        return task(task_id)


@pytest.fixture
def farm() -> FakeFarm:
    return FakeFarm()


@pytest.fixture
def table(farm: FakeFarm) -> RunsTable:
    return RunsTable(farm)  # type: ignore[arg-type]


def ids(table: RunsTable) -> list[str]:
    return [one.id for one in table.selected]


def test_what_is_ticked_is_known_in_python_without_what_is_gone(
    farm: FakeFarm, table: RunsTable
) -> None:
    table.set_state({"selected": ["a", "gone", "b"]})
    assert ids(table) == ["a", "b"]
    table.set_state({"selected": ["b", "c"]})
    assert ids(table) == ["b", "c"]
    assert farm.asked == ["a", "gone", "b", "c"]  # nothing twice


async def test_a_farm_that_thinks_keeps_no_kernel_waiting(farm: FakeFarm, table: RunsTable) -> None:
    farm.slow["a"] = threading.Event()
    chosen = asyncio.Event()
    table.observe(lambda _: chosen.set(), "selected")
    table.set_state({"selected": ["a"]})
    farm.slow["a"].set()  # what blocked here would never come so far
    await chosen.wait()
    assert ids(table) == ["a"]


async def test_what_python_sets_is_not_undone_by_an_older_tick(
    farm: FakeFarm, table: RunsTable
) -> None:
    loop, begun = asyncio.get_running_loop(), asyncio.Event()
    farm.slow["late"] = threading.Event()
    farm.begun = lambda: loop.call_soon_threadsafe(begun.set)
    table.set_state({"selected": ["late"]})
    await begun.wait()
    table.selected = [task("set")]
    farm.slow["late"].set()
    await loop.shutdown_default_executor()  # every thread has said what it had to say
    await asyncio.sleep(0)
    assert ids(table) == ["set"]
