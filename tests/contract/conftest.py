from collections.abc import Iterator
from pathlib import Path

import pytest

from databases import KINDS, empty
from integration.running import RunningServer


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    """On each of the databases that a farm may have."""
    kind: str = request.param
    database = None if kind == "sqlite" else empty(kind, tmp_path)
    with RunningServer(tmp_path / "farm", database=database) as running:
        yield running


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """For tests that leave nothing behind that another would mind; it never throttles them."""
    with RunningServer(tmp_path_factory.mktemp("farm"), rate_limit=1_000_000) as running:
        yield running
