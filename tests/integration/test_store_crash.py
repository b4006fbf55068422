"""FAULTS rows 19 and 21 with a real process: killed while it writes, and out of disk."""

import os
import random
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from aifarm.core.task import RankKey
from aifarm.store import DatabaseLed, SqlStore, open_store
from databases import empty

WRITER = """
import sys
from msgspec.structs import replace
from aifarm.app.records import EventRecord, LogLines, TaskRecord, TaskSpec
from aifarm.core.task import RankKey, Task
from aifarm.store import open_store

store = open_store(sys.argv[1])
number = store.load().last_event
record = store.task("t")
print("open", flush=True)
while True:
    number += 1
    before, key = record, RankKey("t", 1, number % 3)
    first = store.log_length(key)
    task = Task("t", "ann", 1.0, updated_at=float(number))
    record = TaskRecord(task, TaskSpec("training", "net", {}), progress=float(number))
    with store.transaction() as tx:
        tx.put_task(record, before)
        tx.add_event(EventRecord(number, 1.0, "k", "m", "t"))
        tx.add_log(LogLines(key, first, (str(number),)))
        tx.add_points(RankKey("t", 1, 0), [(500 * number + i, 1.0, {"n": 1.0}) for i in range(500)])
    print(number, flush=True)
"""


@contextmanager
def writer(url: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that commits one transaction after the other, and says so after each."""
    arguments = [sys.executable, "-c", WRITER, url]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def acknowledged(process: "subprocess.Popen[str]", seconds: float) -> int:
    """Lets it write for a while, kills it, and tells the last transaction it acknowledged."""
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    select.select([], [], [], seconds)
    process.send_signal(signal.SIGKILL)
    whole, _, _ = process.stdout.read().rpartition("\n")
    return int(whole.split()[-1]) if whole else 0


def reopened(url: str) -> SqlStore:
    """PostgreSQL hears a moment later that the one who led is gone."""
    while True:
        try:
            return open_store(url)
        except DatabaseLed:
            os.sched_yield()


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def test_sigkill_while_writing_loses_and_halves_nothing(tmp_path: Path, kind: str) -> None:
    url = empty(kind, tmp_path)
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    last = 0
    for _ in range(4):
        with writer(url) as process:
            last = acknowledged(process, chance.uniform(0.0, 0.25)) or last
        if kind == "sqlite":
            with closing(sqlite3.connect(tmp_path / "farm.db")) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        store = reopened(url)
        events = [event.id for event in store.events(limit=10**6)]
        count = len(events)
        assert events == list(range(1, count + 1)), seed
        assert last <= count <= last + 1, seed
        last = count
        if count:
            record = store.task("t")
            assert record is not None
            assert record.progress == record.task.updated_at == count
            [series] = store.series("t", points=None)
            assert series.step == list(range(500, 500 * (count + 1)))
            lines = [
                int(line)
                for rank in range(3)
                for line in store.log("t", attempt=1, rank=rank, limit=10**6).lines
            ]
            assert sorted(lines) == events
            assert sum(store.log_length(RankKey("t", 1, rank)) for rank in range(3)) == count
        store.close()
    assert last > 0


FULL = """
import os, sys
from aifarm.app.records import EventRecord, LogLines
from aifarm.core.task import RankKey
from aifarm.store import StoreUnavailable, open_store

folder = sys.argv[1]
store = open_store(f"sqlite:///{folder}/farm.db")
ballast = open(f"{folder}/ballast", "wb")
ballast.write(bytes(1 << 20))
ballast.close()
number = 0
try:
    while True:
        with store.transaction() as tx:
            tx.add_event(EventRecord(number + 1, 1.0, "k", "m"))
            tx.add_log(LogLines(RankKey("t", 1, 0), number, ("x" * 50_000,)))
        number += 1
except StoreUnavailable as error:
    print(error)
assert number > 0 and store.load().last_event == number
os.unlink(f"{folder}/ballast")
with store.transaction() as tx:
    tx.add_event(EventRecord(number + 1, 1.0, "k", "m"))
assert len(store.events()) == number + 1
with store._reading() as connection:
    assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
store.close()
"""

MOUNT = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"]


def can_mount(folder: Path) -> bool:
    if shutil.which("unshare") is None:
        return False
    command = [*MOUNT, 'mount -t tmpfs -o size=64k tmpfs "$0"', str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


def test_a_full_disk_refuses_writes_and_recovers_without_a_restart(tmp_path: Path) -> None:
    if not can_mount(tmp_path):
        pytest.skip("this machine does not let a user mount a small disk of their own")
    script = 'mount -t tmpfs -o size=6m tmpfs "$0"; "$1" -c "$2" "$0"'
    done = subprocess.run(
        [*MOUNT, script, str(tmp_path), sys.executable, FULL],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The database's disk is full: free some space")
