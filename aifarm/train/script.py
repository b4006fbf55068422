"""The script door: a program of its own, run as `python entry args...` would run it."""

from __future__ import annotations

import os
import runpy
import shutil
import sys
from pathlib import Path

from aifarm.train.loop import Stopped
from aifarm.train.package import PackageInvalid
from aifarm.train.restore import restore
from aifarm.train.run import Run


class Failed(Exception):
    """The script ended with a status other than 0."""


def train(run: Run, folder: Path, entry: str, args: list[str]) -> dict[str, float] | None:
    """Runs `entry` with `args` in a copy of `folder` to its end; gives the latest metrics, or
    None when it stopped.

    Raises what the script raises, and Failed.
    """
    work = run.folder / "work"  # an attempt's own: what the script writes never reaches the package
    shutil.copytree(folder, work, copy_function=shutil.copyfile)
    restore(run.folder / "outputs", work)
    path = work / entry
    if not path.is_file():
        raise PackageInvalid(f"the package has no {entry}")
    os.chdir(work)
    sys.path.insert(0, str(path.parent))
    sys.argv = [entry, *args]
    try:
        runpy.run_path(str(path), run_name="__main__")
    except Stopped:
        return None
    except SystemExit as left:
        if left.code not in (None, 0):
            raise Failed(f"{entry} ended with exit status {left.code}") from left
    if run.stopping:  # it left its own loop as it was asked to: that is no end of the training
        run.settle()
        return None
    run.finish()
    return run.latest_metrics()
