"""The script door: a program of its own, run as `python entry args...` would run it."""

from __future__ import annotations

import atexit
import os
import random
import runpy
import shutil
import signal
import sys
import threading
from pathlib import Path
from types import ModuleType

from aifarm.train.loop import Stopped
from aifarm.train.mounts import mount
from aifarm.train.package import PackageInvalid
from aifarm.train.restore import restore
from aifarm.train.run import Run


class Failed(Exception):
    """The script ended with a status other than 0."""


def train(
    run: Run, folder: Path, entry: str, args: list[str], mounts: dict[str, str]
) -> dict[str, float] | None:
    """Runs `entry` with `args` in a copy of `folder` to its end, where `mounts` are seen; gives the
    latest metrics, or None when it stopped.

    An entry called `__main__.py` in a package of Python's is run as `python -m` would. Raises what
    the script raises, and Failed.
    """
    work = run.folder / "work"  # an attempt's own: what the script writes never reaches the package
    shutil.copytree(folder, work, copy_function=shutil.copyfile)
    restore(run.folder / "outputs", work)
    mount(work, mounts)
    path = work / entry
    if not path.is_file():
        raise PackageInvalid(f"the package has no {entry}")
    os.chdir(work)
    _forget_the_warm_process()
    sys.argv = [entry, *args]
    try:
        _run(work, path)
        if run.stopping:  # it left its loop as it was asked to
            run.settle()
            return None
        run.finish()
        return run.latest_metrics()
    except Stopped:
        return None
    finally:  # as an interpreter does at its end
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()


def _run(work: Path, path: Path) -> None:
    is_module = path.name == "__main__.py" and (path.parent / "__init__.py").is_file()
    sys.path.insert(0, str(work if is_module else path.parent))
    try:
        if is_module:
            name = ".".join(path.parent.relative_to(work).parts)
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        else:
            main = ModuleType("__main__")  # stays what it is for the program's last threads
            main.__file__ = str(path)
            sys.modules["__main__"] = main
            exec(compile(path.read_bytes(), path, "exec", dont_inherit=True), vars(main))
    except Stopped:
        raise
    except SystemExit as left:
        if left.code not in (None, 0):
            entry = path.relative_to(work)
            raise Failed(f"{entry} ended with exit status {left.code}") from left


def _forget_the_warm_process() -> None:
    """A program that seeds nothing gets other numbers each time, and Ctrl-C's usual handler."""
    import torch

    random.seed()
    torch.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["PYTHONUNBUFFERED"] = "1"  # what its own children print appears at once, too
