"""What a run keeps: which files, when they are told, and how they come back."""

import asyncio
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from aifarm.wire import agent as wire
from aifarm.wire.globs import matches
from aifarm.wire.rest import OutputFull
from aifarm.wire.types import Requirements, utc
from aifarm_agent import collecting, kept
from aifarm_agent.collecting import Seen
from aifarm_agent.events import RankKey
from aifarm_agent.kept import Kept
from aifarm_agent.outputs import Outputs
from aifarm_agent.rest import Refused

KEY = RankKey("t1", 2, 0)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------- globs


@pytest.mark.parametrize(
    ("glob", "named", "others"),
    [
        ("model.pt", ["model.pt"], ["out/model.pt", "model.pt2"]),
        ("*.pt", ["a.pt", ".hidden.pt"], ["out/a.pt"]),
        ("out", ["out", "out/a", "out/b/c"], ["outer/a"]),
        ("./out/", ["out/a"], ["a"]),
        ("out/*/last.pt", ["out/7/last.pt"], ["out/last.pt", "out/7/8/last.pt"]),
        ("out/**/last.pt", ["out/last.pt", "out/7/8/last.pt"], ["last.pt", "out/last.pt2"]),
        ("**/*.csv", ["a.csv", "x/y/a.csv"], ["a.csvs"]),
        ("run-[0-9]?/*", ["run-12/log"], ["run-x2/log", "run-1/log"]),
        ("**", ["a", "a/b"], []),
        ("a/**/**/b", ["a/b", "a/x/b"], ["a"]),
    ],
)
def test_a_glob_names_files_and_all_in_folders(
    glob: str, named: list[str], others: list[str]
) -> None:
    assert [path for path in named + others if matches(path, glob)] == named


def test_a_glob_of_many_stars_is_answered_at_once() -> None:
    assert not matches("/".join("a" * 200), "**/a/" * 60 + "b")


# ---------------------------------------------------------------- one look


class Script:
    """The run folder of a script, and what the server was told of it."""

    def __init__(self, folder: Path) -> None:
        self.run = folder
        self.work = folder / "work"
        self.work.mkdir(parents=True)
        self.told: dict[str, Seen] = {}

    def write(self, path: str, data: bytes) -> Path:
        target = self.work / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        return target

    def look(self, *globs: str, final: bool = False) -> dict[str, bytes]:
        """What is new, by path, as it would be sent."""
        self.found = collecting.look(self.run, globs, self.told, final)
        new = {one.path: one.source.read_bytes() for one in self.found.found}
        assert all(one.seen.sha256 == sha(new[one.path]) for one in self.found.found)
        self.told |= {one.path: one.seen for one in self.found.found}
        return new


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path / "t1.2.0")


def test_only_what_changed_is_new(script: Script) -> None:
    script.write("out/a", b"1")
    changing = script.write("out/b", b"1")
    script.write("other", b"x")
    assert script.look("out") == {"out/a": b"1", "out/b": b"1"}
    assert script.look("out") == {}
    changing.write_bytes(b"22")
    assert script.look("out") == {"out/b": b"22"}
    assert script.found.gone == []


def test_a_copy_is_sent_while_the_script_lives_and_the_file_itself_at_the_end(
    script: Script,
) -> None:
    file = script.write("a", b"whole")
    script.look("a")
    (copied,) = script.found.found
    file.write_bytes(b"ha")
    assert copied.source.read_bytes() == b"whole"
    script.look("a", final=True)
    assert script.found.found[0].source == file


def test_a_file_that_changes_while_it_is_read_is_left_as_it_was(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = script.write("a", b"1")
    script.look("a")
    file.write_bytes(b"half")
    copy = collecting._copy

    def slowly(*args: object) -> str:
        digest = copy(*args)  # type: ignore[arg-type]
        with file.open("ab") as writing:
            writing.write(b" and half")
        return digest

    monkeypatch.setattr(collecting, "_copy", slowly)
    assert script.look("a") == {}
    assert script.found.gone == []
    monkeypatch.undo()
    assert script.look("a") == {"a": b"half and half"}


def test_a_file_is_not_copied_onto_a_disk_that_has_no_room(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.write("a", b"1")
    usage = SimpleNamespace(free=collecting.RESERVE)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    assert script.look("a") == {}
    assert "no room" in script.found.said[0]
    assert script.look("a", final=True) == {"a": b"1"}


def test_links_lead_nowhere_but_to_files_of_the_script(script: Script, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "mount").mkdir()
    (tmp_path / "mount" / "data").write_bytes(b"data")
    (script.work / "out").symlink_to(tmp_path / "secret")
    (script.work / "mounted").symlink_to(tmp_path / "mount")
    (script.work / "nowhere").symlink_to(tmp_path / "not there")
    (script.run / "log").write_bytes(b"log")
    (script.work / "log").symlink_to(script.run / "log")
    os.mkfifo(script.work / "pipe")
    script.write("real/ckpt-2", b"2")
    (script.work / "latest").symlink_to("real/ckpt-2")
    assert script.look("**") == {"latest": b"2", "real/ckpt-2": b"2"}
    assert script.found.said == []


def test_names_that_no_message_can_carry_are_said_and_left(script: Script) -> None:
    script.write("good", b"1")
    for name in (b"bad\xff", b"new\nline", b"back\\slash"):
        Path(os.fsdecode(os.fsencode(script.work) + b"/" + name)).write_bytes(b"1")
    assert script.look("**") == {"good": b"1"}
    assert len(script.found.said) == 3


def test_more_files_than_a_task_may_keep_are_said_and_left(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "MAX_OUTPUTS", 2)
    for name in "abc":
        script.write(name, b"1")
    assert script.look("**").keys() == {"a", "b"}
    assert script.found.said == ["3 files are named by `outputs`; only the first 2 are kept."]


def test_what_the_script_removed_is_gone_but_not_what_waits_to_be_restored(script: Script) -> None:
    script.told = {"a": Seen(1, sha(b"1"), 0), "b": Seen(1, sha(b"1"), 0)}
    (script.run / "outputs").mkdir()
    (script.run / "outputs" / "a").write_bytes(b"1")
    script.look("**", final=True)
    assert script.found.gone == ["b"]
    script.work.rmdir()  # the script never began
    script.look("**", final=True)
    assert script.found.gone == []


def test_final_weights_are_kept_without_being_named(script: Script) -> None:
    (script.run / "weights.safetensors").write_bytes(b"weights")
    assert script.look(final=True) == {"weights.safetensors": b"weights"}


# ---------------------------------------------------------------- to the server and back


class FakeRest:
    """The server's side of uploads and outputs."""

    def __init__(self) -> None:
        self.uploads: dict[str, bytes] = {}
        self.kept: dict[str, bytes] = {}
        self.downloads: list[str] = []
        self.refusal: Refused | None = None

    async def upload(self, key: RankKey, file: Path, size: int, sha256: str, purpose: str) -> str:
        if self.refusal is not None:
            raise self.refusal
        assert purpose == "output"
        data = file.read_bytes()  # noqa: ASYNC240 (a test's file is small)
        assert (len(data), sha(data)) == (size, sha256)
        self.uploads[f"u{len(self.uploads)}"] = data
        return f"u{len(self.uploads) - 1}"

    async def outputs(self, task_id: str) -> list[OutputFull]:
        return [
            OutputFull(path, len(data), sha(data), 1, utc(0)) for path, data in self.kept.items()
        ]

    async def download(self, path: str, target: Path, size: int, sha256: str) -> None:
        self.downloads.append(path)
        target.write_bytes(self.kept[path.partition("/outputs/")[2]])  # noqa: ASYNC240


class Bench:
    def __init__(self, home: Path) -> None:
        self.home = home
        for name in ("runs", "kept"):
            (home / name).mkdir()
        self.rest = FakeRest()
        self.answers: asyncio.Queue[object] = asyncio.Queue()
        self.outputs = Outputs(
            home / "runs",
            home / "kept",
            self.rest,  # type: ignore[arg-type]
            lambda key, report: self.answers.put_nowait(report) is None,
        )
        self.script = Script(home / "runs" / "t1.2.0")
        (self.script.run / "task.json").write_text(json.dumps({"outputs": ["out"]}))

    async def collect(self, final: bool = False) -> object:
        self.outputs.collect(KEY, final)
        return await asyncio.wait_for(self.answers.get(), 20)

    async def restore(self, *globs: str, attempt: int = 2) -> dict[str, bytes]:
        farm = wire.FarmAssignment(
            attempt=attempt,
            rank=0,
            world_size=1,
            package=wire.PackageRef("m", "1", "0" * 64, 1),
            program=wire.Program(outputs=list(globs)),
        )
        task = wire.AssignedTask("t1", "training", {}, Requirements(), farm)
        await self.outputs.restore(KEY._replace(attempt=attempt), task)
        folder = self.home / "runs" / f"t1.{attempt}.0" / "outputs"
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }


@pytest.fixture
async def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    await bench.outputs.close()


async def test_bytes_are_sent_once_however_many_files_have_them(bench: Bench) -> None:
    for name in ("a", "b"):
        bench.script.write(f"out/{name}", b"same")
    bench.script.write("out/empty", b"")
    told = await bench.collect()
    assert {file.path: file.upload_id for file in told.files} == {
        "out/a": "u0",
        "out/b": "u0",
        "out/empty": None,
    }
    bench.script.write("out/c", b"same")
    told = await bench.collect()
    assert [(file.path, file.upload_id) for file in told.files] == [("out/c", None)]
    assert (await bench.collect(final=True)).files == []
    assert bench.rest.uploads == {"u0": b"same"}
    assert not (bench.script.run / "staging").exists()


async def test_what_was_not_told_is_told_by_a_later_agent(bench: Bench) -> None:
    """It is written down as told only when the outbox has it."""
    bench.script.write("out/a", b"1")

    heard = asyncio.Event()

    def full(key: RankKey, report: object) -> bool:
        heard.set()
        return False

    cut = Outputs(bench.home / "runs", bench.home / "kept", bench.rest, full)  # type: ignore[arg-type]
    cut.collect(KEY, final=False)
    await asyncio.wait_for(heard.wait(), 20)
    await cut.close()
    assert [file.path for file in (await bench.collect()).files] == ["out/a"]


async def test_a_removed_file_is_believed_at_the_second_look_or_at_the_end(bench: Bench) -> None:
    for name in ("a", "b"):
        bench.script.write(f"out/{name}", name.encode())
    await bench.collect()
    (bench.script.work / "out/a").unlink()
    assert (await bench.collect()).gone == []
    assert (await bench.collect()).gone == ["out/a"]
    (bench.script.work / "out/b").unlink()
    assert (await bench.collect(final=True)).gone == ["out/b"]


async def test_what_the_server_refuses_is_said_once_and_tried_again(bench: Bench) -> None:
    bench.script.write("out/a", b"1")
    bench.rest.refusal = Refused(413, "It is too large.")
    told = await bench.collect()
    assert (told.files, told.said) == ([], ["The output out/a is not kept: It is too large."])
    assert (await bench.collect()).said == []
    bench.rest.refusal = None
    assert [file.path for file in (await bench.collect()).files] == ["out/a"]


async def test_a_run_without_a_folder_keeps_nothing(bench: Bench) -> None:
    bench.outputs.collect(KEY._replace(rank=7), final=True)
    told = await asyncio.wait_for(bench.answers.get(), 20)
    assert (told.files, told.gone, told.final) == ([], [], True)


async def test_a_task_without_outputs_asks_for_nothing(bench: Bench) -> None:
    bench.rest.kept = {"out/a": b"1"}
    assert await bench.restore() == {}
    assert bench.rest.downloads == []


async def test_the_first_attempt_begins_with_what_came_from_another_task(bench: Bench) -> None:
    bench.rest.kept = {"out/a": b"1"}
    assert await bench.restore("out", attempt=1) == {"out/a": b"1"}


async def test_what_was_kept_comes_back_and_counts_as_told(bench: Bench) -> None:
    bench.rest.kept = {"out/a": b"1", "out/deep/b": b"2", "weights.safetensors": b"w"}
    assert await bench.restore("out") == {"out/a": b"1", "out/deep/b": b"2"}
    for path in ("out/a", "out/deep/b"):  # as the script door does
        (bench.script.work / path).parent.mkdir(parents=True, exist_ok=True)
        (bench.script.run / "outputs" / path).rename(bench.script.work / path)
    told = await bench.collect()
    assert (told.files, told.gone) == ([], [])


async def test_what_this_machine_has_is_not_fetched_unless_it_is_damaged(bench: Bench) -> None:
    bench.rest.kept = {"out/a": b"1", "out/b": b"2"}
    ended = bench.home / "kept" / "t1.1.0" / "out"
    ended.mkdir(parents=True)
    (ended / "a").write_bytes(b"1")
    (ended / "b").write_bytes(b"x")
    assert await bench.restore("out") == bench.rest.kept
    assert bench.rest.downloads == ["/api/v2/tasks/t1/outputs/out/b"]


async def test_what_is_both_file_and_folder_does_not_keep_the_task_from_starting(
    bench: Bench,
) -> None:
    bench.rest.kept = {"out": b"1", "out/a": b"2"}
    assert await bench.restore("out") == {"out": b"1"}


# ---------------------------------------------------------------- what is left of ended attempts


def ended(kept: Kept, home: Path, attempt: int, age: float = 0.0) -> Path:
    work = home / "work"
    work.mkdir(exist_ok=True)
    (work / "file").write_bytes(b"12345")
    kept.take(RankKey("t1", attempt, 0), work)
    folder = home / "kept" / f"t1.{attempt}.0"
    changed = folder.stat().st_mtime - age
    os.utime(folder, (changed, changed))
    return folder


def test_working_folders_stay_for_14_days(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    held = Kept(tmp_path / "kept")
    old, young = ended(held, tmp_path, 1, 14 * 86400 + 60), ended(held, tmp_path, 2, 13 * 86400)
    assert held.held() == kept.Held(2, 10)
    held.sweep()
    assert (old.exists(), young.exists()) == (False, True)


def test_the_oldest_go_early_while_the_disk_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kept").mkdir()
    held = Kept(tmp_path / "kept")
    younger, older = ended(held, tmp_path, 1, 10), ended(held, tmp_path, 2, 20)
    free = iter([kept.SHORT - 1, kept.SHORT])
    disk = lambda path: SimpleNamespace(free=next(free), total=1 << 50)  # noqa: E731
    monkeypatch.setattr("shutil.disk_usage", disk)
    held.sweep()
    assert (older.exists(), younger.exists()) == (False, True)


def test_an_empty_working_folder_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "work").mkdir()
    Kept(tmp_path / "kept").take(KEY, tmp_path / "work")
    Kept(tmp_path / "kept").take(KEY, tmp_path / "not there")
    assert list((tmp_path / "kept").iterdir()) == []
