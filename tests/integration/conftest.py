import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from databases import SERVERS, empty
from integration.running import RunningServer
from warm import WarmProcess


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    with RunningServer(tmp_path / "farm data", database=database(request, tmp_path)) as running:
        yield running


@pytest.fixture(scope="module", params=SERVERS)
def shared_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """For tests that leave nothing behind that another would mind; it never throttles them."""
    folder = tmp_path_factory.mktemp("farm")
    with RunningServer(folder, database=database(request, folder), rate_limit=1_000_000) as running:
        yield running


def database(request: pytest.FixtureRequest, folder: Path) -> str | None:
    """SQLite lies in the data folder by default."""
    kind: str = request.param
    return None if kind == "sqlite" else empty(kind, folder)


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmProcess]:
    """One for all tests of a module: each starts training of its own in it."""
    process = WarmProcess(tmp_path_factory.mktemp("warm")).connect()
    yield process
    process.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "farm.pem", folder / "farm.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "1", "-subj", "/CN=farm", "-keyout", str(key)),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key
