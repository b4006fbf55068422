"""Other Pythons on a machine, and the paths that it can read, as its agent tells of them."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from aifarm_agent import environments
from aifarm_agent.cli import main
from aifarm_agent.environments import OWN, Unfit, advertised, examine, surroundings
from aifarm_agent.paths import Paths, readable
from aifarm_agent.warm import WarmError
from aifarm_agent.warmth import WarmProcesses
from aifarm_agent.workdir import WorkDir


def fake(folder: Path, answer: str) -> str:
    """A program that answers as a Python would."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\n")
    path.chmod(0o700)
    return str(path)


async def test_the_own_python_is_advertised_and_the_unfit_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = await advertised({"lab": sys.executable, "none": str(tmp_path / "no")})
    assert [one.name for one in found] == [OWN, "lab"]
    own, lab = found
    assert own.torch == lab.torch == __import__("torch").__version__
    assert own.python == ".".join(map(str, sys.version_info[:3]))
    (record,) = caplog.records
    assert record.message == (
        f"The environment none is left out: {tmp_path}/no cannot be run"
        " (No such file or directory)."
    )


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ('{"python": "3.8.10", "torch": null, "cuda": null}', "and training needs 3.9 or newer"),
        ('{"python": "3.12.1", "torch": null, "cuda": null}', "has no torch"),
        ("Usage: a program of another kind", "is no Python that works"),
        ("", "is no Python that works"),
        ("[]", "is no Python that works"),
    ],
)
async def test_a_python_that_cannot_train_is_refused_in_one_sentence(
    tmp_path: Path, answer: str, words: str
) -> None:
    python = fake(tmp_path, answer)
    with pytest.raises(Unfit, match=words) as refused:
        await examine("lab", python)
    assert str(refused.value).startswith(f"The environment lab is left out: {python} ")
    assert "\n" not in str(refused.value)


def test_another_python_gets_nothing_of_the_agents_own(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "AIFARM_TOKEN": "secret", "PYTHONPATH": "/ours", "PYTHONHOME": "/ours",
        "VIRTUAL_ENV": "/ours", "CONDA_PREFIX": "/ours", "PATH": "/usr/bin", "LANG": "C.UTF-8",
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    env = surroundings("/lab/bin/python", Path("/work/runtime"))
    assert not {"AIFARM_TOKEN", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX"} & env.keys()
    assert env["PYTHONPATH"] == "/work/runtime"
    assert (env["PATH"], env["LANG"]) == ("/lab/bin:/usr/bin", "C.UTF-8")


def test_the_runtime_holds_the_training_code_and_nothing_else(tmp_path: Path) -> None:
    for _ in range(2):  # again, as after an update
        folder = environments.runtime(tmp_path / "runtime")
    assert sorted(os.listdir(folder / "aifarm")) == ["__init__.py", "train"]
    assert os.listdir(folder) == ["aifarm"]
    assert (folder / "aifarm" / "train" / "zygote.py").is_file()


async def test_an_environment_that_is_gone_is_told(tmp_path: Path) -> None:
    warm = WarmProcesses(WorkDir(tmp_path), {}, lambda warm: None, 60.0)
    with pytest.raises(WarmError, match="This agent has no environment lab any more"):
        warm.of("lab")
    assert warm.of(OWN) is warm.of(None) is warm.own
    await warm.close(end=False)


@pytest.mark.slow
async def test_an_idle_environment_is_left_and_found_again(tmp_path: Path) -> None:
    folder = WorkDir(tmp_path)
    warm = WarmProcesses(folder, {"lab": sys.executable}, lambda warm: None, 60.0)
    first = warm.of("lab")
    pid = (await first.ask("hello"))["pid"]
    warm.rest([first], now=0.0)
    warm.rest([], now=1.0)
    warm.rest([], now=60.0)
    assert first.connected
    warm.rest([], now=61.0)
    assert not first.connected
    assert (await warm.of("lab").ask("hello"))["pid"] == pid
    warm.of("lab").hang_up()
    later = WarmProcesses(folder, {"lab": sys.executable}, lambda warm: None, 60.0)
    assert await later.find() == {}
    assert later.of("lab").connected
    await later.close(end=True)
    await warm.close(end=True)


# ---------------------------------------------------------------- paths


def test_a_folder_is_readable_where_it_can_be_entered(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert readable(str(tmp_path))
    assert readable(str(tmp_path / "file"))
    assert not readable(str(tmp_path / "missing"))


async def test_what_becomes_readable_is_told_and_what_hangs_keeps_no_other_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: asyncio.Queue[dict[str, bool]] = asyncio.Queue()
    hangs, here, later = (str(tmp_path / name) for name in ("hangs", "here", "later"))
    os.mkdir(here)
    os.mkfifo(hangs)
    monkeypatch.setattr(
        "aifarm_agent.paths.readable",
        lambda path: bool(Path(path).read_text()) if path == hangs else readable(path),
    )
    monkeypatch.setattr("aifarm_agent.paths.AGAIN", 0.05)
    monkeypatch.setattr("aifarm_agent.paths.PATIENCE", 0.05)
    paths = Paths(told.put_nowait)
    paths.watch([hangs, here, later])
    seen: dict[str, bool] = {}
    while len(seen) < 2:
        seen |= await asyncio.wait_for(told.get(), 30)
    assert seen == {here: True, later: False}
    os.mkdir(later)
    assert await asyncio.wait_for(told.get(), 30) == {later: True}
    await asyncio.to_thread(Path(hangs).write_text, "it answers at last")
    assert await asyncio.wait_for(told.get(), 30) == {hangs: True}
    paths.watch([here])  # asked anew, as by another server
    assert await asyncio.wait_for(told.get(), 30) == {here: True}
    paths.clear()


# ---------------------------------------------------------------- the command line


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["lab"], "'lab' is not written NAME=PYTHON"),
        (["lab="], "'lab=' is not written NAME=PYTHON"),
        (["the lab=python"], "'the lab=python' is not written NAME=PYTHON"),
        (["default=python"], "the name default is taken"),
        (["lab=python", "lab=python3"], "the name lab is taken"),
    ],
)
def test_an_environment_that_is_named_badly_is_refused(given: list[str], words: str) -> None:
    options = [word for text in given for word in ("--env", text)]
    result = CliRunner().invoke(main, ["--server", "ws://127.0.0.1:1", *options])
    assert result.exit_code == 2
    assert words in " ".join(result.output.replace("│", " ").split())
