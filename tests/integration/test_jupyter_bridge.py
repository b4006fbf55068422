"""A farm by way of the kernel: what a page asks a widget's kernel, and hears of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from aifarm.sdk.config import Address
from aifarm_jupyter.bridge import Bridge
from integration.running import RunningServer, free_port

Ask = Callable[..., dict[str, Any]]


@contextmanager
def bridge(address: Address) -> Iterator[Ask]:
    """Says something to it, and gives what is answered first."""
    told: SimpleQueue[dict[str, Any]] = SimpleQueue()
    made = Bridge(address, told.put)

    def ask(**message: str) -> dict[str, Any]:
        made.heard(message)
        return told.get(timeout=60)

    yield ask
    made.close()


def test_a_farm_with_a_certificate_of_the_labs_own_is_trusted_as_the_sdk_does(
    tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = map(str, certificate)
    monkeypatch.setenv("SSL_CERT_FILE", cert)
    farm = RunningServer(tmp_path / "farm", certfile=cert, keyfile=key)
    farm.url = farm.url.replace("http:", "https:")
    with farm:
        with bridge(Address(farm.url, farm.admin_token)) as ask:
            answer = ask(type="ask", id="1", method="GET", path="/api/v2/tasks")
            assert answer["status"] == 200, answer["text"]
            assert ask(type="open", id="2") == {"type": "opened", "id": "2"}
        monkeypatch.delenv("SSL_CERT_FILE")
        with bridge(Address(farm.url, farm.admin_token)) as ask:
            answer = ask(type="ask", id="1", method="GET", path="/api/v2/tasks")
            assert answer["status"] == 502


def test_of_several_servers_the_one_that_answers_is_asked(tmp_path: Path) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    with RunningServer(tmp_path / "farm") as farm:
        with bridge(Address(dead, farm.admin_token, others=(farm.url,))) as ask:
            answer = ask(type="ask", id="1", method="GET", path="/api/v2/tasks")
            assert answer["status"] == 200, answer["text"]
        with bridge(Address(dead, farm.admin_token, others=(farm.url,))) as ask:
            assert ask(type="open", id="1") == {"type": "closed", "id": "1"}
            assert ask(type="open", id="2") == {"type": "opened", "id": "2"}
