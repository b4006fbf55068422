"""A real farm for each module: server, agents, warm processes, PyTorch."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from aifarm import Farm
from aifarm.local.farm import LocalFarm

# Times of a lab's farm are minutes; a test's are seconds.
HASTY = ("--lease", "3", "--heartbeat", "0.5", "--reattach", "8")


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalFarm]:
    """A farm with two agents, to be broken."""
    with LocalFarm(tmp_path / "a farm", agents=2, port=None, server_options=HASTY) as farm:
        yield farm


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFarm]:
    """A farm with three agents that nothing happens to."""
    folder = tmp_path_factory.mktemp("farm")
    with LocalFarm(folder, agents=3, server_options=HASTY) as farm:
        yield farm


@pytest.fixture
def farm(calm: LocalFarm) -> Iterator[Farm]:
    with calm.connect() as connected:
        yield connected
