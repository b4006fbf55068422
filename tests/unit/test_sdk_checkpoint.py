"""Downloads: verified, resumed, and never left half done under the final name."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
import pytest

from aifarm.sdk import Checkpoint, CorruptDownload, FarmUnreachable, Output
from aifarm.sdk import download as module
from aifarm.sdk.config import Address
from aifarm.sdk.http import Http
from aifarm.wire.rest import CheckpointFull, OutputFull

DATA = bytes(range(256)) * 64
SHA = hashlib.sha256(DATA).hexdigest()


class Cut(httpx.SyncByteStream):
    """A body that breaks off after `stop` bytes."""

    def __init__(self, data: bytes, stop: int) -> None:
        self.data, self.stop = data, stop

    def __iter__(self) -> Iterator[bytes]:
        yield self.data[: self.stop]
        raise httpx.ReadError("connection reset")


class Storage:
    """Serves DATA with Range; `cuts` says after how many bytes each answer breaks off."""

    def __init__(self, *cuts: int, ranges: bool = True) -> None:
        self.cuts = list(cuts)
        self.ranges = ranges
        self.starts: list[int] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        header = request.headers.get("Range", "bytes=0-")
        start = int(header.removeprefix("bytes=").rstrip("-")) if self.ranges else 0
        if start:
            assert request.headers["If-Range"] == f'"{SHA}"'
        self.starts.append(start)
        status = 206 if start else 200
        rest = DATA[start:]
        if self.cuts:
            stream = Cut(rest, self.cuts.pop(0))
            return httpx.Response(status, stream=stream)
        return httpx.Response(status, content=rest)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "sleep", lambda seconds: None)


def checkpoint(storage: Storage, sha256: str = SHA) -> Checkpoint:
    info = CheckpointFull(
        id="c1",
        attempt=1,
        step=7,
        epoch=1,
        progress=50.0,
        size=len(DATA),
        sha256=sha256,
        metrics={},
        final=False,
        path="api/v2/tasks/t1/checkpoints/c1/data",
        created_at=datetime.now(UTC),
    )
    return Checkpoint(http(storage), "t1", info)


def output(storage: Storage, path: str, size: int = len(DATA), sha256: str = SHA) -> Output:
    return Output(http(storage), "t1", OutputFull(path, size, sha256, 1, datetime.now(UTC)))


def http(storage: Storage) -> Http:
    return Http(Address("http://127.0.0.1:9", "t"), transport=httpx.MockTransport(storage))


def test_a_download_is_whole_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = checkpoint(Storage()).download(tmp_path / "model.pt")
    assert path.read_bytes() == DATA
    assert list(tmp_path.iterdir()) == [path]


def test_into_a_folder_the_file_is_named_after_task_and_step(tmp_path: Path) -> None:
    assert checkpoint(Storage()).download(tmp_path) == tmp_path / "t1-step-7.pt"


def test_a_download_that_breaks_off_goes_on_where_it_was(tmp_path: Path) -> None:
    storage = Storage(1000, 24)
    assert checkpoint(storage).download(tmp_path / "model.pt").read_bytes() == DATA
    assert storage.starts == [0, 1000, 1024]


def test_a_later_call_goes_on_where_the_earlier_gave_up(tmp_path: Path) -> None:
    with pytest.raises(FarmUnreachable):
        checkpoint(Storage(*[1000] + [0] * 50)).download(tmp_path / "model.pt")
    assert not (tmp_path / "model.pt").exists()
    storage = Storage()
    checkpoint(storage).download(tmp_path / "model.pt")
    assert storage.starts == [1000]


def test_a_server_without_ranges_starts_again_and_the_bytes_are_right(tmp_path: Path) -> None:
    storage = Storage(1000, ranges=False)
    assert checkpoint(storage).download(tmp_path / "model.pt").read_bytes() == DATA
    assert storage.starts == [0, 0]


def test_other_bytes_than_promised_are_refused_and_not_kept(tmp_path: Path) -> None:
    with pytest.raises(CorruptDownload, match="sha256"):
        checkpoint(Storage(), sha256="0" * 64).download(tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_is_whole_at_once(tmp_path: Path) -> None:
    storage = Storage()
    output(storage, "a/b", size=0, sha256=hashlib.sha256().hexdigest()).download(tmp_path)
    assert (tmp_path / "b").read_bytes() == b""


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/x", "a\\x", "a\0"])
def test_a_path_that_could_lead_elsewhere_is_no_answer_of_a_farm(path: str) -> None:
    said = {"size": 1, "sha256": SHA, "attempt": 1, "created_at": "2026-01-01T00:00:00Z"}
    assert msgspec.convert({"path": "a/x", **said}, OutputFull).path == "a/x"
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"path": path, **said}, OutputFull)


def test_an_output_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path)
    with pytest.raises(CorruptDownload, match="would not be written under"):
        output(Storage(), "link/x").download_under(tmp_path / "out")


def test_an_output_lies_at_its_path_under_the_folder(tmp_path: Path) -> None:
    written = output(Storage(100), "runs/1/model.pt").download_under(tmp_path)
    assert written == tmp_path / "runs" / "1" / "model.pt"
    assert written.read_bytes() == DATA


def test_what_is_there_already_is_not_fetched_again(tmp_path: Path) -> None:
    storage = Storage()
    checkpoint(storage).download(tmp_path / "model.pt")
    checkpoint(storage).download(tmp_path / "model.pt")
    assert len(storage.starts) == 1
