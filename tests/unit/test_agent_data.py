"""The cache of data: from where it is fetched, how often, and what becomes of it."""

import asyncio
import hashlib
import io
import os
import tarfile

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from aifarm.wire.agent import DataRef
from aifarm_agent import data, sources
from aifarm_agent.data import Cache, Crowded
from aifarm_agent.events import RankKey
from aifarm_agent.rest import Rest
from aifarm_agent.sources import Unobtainable

KEY, OTHER = RankKey("t1", 1, 0), RankKey("t2", 1, 0)
BYTES = bytes(range(256)) * 400
HASH = hashlib.sha256(BYTES).hexdigest()


class Web(RequestHandler):
    """Serves `files`, with ranges and versions. `faults`: statuses, or "cut", that come first."""

    def initialize(self, web):
        self.web = web

    async def get(self):
        self.web.asked.append((self.request.path, self.request.headers.get("Range")))
        self.web.came.set()
        await self.web.gate.wait()
        content = self.web.files.get(self.request.path)
        if content is None:
            self.set_status(404)
            return
        fault = self.web.faults.pop(0) if self.web.faults else None
        if isinstance(fault, int):
            self.set_status(fault)
            return
        version = hashlib.sha256(content).hexdigest()[:8]
        self.set_header("ETag", f'"{version}"')
        first = int(self.request.headers.get("Range", "bytes=0-")[6:-1])
        if first:
            self.set_status(206)
        if fault == "cut":
            self.set_header("Content-Length", len(content) - first)
            self.write(content[first : first + len(content) // 2])
            await self.flush()
            self.request.connection.stream.close()
        else:
            self.finish(content[first:])

    def compute_etag(self):
        return None


class Site:
    def __init__(self):
        self.files = {"/x": BYTES}
        self.faults = []
        self.asked = []
        self.came = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        listener, port = bind_unused_port()
        self.server = HTTPServer(Application([(".*", Web, {"web": self})]))
        self.server.add_socket(listener)
        self.url = f"http://127.0.0.1:{port}"


@pytest.fixture
async def web(monkeypatch):
    monkeypatch.setattr(sources, "PATIENCE", 0.5)
    site = Site()
    yield site
    site.server.stop()
    await site.server.close_all_connections()


class Home:
    """A cache on `path`, and what it tells."""

    def __init__(self, path, url="", limit=1 << 20):
        self.path = path
        for name in ("data", "runs"):
            (path / name).mkdir(exist_ok=True)
        self.told = []
        self.news = asyncio.Queue()
        self.rest = Rest(lambda: url, {}, True)
        self.cache = Cache(path / "data", path / "runs", self.rest, limit)

    async def get(self, ref, key=KEY, name="train"):
        found = await self.cache.get(key, {name: ref}, self.tell)
        return found[name]

    def tell(self, words):
        self.told.append(words)
        self.news.put_nowait(words)

    def link(self, found, key=KEY):
        """As a run folder does."""
        folder = self.path / "runs" / f"{key.task_id}.1.0" / "data"
        folder.mkdir(parents=True)
        (folder / "train").symlink_to(found.path)
        self.cache.release(key)

    def disk(self):
        """Bytes of contents."""
        files = (path for path in (self.path / "data").rglob("*") if path.is_file())
        return sum(path.stat().st_size for path in files if path.name != "entry.json")


@pytest.fixture
async def home(tmp_path, web):
    home = Home(tmp_path, web.url)
    yield home
    await home.rest.close()


def tar(**files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


async def test_two_tasks_that_want_the_same_fetch_it_once(home, web):
    ref = DataRef(f"{web.url}/x", HASH, size=len(BYTES))
    first, second = await asyncio.gather(home.get(ref), home.get(ref, OTHER))
    assert first == second
    assert first.path.read_bytes() == BYTES
    assert (first.stored.size, first.stored.sha256) == (len(BYTES), HASH)
    assert len(web.asked) == 1
    assert home.told[0].startswith("fetching train: 100 KiB from http://127.0.0.1")
    assert "fetched in" in home.told[1]
    assert home.told[2] == "train: 100 KiB, on this client already"


async def test_a_fetch_goes_on_where_it_was_cut_off(home, web, monkeypatch):
    monkeypatch.setattr(sources, "PATIENCE", 60.0)
    web.faults = ["cut", 503, "cut"]
    found = await home.get(DataRef(f"{web.url}/x", HASH, size=len(BYTES)))
    assert found.path.read_bytes() == BYTES
    assert web.asked[1][1] == f"bytes={len(BYTES) // 2}-"


async def test_another_agent_goes_on_with_what_this_one_left(home, web, tmp_path):
    web.faults = ["cut", *[503] * 100]
    ref = DataRef(f"{web.url}/x", HASH, size=len(BYTES))
    with pytest.raises(Unobtainable, match="answers 503"):
        await home.get(ref)
    web.faults = []
    again = Home(tmp_path, web.url)
    assert again.cache.size == len(BYTES) // 2
    assert (await again.get(ref)).path.read_bytes() == BYTES
    assert web.asked[-1][1] == f"bytes={len(BYTES) // 2}-"


async def test_what_began_as_something_else_is_fetched_anew(home, web, tmp_path):
    (tmp_path / "data" / f"{HASH}.part").write_bytes(b"something else")
    found = await home.get(DataRef(f"{web.url}/x", HASH, size=len(BYTES)))
    assert found.path.read_bytes() == BYTES


async def test_other_bytes_than_the_hash_says_are_refused_and_not_kept(home, web):
    web.files["/x"] = b"other"
    with pytest.raises(Unobtainable) as refused:
        await home.get(DataRef(f"{web.url}/x".replace("//", "//me:secret@"), HASH))
    words = str(refused.value)
    assert "'train'" in words
    assert "its sha256 is" in words
    assert "secret" not in words + "".join(home.told)
    assert home.disk() == home.cache.size == 0


async def test_without_a_hash_it_is_fetched_again_when_its_version_is_another(home, web):
    ref = DataRef(f"{web.url}/x")
    first = await home.get(ref)
    assert (first.stored.sha256, first.stored.version) == (HASH, f'"{HASH[:8]}"')
    assert await home.get(ref) == first
    web.files["/x"] = b"newer"
    assert (await home.get(ref)).path.read_bytes() == b"newer"
    assert first.path.read_bytes() == BYTES


async def test_what_is_not_there_fails_in_one_sentence(home, web):
    with pytest.raises(Unobtainable) as refused:
        await home.get(DataRef(f"{web.url}/nothing"))
    url = f"{web.url}/nothing"
    words = f"The data 'train' ({url}) cannot be had: its server answers 404 Not Found."
    assert str(refused.value) == words
    web.server.stop()
    await web.server.close_all_connections()
    with pytest.raises(Unobtainable, match="connection"):
        await home.get(DataRef(f"{web.url}/x"))


async def test_the_farms_own_data_comes_from_the_farm(home, web):
    web.files[f"/api/v2/data/{HASH}"] = BYTES
    web.faults = [503, "cut"]
    found = await home.get(DataRef(f"aifarm:{HASH}", HASH, size=len(BYTES)))
    assert found.path.read_bytes() == BYTES
    missing = "0" * 64
    with pytest.raises(Unobtainable, match="answered 404"):
        await home.get(DataRef(f"aifarm:{missing}", missing, size=3))


async def test_a_file_is_read_by_its_own_process(home, tmp_path):
    path = tmp_path / "a file.bin"
    path.write_bytes(BYTES)
    found = await home.get(DataRef(f"file://{path}"))
    assert found.path.read_bytes() == BYTES
    assert found.stored.version == str(path.stat().st_mtime)
    assert not os.stat(found.path).st_mode & 0o222
    with pytest.raises(Unobtainable, match=r"'train' \(file:///no/such\) .*No such file"):
        await home.get(DataRef("file:///no/such"))
    with pytest.raises(Unobtainable, match="is a folder"):
        await home.get(DataRef(f"file://{tmp_path}"))
    with pytest.raises(Unobtainable, match="Protocol not known"):
        await home.get(DataRef("nonsense://x"))


async def test_a_tar_archive_becomes_a_folder(home, web):
    web.files["/x.tar"] = tar(a=b"1", deep__b=b"2")
    found = await home.get(DataRef(f"{web.url}/x.tar", folder=True))
    assert (found.path / "deep" / "b").read_bytes() == b"2"
    assert found.stored.sha256 == hashlib.sha256(web.files["/x.tar"]).hexdigest()
    assert (await home.get(DataRef(f"{web.url}/x.tar"))).path.is_file()


async def test_row_15_an_archive_reaches_nothing_outside(home, web, tmp_path):
    web.files["/x.tar"] = tar(**{"..__out": b"1"})
    with pytest.raises(Unobtainable, match="cannot be unpacked"):
        await home.get(DataRef(f"{web.url}/x.tar", folder=True))
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    web.files["/x.tar"] = link.tobuf() + bytes(1024)
    with pytest.raises(Unobtainable, match="no regular file"):
        await home.get(DataRef(f"{web.url}/x.tar", folder=True))
    assert home.disk() == 0
    assert not list(tmp_path.rglob("out"))


async def test_what_was_used_longest_ago_goes_when_there_is_no_room(tmp_path, web):
    home = Home(tmp_path, web.url, limit=1000)
    for name in "abc":
        web.files[f"/{name}"] = name.encode() * 400
    found = {}
    for name in "ab":
        found[name] = await home.get(DataRef(f"{web.url}/{name}"))
        home.cache.release(KEY)
    await home.get(DataRef(f"{web.url}/a"))
    home.cache.release(KEY)
    await home.get(DataRef(f"{web.url}/c"))
    assert found["a"].path.exists()
    assert not found["b"].path.exists()
    assert home.disk() == home.cache.size == 800


async def test_what_a_rank_uses_stays_also_after_a_restart_of_the_agent(tmp_path, web, monkeypatch):
    monkeypatch.setattr(data, "ROOM_SECONDS", 0.01)
    home = Home(tmp_path, web.url, limit=1000)
    web.files |= {"/a": b"a" * 600, "/b": b"b" * 600}
    used = await home.get(DataRef(f"{web.url}/a"))
    home.link(used)
    again = Home(tmp_path, web.url, limit=1000)
    waiting = asyncio.create_task(again.get(DataRef(f"{web.url}/b"), OTHER))
    assert (await again.news.get()).startswith("waiting for room in the cache")
    assert used.path.exists()
    (tmp_path / "runs" / "t1.1.0" / "data" / "train").unlink()
    assert (await waiting).path.read_bytes() == b"b" * 600
    assert not used.path.exists()


async def test_of_two_gangs_that_hold_what_the_other_waits_for_one_gives_way(
    tmp_path, web, monkeypatch
):
    monkeypatch.setattr(data, "ROOM_SECONDS", 0.01)
    web.files |= {"/a": b"a" * 600, "/b": b"b" * 600}
    homes = {}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        homes[name] = Home(tmp_path / name, web.url, limit=1000)
    one, two = homes.values()
    one.link(await one.get(DataRef(f"{web.url}/a")), KEY)
    two.link(await two.get(DataRef(f"{web.url}/b")), OTHER)
    refs = {name: {"train": DataRef(f"{web.url}/{name}")} for name in "ab"}
    waits = asyncio.create_task(one.cache.get(OTHER, refs["b"], one.tell))
    with pytest.raises(Crowded, match="waited for room"):
        await two.cache.get(KEY, refs["a"], two.tell, patience=0.05)
    (tmp_path / "one" / "runs" / "t1.1.0" / "data" / "train").unlink()  # its attempt is over
    assert (await waits)["train"].path.read_bytes() == b"b" * 600


async def test_what_never_fits_is_refused(tmp_path, web):
    home = Home(tmp_path, web.url, limit=1000)
    web.files |= {"/a": b"a" * 600, "/b": b"b" * 600}
    with pytest.raises(Unobtainable, match="larger than this client's cache"):
        await home.get(DataRef(f"{web.url}/x"))
    refs = {name: DataRef(f"{web.url}/{name}") for name in "ab"}
    with pytest.raises(Unobtainable, match="a, b are together larger"):
        await home.cache.get(KEY, refs, home.tell)


async def test_a_fetch_that_is_cancelled_leaves_the_other_task_its_own(home, web):
    web.gate.clear()
    ref = DataRef(f"{web.url}/x", HASH, size=len(BYTES))
    first = asyncio.create_task(home.get(ref))
    second = asyncio.create_task(home.get(ref, OTHER))
    await web.came.wait()
    first.cancel()
    web.gate.set()
    assert (await second).path.read_bytes() == BYTES


async def test_a_stalled_reader_is_ended(home, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "STALLED", 0.3)
    monkeypatch.setattr(sources, "PATIENCE", 0.0)
    os.mkfifo(tmp_path / "pipe")  # opening it waits for a writer that never comes
    with pytest.raises(Unobtainable, match="nothing came for"):
        await home.get(DataRef(f"file://{tmp_path}/pipe", HASH))


async def test_a_long_fetch_says_how_far_it_is(home, web, monkeypatch):
    monkeypatch.setattr(data, "TOLD_SECONDS", 0.01)
    web.gate.clear()
    work = asyncio.create_task(home.get(DataRef(f"{web.url}/x", HASH, size=len(BYTES))))
    await home.news.get()
    assert await home.news.get() == "fetching train: 0 %"
    web.gate.set()
    await work
