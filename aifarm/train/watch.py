"""Curves of a script that reports nothing itself, from its log and its TensorBoard files.

The watcher is a process beside the worker of rank 0, forked by the warm process. It writes a
journal of its own, `RUN/watch`, and the latest metrics into `RUN/watched.json` when it ends: once
the worker has, and all that it wrote is read.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from aifarm.train.journal import Journal

PERIOD = 0.25
WINDOW = 1 << 20
LINE_CHARACTERS = 4096  # of a line that are searched
MATCH_SECONDS = 2.0  # of CPU time for the lines of one window
FIND_SECONDS = 2.0  # between two looks for new event files
ATTENDS = "attends"
"""Exists in the run folder of a script that reports, pauses and stops by itself."""

Point = tuple[int, float, dict[str, float]]  # (step, time, metrics)


def main(run_dir: Path) -> int:
    """Watches the worker of `run_dir` until its exit is recorded there, or the folder is gone."""
    task = json.loads((run_dir / "task.json").read_text())
    journal = Journal(run_dir / "watch", task["doorbell"])
    log = LogCurves(run_dir / "log", task.get("progress_from"))
    # Older ones are outputs of earlier attempts, which told of them.
    files = EventFiles(run_dir / "work", since=int((run_dir / "task.json").stat().st_mtime))
    metrics: dict[str, float] = {}
    over = False
    while not over and run_dir.is_dir():
        over = (run_dir / "exit.json").exists()  # looked at first: what was written is read below
        sources: list[Iterator[Point]] = [log.read(final=over)]
        if not (run_dir / ATTENDS).exists():
            sources.append(files.read(at_once=over))
        for source in sources:
            for step, at, values in source:
                metrics.update(values)
                journal.point(step, dict(values), log.progress, at)
        journal.flush_if_due()
        if not over:
            time.sleep(PERIOD)
    journal.close()
    with contextlib.suppress(OSError):
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        (run_dir / "watched.json").write_text(json.dumps(finite))
    return 0


class LogCurves:
    """What `pattern` finds in the lines of the log at `path`; each state of a progress bar is one.

    Its groups `step` and `total` are the position (without `step`, matches are counted), all
    others are metrics. `progress`: in percent, 0 while there is no total. A pattern that takes too
    long is given up, and the log says so.
    """

    def __init__(self, path: Path, pattern: str | None) -> None:
        self.progress = 0.0
        self._path = path
        self._pattern: re.Pattern[str] | None = None
        try:
            self._pattern = re.compile(pattern) if pattern else None
        except re.error as error:  # another Python than the farm's
            _say(f"progress_from is no regular expression in this Python: {error}")
        self._offset = 0
        self._rest = b""
        self._step = 0
        self._total = 0.0
        signal.signal(signal.SIGPROF, _too_long)

    def read(self, final: bool) -> Iterator[Point]:
        """The points of the lines that are new; `final`: also of one without an end."""
        while self._pattern is not None:
            with open(self._path, "rb") as file:
                file.seek(self._offset)
                data = file.read(WINDOW)
            self._offset += len(data)
            *lines, self._rest = re.split(rb"[\r\n]+", self._rest + data)
            self._rest = self._rest[-WINDOW:]
            if final and not data:
                lines.append(self._rest)
            yield from self._points(lines)
            if not data:
                return

    def _points(self, lines: list[bytes]) -> list[Point]:
        signal.setitimer(signal.ITIMER_PROF, MATCH_SECONDS)
        try:
            return list(filter(None, map(self._point, lines)))
        except _TooLong:
            self._pattern = None
            _say("progress_from takes too long on a line of the log: it is not used any more.")
            return []
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _point(self, line: bytes) -> Point | None:
        assert self._pattern is not None  # noqa: S101 - for mypy
        match = self._pattern.search(line[: 4 * LINE_CHARACTERS].decode(errors="replace"))
        if match is None:
            return None
        found = {name: _number(text) for name, text in match.groupdict().items() if text}
        numbers = {name: value for name, value in found.items() if value is not None}
        step, total = numbers.pop("step", None), numbers.pop("total", None)
        if "step" not in self._pattern.groupindex:
            step = self._step + 1.0
        if step is None or not 0 <= step <= 2**53:
            return None
        self._step = int(step)
        if total is not None and total > 0:
            self._total = total
        if self._total:
            self.progress = min(100.0, 100.0 * self._step / self._total)
        return self._step, time.time(), numbers


class EventFiles:
    """The scalars in the TensorBoard event files under `folder` that were begun `since` then."""

    def __init__(self, folder: Path, since: float) -> None:
        self._folder = folder
        self._since = since
        self._loaders: dict[str, Any] = {}
        self._homes: dict[str, str] = {}  # the folder that a tag was first seen in
        self._next_look = 0.0

    def read(self, at_once: bool) -> Iterator[Point]:
        """The points that are new; `at_once`: new files are looked for now, not now and then."""
        began = time.monotonic()
        if at_once or began >= self._next_look:
            self._find()
            # In a folder of very many files it is looked less often.
            self._next_look = began + max(FIND_SECONDS, 20 * (time.monotonic() - began))
        for path, loader in self._loaders.items():
            if loader is None:
                continue
            try:
                for event in loader.Load():
                    values = dict(self._scalars(path, event))
                    if values:
                        yield max(0, event.step), event.wall_time, values
            except Exception as error:  # whatever a damaged file makes the library raise
                self._loaders[path] = None
                _say(f"{path} cannot be read any more: {error}")

    def _find(self) -> None:
        for folder, names, files in os.walk(self._folder):
            names[:] = [name for name in names if not name.startswith(".")]
            for name in files:
                path = os.path.join(folder, name)
                begun = re.match(r"events\.out\.tfevents\.(\d+)", name)
                if begun and int(begun[1]) >= self._since and path not in self._loaders:
                    self._loaders[path] = self._loader(path)

    def _loader(self, path: str) -> Any:
        try:
            from tensorboard.backend.event_processing import event_file_loader
        except ImportError:
            if not self._loaders:
                _say("There are TensorBoard files, but no tensorboard in this Python to read them.")
            return None
        return event_file_loader.LegacyEventFileLoader(path)

    def _scalars(self, path: str, event: Any) -> Iterator[tuple[str, float]]:
        from tensorboard.util import tensor_util

        for value in event.summary.value:
            if value.HasField("simple_value"):
                number = value.simple_value
            elif value.HasField("tensor") and not value.tensor.tensor_shape.dim:
                array = tensor_util.make_ndarray(value.tensor)
                if array.dtype.kind not in "fiu":
                    continue
                number = float(array)
            else:
                continue
            yield self._name(path, value.tag), number

    def _name(self, path: str, tag: str) -> str:
        """The tag; of a second folder that has the same one, with the folder before it."""
        folder = os.path.dirname(path)
        if self._homes.setdefault(tag, folder) == folder:
            return tag
        return f"{os.path.basename(folder)}/{tag}"


class _TooLong(Exception):
    pass


def _too_long(number: int, frame: Any) -> NoReturn:
    raise _TooLong  # Python's `re` looks for signals while it searches


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _say(words: str) -> None:
    print(f"[aifarm] {words}", file=sys.stderr, flush=True)  # noqa: T201 (it is the task's log)
