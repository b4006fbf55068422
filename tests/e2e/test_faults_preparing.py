"""An agent that dies while it fetches what a task needs; the data come when the test lets them."""

import os
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from aifarm.local.farm import LocalFarm
from aifarm.sdk import DataRef
from e2e.packages import SLOW

DATA = b"numbers" * 100

pytestmark = pytest.mark.slow


class Source:
    """Says at once how long the data are, and sends them once `gate` is open."""

    def __init__(self) -> None:
        gate = self.gate = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(DATA)))
                self.send_header("ETag", '"1"')
                self.end_headers()
                gate.wait()
                self.wfile.write(DATA)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: object) -> None:
                """Who only looked has hung up."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.ref = DataRef(f"http://127.0.0.1:{self.server.server_port}/numbers")
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def source() -> Iterator[Source]:
    made = Source()
    yield made
    made.gate.set()
    made.server.shutdown()
    made.server.server_close()


@pytest.mark.parametrize("clients", [1, 2])
def test_the_next_agent_takes_up_what_was_being_fetched(
    tmp_path: Path, source: Source, clients: int
) -> None:
    with LocalFarm(tmp_path / "farm", agents=clients, port=None) as local, local.connect() as farm:
        task = farm.submit(
            package=farm.publish(SLOW, name="slow"),
            epochs=1,
            batch_size=2,
            config={"seconds": 0.0},
            n_clients=clients,
            distributed=clients > 1,
            data={"train": source.ref},
        )
        for line in task.logs(follow=True):
            if "fetching train" in line:
                break
        first = task.refresh().clients[0]
        agent = local.agents[first]
        os.kill(agent.pid, signal.SIGKILL)
        agent.wait()
        local.start_agent(first, local.data_dir / "agent-token")
        source.gate.set()
        task.wait(timeout=120)
        assert task.attempt == 1
