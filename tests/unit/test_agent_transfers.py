"""Packages and checkpoints to and from a scripted server."""

import asyncio
import contextlib
import hashlib
import json

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from aifarm.packages import pack_source
from aifarm.wire.agent import AssignedTask, CheckpointRef, DataRef, FarmAssignment, PackageRef
from aifarm.wire.types import Requirements
from aifarm_agent import data, events, transfers
from aifarm_agent.checkpoints import Checkpoints
from aifarm_agent.data import Cache
from aifarm_agent.events import Checkpoint, RankKey
from aifarm_agent.outputs import Outputs
from aifarm_agent.rest import Rest
from aifarm_agent.transfers import Transfers

KEY = RankKey("t1", 1, 0)
ARCHIVE = pack_source("def build_model(cfg): ...\ndef build_data(cfg): ...\n", "model", "1.0")
PACKAGE = PackageRef("model", "1.0", hashlib.sha256(ARCHIVE).hexdigest(), len(ARCHIVE))
WEIGHTS = bytes(range(256)) * 100
RESUME = CheckpointRef("c1", 7, len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest())
PART = 10_000


def assigned(package=PACKAGE, resume=None, **more):
    return AssignedTask(
        id=KEY.task_id,
        type="training",
        config={},
        requirements=Requirements(),
        farm=FarmAssignment(
            **{"attempt": 1, "rank": 0, "world_size": 1, **more}, package=package, resume=resume
        ),
    )


class Store:
    """What the scripted server has. `faults`: answers that are given first, in turn."""

    def __init__(self):
        self.files = {
            "/models/model/1.0": ARCHIVE,
            "/api/v2/tasks/t1/checkpoints/c1/data": WEIGHTS,
        }
        self.faults = []
        self.requests = []
        self.asked = asyncio.Queue()
        self.parts = {}
        self.gate = asyncio.Event()
        self.gate.set()


class Handler(RequestHandler):
    def initialize(self, store):
        self.store = store

    async def prepare(self):
        store = self.store
        store.requests.append((self.request.method, self.request.path))
        store.asked.put_nowait(self.request.path)
        assert self.request.headers["Authorization"] == "Bearer secret"
        await store.gate.wait()
        if store.faults:
            fault = store.faults.pop(0)
            if fault == "cut":
                data = store.files[self.request.path]
                self.set_header("Content-Length", len(data))
                self.write(data[: len(data) // 2])
                await self.flush()
                self.request.connection.stream.close()
                self.finish()
            else:
                self.set_status(fault)
                self.set_header("Retry-After", "0")
                self.finish({"error": {"code": "X", "message": f"Refused with {fault}."}})

    async def get(self):
        data = self.store.files.get(self.request.path)
        if data is None:
            self.set_status(404)
            self.finish({"error": {"code": "NOT_FOUND", "message": "There is no such thing."}})
            return
        first = int(self.request.headers.get("Range", "bytes=0-")[6:-1])
        if first:
            self.set_status(206)
        self.finish(data[first:])

    async def post(self):
        body = json.loads(self.request.body)
        name = body["sha256"]
        parts = sorted(number for upload, number in self.store.parts if upload == name[:8])
        self.set_status(200 if parts else 201)
        self.finish({"id": name[:8], "part_size": PART, "parts": parts})

    async def put(self):
        _, _, _, _, upload, _, number = self.request.path.split("/")
        digest = hashlib.sha256(self.request.body).hexdigest()
        assert self.request.headers["X-Content-SHA256"] == digest
        self.store.parts[upload, int(number)] = self.request.body
        self.set_status(204)


class Bench:
    """Transfers on `home`, and what they answer."""

    def __init__(self, home, base):
        self.answers = asyncio.Queue()
        for name in ("packages", "checkpoints", "data", "runs"):
            (home / name).mkdir(exist_ok=True)
        rest = Rest(lambda: base, {"Authorization": "Bearer secret"}, True)
        self.checkpoints = Checkpoints(home / "checkpoints")
        self.transfers = Transfers(
            home / "packages",
            self.checkpoints,
            Outputs(home / "runs", home / "kept", rest, lambda key, report: None),
            Cache(home / "data", home / "runs", rest, len(WEIGHTS)),
            rest,
            lambda key, task, package, resume, data: self.answers.put_nowait((package, resume)),
            lambda key, report: self.answers.put_nowait(report),
        )

    async def answer(self):
        return await asyncio.wait_for(self.answers.get(), 20)

    def checkpoint(self, home, step, final=False, best=False, content=WEIGHTS):
        content = step.to_bytes(4, "big") + content
        path = home / f"step-{step}.pt"
        path.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        return Checkpoint(str(path), step, len(content), sha256, final=final, best=best)


@pytest.fixture
async def store():
    return Store()


@pytest.fixture
async def bench(tmp_path, store):
    listener, port = bind_unused_port()
    server = HTTPServer(Application([(".*", Handler, {"store": store})]))
    server.add_socket(listener)
    bench = Bench(tmp_path, f"http://127.0.0.1:{port}")
    yield bench
    await bench.transfers.close()
    server.stop()
    await server.close_all_connections()


async def test_a_package_is_fetched_checked_unpacked_and_then_here(bench, store):
    bench.transfers.prepare(KEY, assigned())
    package, resume = await bench.answer()
    assert (package.kind, resume) == ("declarative", None)
    assert "def build_model" in (package.folder / package.entry).read_text()
    bench.transfers.prepare(KEY, assigned())
    assert await bench.answer() == (package, None)
    assert len(store.requests) == 1


async def test_the_same_package_wanted_twice_is_fetched_once(bench, store):
    for rank in (0, 1):
        bench.transfers.prepare(RankKey("t1", 1, rank), assigned())
    assert await bench.answer() == await bench.answer()
    assert len(store.requests) == 1


async def test_a_crowd_of_tasks_does_not_verify_their_package_for_each(bench, tmp_path):
    bench.transfers.prepare(KEY, assigned())
    first = await bench.answer()
    next((tmp_path / "packages").glob("*.zip")).unlink()
    bench.transfers.prepare(KEY, assigned())
    assert await bench.answer() == first


async def test_a_damaged_copy_is_fetched_anew(bench, store, tmp_path, monkeypatch):
    monkeypatch.setattr(transfers, "TRUSTED", 0.0)
    bench.transfers.prepare(KEY, assigned())
    await bench.answer()
    next((tmp_path / "packages").glob("*.zip")).write_bytes(b"damaged")
    bench.transfers.prepare(KEY, assigned())
    await bench.answer()
    assert len(store.requests) == 2


async def test_an_unknown_package_fails_in_one_sentence(bench, store):
    store.files.clear()
    bench.transfers.prepare(KEY, assigned())
    assert await bench.answer() == events.Failed(
        "package_invalid", "The package model 1.0 cannot be had: There is no such thing."
    )


async def test_a_package_that_is_not_what_was_pinned_fails(bench, store):
    store.files["/models/model/1.0"] = ARCHIVE[:-1] + b"x"
    bench.transfers.prepare(KEY, assigned())
    failed = await bench.answer()
    assert failed.cause == "package_invalid"
    assert "sha256" in failed.message


async def test_a_download_goes_on_where_it_was_cut_off(bench, store, tmp_path):
    store.faults = ["cut", 503, 429]
    bench.transfers.prepare(KEY, assigned(resume=RESUME))
    store.files["/models/model/1.0"] = ARCHIVE
    _, resume = await bench.answer()
    assert resume.read_bytes() == WEIGHTS
    assert resume.parent.parent == tmp_path / "checkpoints"


async def test_a_checkpoint_that_is_here_is_not_fetched(bench, store, tmp_path):
    bench.transfers.prepare(KEY, assigned(resume=RESUME))
    _, resume = await bench.answer()
    fetched = len(store.requests)
    bench.transfers.prepare(KEY, assigned(resume=RESUME))
    assert (await bench.answer())[1] == resume
    assert len(store.requests) == fetched
    resume.write_bytes(b"x" * len(WEIGHTS))
    bench.transfers.prepare(KEY, assigned(resume=RESUME))
    told = await bench.answer()
    assert told.kind == "checkpoint_damaged"
    assert told.message == "The checkpoint of step 7 is damaged on its disk: fetched anew."
    assert (await bench.answer())[1].read_bytes() == WEIGHTS


async def test_a_checkpoint_that_cannot_be_had_is_told(bench, store):
    del store.files["/api/v2/tasks/t1/checkpoints/c1/data"]
    bench.transfers.prepare(KEY, assigned(resume=RESUME))
    failed = await bench.answer()
    assert failed.cause == "checkpoint_damaged"
    assert failed.message.startswith("The checkpoint of step 7 cannot be had")


async def test_a_gang_gives_way_where_others_leave_no_room_for_its_data(bench, store, monkeypatch):
    monkeypatch.setattr(data, "ROOM_SECONDS", 0.01)
    monkeypatch.setattr(transfers, "GANG_WAITS", 0.01)
    refs = {}
    for name in "ab":
        content = name.encode() * len(WEIGHTS)
        sha256 = hashlib.sha256(content).hexdigest()
        store.files[f"/api/v2/data/{sha256}"] = content
        refs[name] = {"train": DataRef(f"aifarm:{sha256}", sha256, size=len(content))}

    async def end_of(key, **more):
        bench.transfers.prepare(key, assigned(**more))
        while isinstance(answer := await bench.answer(), events.LogLines):
            pass
        return answer

    await end_of(RankKey("t2", 1, 0), data=refs["a"])
    failed = await end_of(KEY, data=refs["b"], world_size=2)
    assert failed.cause == "no_room"
    assert "waited for room" in failed.message


async def test_a_checkpoint_is_stored_in_parts(bench, store, tmp_path):
    checkpoint = bench.checkpoint(tmp_path, 1)
    store.faults = [503, 500]
    bench.transfers.upload(KEY, checkpoint)
    assert await bench.answer() == events.CheckpointStored(checkpoint.sha256[:8], checkpoint)
    stored = [store.parts[key] for key in sorted(store.parts)]
    assert b"".join(stored) == (tmp_path / "step-1.pt").read_bytes()
    assert [len(part) for part in stored] == [PART, PART, 5604]


async def test_parts_that_are_stored_are_not_sent_again(bench, store, tmp_path):
    checkpoint = bench.checkpoint(tmp_path, 1)
    store.parts[checkpoint.sha256[:8], 1] = b"is there"
    bench.transfers.upload(KEY, checkpoint)
    await bench.answer()
    sent = [path for method, path in store.requests if method == "PUT"]
    assert [path[-1] for path in sent] == ["0", "2"]


async def test_a_refused_upload_is_dropped_with_the_servers_words(bench, store, tmp_path):
    store.faults = [403]
    checkpoint = bench.checkpoint(tmp_path, 1)
    bench.transfers.upload(KEY, checkpoint)
    assert await bench.answer() == events.CheckpointDropped(checkpoint, "Refused with 403.")


async def test_a_vanished_file_is_dropped(bench, tmp_path):
    checkpoint = bench.checkpoint(tmp_path, 1)
    (tmp_path / "step-1.pt").unlink()
    bench.transfers.upload(KEY, checkpoint)
    assert isinstance(await bench.answer(), events.CheckpointDropped)


async def test_newer_checkpoints_take_the_place_of_those_that_wait(bench, store, tmp_path):
    store.gate.clear()
    going = [bench.checkpoint(tmp_path, step) for step in (1, 2)]
    final = bench.checkpoint(tmp_path, 3, final=True)
    waiting = [bench.checkpoint(tmp_path, step) for step in (4, 5)]
    for checkpoint in going:
        bench.transfers.upload(KEY, checkpoint)
        await store.asked.get()
    bench.transfers.upload(KEY, final)
    for checkpoint in waiting:
        bench.transfers.upload(KEY, checkpoint)
    dropped = await bench.answer()
    assert isinstance(dropped, events.CheckpointDropped)
    assert dropped.checkpoint == waiting[0]
    store.gate.set()
    stored = [(await bench.answer()).checkpoint.step for _ in range(4)]
    assert sorted(stored) == [1, 2, 3, 5]


async def test_the_best_checkpoint_waits_until_there_is_a_better_one(bench, store, tmp_path):
    store.gate.clear()
    for step in (1, 2):  # as many as go at once
        bench.transfers.upload(KEY, bench.checkpoint(tmp_path, step))
        await store.asked.get()
    bench.transfers.upload(KEY, bench.checkpoint(tmp_path, 3, best=True))
    bench.transfers.upload(KEY, bench.checkpoint(tmp_path, 4))
    bench.transfers.upload(KEY, bench.checkpoint(tmp_path, 5))
    assert (await bench.answer()).checkpoint.step == 4
    bench.transfers.upload(KEY, bench.checkpoint(tmp_path, 6, best=True))
    assert {(await bench.answer()).checkpoint.step for _ in range(2)} == {3, 5}
    store.gate.set()
    assert {(await bench.answer()).checkpoint.step for _ in range(3)} == {1, 2, 6}


async def test_what_was_cancelled_is_not_answered(bench, store, tmp_path):
    store.gate.clear()
    bench.transfers.prepare(KEY, assigned())
    bench.transfers.upload(KEY, bench.checkpoint(tmp_path, 1))
    bench.transfers.cancel(KEY)
    store.gate.set()
    other = RankKey("t2", 1, 0)
    bench.transfers.prepare(other, assigned())
    await bench.answer()
    with contextlib.suppress(asyncio.QueueEmpty):
        raise AssertionError(bench.answers.get_nowait())
