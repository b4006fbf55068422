"""A farm with 100,000 finished tasks and 10 million metric points: a page of the list, a curve."""

import asyncio
import os
import random
import sqlite3
import time
from pathlib import Path
from typing import Any

from aifarm.app.records import TaskRecord, TaskSpec
from aifarm.core.task import Cause, RankKey, State, Task
from aifarm.store import open_store
from bench.farm import Poster, Server, server
from bench.stats import Figure, percentile

TASKS, RUNS, POINTS = 100_000, 10, 1_000_000
BATCH = 20_000
PAGES, CURVES = 300, 60
GOAL, GOAL_TOGETHER = 0.050, 0.200
EPOCH = 1_700_000_000.0
PAGE = "SELECT * FROM tasks WHERE deleted = 0 ORDER BY created_at DESC, id DESC LIMIT 100"


def task_id(number: int) -> str:
    return f"{number:032x}"


def record(number: int) -> TaskRecord:
    at = EPOCH + number
    task = Task(
        id=task_id(number),
        submitter=f"submitter-{number % 10}",
        created_at=at,
        state=State.FAILED if number % 20 == 0 else State.COMPLETED,
        cause=Cause.USER_ERROR if number % 20 == 0 else Cause.COMPLETED,
        attempt=1,
        started_at=at + 1,
        ended_at=at + 100,
        updated_at=at + 100,
    )
    config = {"learning_rate": 10.0 ** -(number % 5), "epochs": 10, "optimizer": "adam"}
    spec = TaskSpec(type="training", name=f"model-{number % 50}", config=config, version="1")
    return TaskRecord(task, spec, 100.0, {"loss": 1.0 / (number + 1), "accuracy": 0.9})


def _fill(data_dir: Path) -> None:
    """Through the store's own writing, in large transactions."""
    store = open_store(f"sqlite:///{data_dir / 'farm.db'}")
    for first in range(0, TASKS, BATCH):
        with store.transaction() as tx:
            for number in range(first, first + BATCH):
                tx.put_task(record(number), None)
    for run in range(RUNS):
        add_points(store, TASKS - 1 - run, POINTS)
    store.close()


def add_points(store: Any, number: int, count: int) -> None:
    """A curve of `count` points to the task of this number."""
    key = RankKey(task_id(number), 1, 0)
    for first in range(0, count, BATCH):
        points = [
            (step, EPOCH + step * 0.01, {"loss": 1.0 / (step + 1)})
            for step in range(first, first + BATCH)
        ]
        with store.transaction() as tx:
            tx.add_points(key, points)


async def _seconds(farm: Server, paths: list[str], at_once: int) -> list[float]:
    found: list[float] = []

    async def caller(mine: list[str]) -> None:
        async with Poster(farm.port, farm.admin) as poster:
            for path in mine:
                began = time.perf_counter()
                await poster.get(path)
                found.append(time.perf_counter() - began)

    await asyncio.gather(*(caller(paths[number::at_once]) for number in range(at_once)))
    return found


def _raw_page(database: Path) -> float:
    """Seconds of the same 100 rows from SQLite itself, p99."""
    seconds = []
    with sqlite3.connect(database) as connection:
        for _ in range(PAGES):
            began = time.perf_counter()
            connection.execute(PAGE).fetchall()
            seconds.append(time.perf_counter() - began)
    return percentile(seconds, 99)


def run() -> list[Figure]:
    chance = random.Random(0)
    with server(prepare=_fill) as farm:
        database = farm.data_dir / "farm.db"
        size = sum(os.path.getsize(path) for path in farm.data_dir.glob("farm.db*")) / 2**20
        pages = [f"/api/v2/tasks?limit=100&page={chance.randint(1, 50)}" for _ in range(PAGES)]
        last = [f"/api/v2/tasks?limit=100&page={TASKS // 100}"] * 20
        mine = ["/api/v2/tasks?limit=100&submitter=submitter-3&status=failed"] * 50
        curves = [
            f"/api/v2/tasks/{task_id(TASKS - 1 - chance.randrange(RUNS))}/metrics?points=1000"
            for _ in range(CURVES)
        ]
        asyncio.run(_seconds(farm, pages[:20] + curves[:5], 1))  # connections, caches
        found = {
            "a page of the list": (asyncio.run(_seconds(farm, pages, 1)), GOAL),
            "the last page": (asyncio.run(_seconds(farm, last, 1)), None),
            "a page of one submitter's failed tasks": (asyncio.run(_seconds(farm, mine, 1)), None),
            "a 1,000-point curve of a 1-million-point run": (
                asyncio.run(_seconds(farm, curves, 1)),
                GOAL,
            ),
            "the same, four at once": (asyncio.run(_seconds(farm, curves, 4)), GOAL_TOGETHER),
        }
        raw = _raw_page(database)
    figures = [
        Figure(
            "history",
            f"{name}, p99",
            percentile(seconds, 99) * 1e3,
            "ms",
            "" if goal is None else f"<= {goal * 1e3:.0f}",
            None if goal is None else percentile(seconds, 99) <= goal,
            f"median {percentile(seconds, 50) * 1e3:.1f} ms of {len(seconds)}",
        )
        for name, (seconds, goal) in found.items()
    ]
    return [
        *figures,
        Figure("history", "100 rows from SQLite itself, p99", raw * 1e3, "ms"),
        Figure("history", f"database of {TASKS:,} tasks, {RUNS * POINTS:,} points", size, "MiB"),
    ]
