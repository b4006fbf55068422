"""A farm of one's own behind Jupyter: shared, taken over, and honest about what is wrong."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from aifarm import Farm
from aifarm.sdk import connect
from aifarm.sdk.config import from_farm_file, read_token
from integration.jupyter import Jupyter
from integration.running import SLOW_MODEL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Nothing of it runs on after the test: what trained there was left to a next Jupyter."""
    yield tmp_path
    left = [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(tmp_path) in word for word in process.info["cmdline"] or [])
    ]
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=60)


def farm_of(home: Path) -> Farm:
    """As the person who works there."""
    data = home / ".local/share/aifarm/lab"
    address = from_farm_file(data / "server/farm.json")
    assert address is not None
    return connect(address.url, read_token(data / "lab-token"))


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_two_jupyters_share_a_farm_and_the_second_takes_over_what_trains(
    home: Path, end: str
) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(Jupyter(home))
        assert first.until("leading")["problem"] is None
        second = stack.enter_context(Jupyter(home))
        url = second.until("following")["url"]
        with farm_of(home) as farm:
            package = farm.publish(SLOW_MODEL, name="lasting")
            task = farm.submit(package=package, epochs=100_000)
            next(seen for seen in task.watch() if seen.progress)
            before = task.info.attempt
        cells = stack.enter_context(second.kernel())
        assert cells.run("import aifarm; farm = aifarm.connect(); print(farm.url)") == f"{url}\n"

        getattr(first, end)()
        found = second.until("leading")
        assert second.http().get("/api/v2/token").status_code == 200
        assert second.snapshot()["type"] == "snapshot"
        # What was connected goes on, and what connects now finds the farm.
        assert cells.run("print(farm.my_token().role)") == "admin\n"
        assert cells.run("print(aifarm.connect().url)") == f"{found['url']}\n"
        with farm_of(home) as farm:
            task = farm.task(task.id)
            step = task.info.progress
            next(seen for seen in task.watch() if seen.status == "running" and seen.progress > step)
            assert task.info.attempt == before
            task.stop()
            task.wait(timeout=120)


def test_a_folder_that_cannot_be_used_is_told_to_who_looks(home: Path) -> None:
    with Jupyter(home, "c.AIFarm.data_dir = '/proc/nothing'") as jupyter:
        problem = jupyter.until("away")["problem"]
        assert "/proc/nothing cannot be used" in problem
        assert "c.AIFarm.data_dir" in problem
        assert jupyter.http().get("/api/v2/tasks").json()["error"]["message"] == problem


def test_a_farm_that_cannot_start_says_why_and_comes_once_it_can(home: Path) -> None:
    database = home / "data/server/farm.db"
    database.parent.mkdir(parents=True)
    database.write_bytes(b"this is no database " * 400)
    with Jupyter(home, f"c.AIFarm.data_dir = '{home}/data'\nc.AIFarm.agents = 0") as jupyter:
        problem = jupyter.until("away")["problem"]
        assert "The server ended" in problem
        assert "Traceback" not in problem
        database.unlink()
        assert jupyter.until("leading")["problem"] is None


def test_a_token_of_an_earlier_farm_is_replaced(home: Path) -> None:
    (home / "data").mkdir()
    (home / "data/lab-token").write_text("of a farm that is no more\n")
    with Jupyter(home, f"c.AIFarm.data_dir = '{home}/data'\nc.AIFarm.agents = 0") as jupyter:
        jupyter.until("leading")
        assert jupyter.http().get("/api/v2/token").json()["role"] == "admin"
