"""Two servers on one PostgreSQL: the one that leads is killed while a task trains."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

import aifarm
from databases import Cluster
from e2e.packages import SLOW
from integration.running import RunningServer

EPOCHS, STEPS = 12, 12 * 10


@contextmanager
def agent(servers: Sequence[RunningServer], folder: Path) -> Iterator[None]:
    token_file = folder / "agent-token"
    token_file.write_text(servers[0].token("agent"))
    command = [sys.executable, "-m", "aifarm_agent", "--client-id", "ws1", "--grace", "2"]
    command += ["--token-file", str(token_file), "--work-dir", str(folder / "agent")]
    for server in servers:
        command += ["--server", server.url.replace("http", "ws", 1)]
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            started = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            process.wait()
            for child in started:
                with suppress(psutil.NoSuchProcess):
                    child.kill()


@pytest.mark.slow
def test_a_standby_takes_over_and_the_same_attempt_goes_on(tmp_path: Path) -> None:
    cluster = Cluster.shared()
    settings = {
        "database": cluster.empty(),
        "artifacts": (tmp_path / "artifacts").as_uri(),
        "lease": 10.0,
        "heartbeat": 0.5,
        "reattach": 30.0,
    }
    with (
        RunningServer(tmp_path / "first", **settings) as first,
        RunningServer(tmp_path / "second", **settings) as second,
        agent([first, second], tmp_path),
        aifarm.connect([first.url, second.url], first.admin_token) as farm,
    ):
        package = farm.publish(SLOW, name="slow")
        task = farm.submit(package=package, epochs=EPOCHS, batch_size=2, config={"seconds": 0.06})
        for _ in task.watch():
            if task.checkpoints():
                break
        acknowledged = task.metrics(names=["loss"], points=None)["loss"]["step"]
        assert 0 < len(acknowledged) < STEPS
        first.kill()
        task.wait(timeout=90)
        assert farm.url == second.url
        assert (task.status, task.attempt) == ("completed", 1)
        steps = task.metrics(names=["loss"], points=None)["loss"]["step"]
        assert steps == list(range(1, STEPS + 1))
        assert task.checkpoints()[0].step == STEPS
    cluster.drop(settings["database"])
