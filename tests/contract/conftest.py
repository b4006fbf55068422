from collections.abc import Iterator
from pathlib import Path

import pytest

from databases import SERVERS
from integration.conftest import database, shared_server
from integration.running import RunningServer

__all__ = ["shared_server"]


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    """On each of the databases that a farm may have."""
    with RunningServer(tmp_path / "farm", database=database(request, tmp_path)) as running:
        yield running
