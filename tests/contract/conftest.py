from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.running import RunningServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with RunningServer(tmp_path / "farm") as running:
        yield running


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """For tests that leave nothing behind that another would mind; it never throttles them."""
    with RunningServer(tmp_path_factory.mktemp("farm"), rate_limit=1_000_000) as running:
        yield running
