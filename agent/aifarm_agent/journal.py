"""Reading what a worker wrote: lines of its journal into reports.

A line is checked here, once, so that nothing can get into the outbox that the server would refuse
to decode. A line that is not valid is left out, and said in the agent's log.
"""

import logging
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from aifarm.wire.agent import Point, Resumed
from aifarm.wire.types import Metric, Natural, NonNegative, Positive, Sha256
from aifarm_agent import events
from aifarm_agent.events import Mark, Report

logger = logging.getLogger(__name__)

WINDOW = 1 << 20
MAX_LINE = 16 << 20
MAX_PROVENANCE = 128 << 10
MAX_STEP = 2**53

Number = float | str | None  # "nan", "inf", "-inf": JSON has no such numbers


class _Line(Struct, tag_field="type"):
    pass


class _Started(_Line, tag="started"):
    provenance: dict[str, Any] = {}


class _Points(_Line, tag="points"):
    """`rows`: (step, time, a value for each of `names`) as doubles of this machine, in base64."""

    progress: float
    names: list[str]
    rows: bytes
    dropped: Natural = 0


class _Resumed(Struct):
    loss: Number = None
    expected: Number = None
    verified: bool | None = None


class _Running(_Line, tag="running"):
    step: Natural | None = None
    resumed: _Resumed | None = None


class _Paused(_Line, tag="paused"):
    step: Natural | None = None
    resumed: _Resumed | None = None


class _Checkpoint(_Line, tag="checkpoint"):
    path: str
    step: Natural
    size: Natural
    sha256: Sha256
    epoch: Natural | None = None
    progress: float = 0.0
    metrics: dict[str, Number] = {}
    final: bool = False
    best: bool = False


class _Weights(_Line, tag="weights"):
    pass


class _CheckpointFailed(_Line, tag="checkpoint_failed"):
    step: Natural
    reason: str


class _Measured(_Line, tag="measured"):
    compute: NonNegative
    gradients: NonNegative
    bandwidth: Positive
    latency: NonNegative


class _Finished(_Line, tag="finished"):
    metrics: dict[str, Number] = {}


class _Stopped(_Line, tag="stopped"):
    step: Natural | None = None


class _Failed(_Line, tag="failed"):
    cause: Annotated[str, Meta(max_length=64)]
    message: str


Line = (
    _Started
    | _Points
    | _Running
    | _Paused
    | _Checkpoint
    | _Weights
    | _CheckpointFailed
    | _Measured
    | _Finished
    | _Stopped
    | _Failed
)
_lines: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


def parse(line: bytes) -> Report | None:
    """The report that a journal line makes, or None where it makes none."""
    try:
        return _report(_lines.decode(line))
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        logger.warning("a line of the journal is left out: %s: %.100r", error, line)
        return None


def _report(read: Line) -> Report:
    match read:
        case _Started(provenance):
            if len(msgspec.json.encode(provenance)) > MAX_PROVENANCE:
                provenance = {k: v for k, v in provenance.items() if k != "packages"}
            return events.Started(provenance)
        case _Points(progress, names, rows, dropped):
            return events.Points(_percent(progress), unpack(names, rows), dropped)
        case _Running(step, resumed):
            return events.Running(step, _verdict(resumed))
        case _Paused(step, resumed):
            return events.Paused(step, _verdict(resumed))
        case _Checkpoint():
            return events.CheckpointWritten(
                events.Checkpoint(
                    path=read.path,
                    step=read.step,
                    size=read.size,
                    sha256=read.sha256,
                    epoch=read.epoch,
                    progress=_percent(read.progress),
                    metrics=_finite(read.metrics),
                    final=read.final,
                    best=read.best,
                )
            )
        case _Weights():
            return events.WeightsWritten()
        case _CheckpointFailed(step, reason):
            words = f"The checkpoint of step {step} could not be written ({reason:.500})."
            return events.Remark("checkpoint_failed", f"{words} The one before it is intact.")
        case _Measured():
            return events.Measured(read.compute, read.gradients, read.bandwidth, read.latency)
        case _Finished(metrics):
            return events.Finished(_finite(metrics))
        case _Stopped(step):
            return events.Stopped(step)
        case _Failed(cause, message):
            return events.Failed(cause, message)


def unpack(names: list[str], rows: bytes) -> list[Point]:
    """The points of `aifarm.train.journal.pack`. Raises ValueError where they are none."""
    width = 2 + len(names)
    values = memoryview(rows).cast("d").tolist() if len(rows) % (8 * width) == 0 else None
    if values is None:
        raise ValueError("rows of another length")
    if not all(map(isfinite, values)):
        values = [value if isfinite(value) else None for value in values]
    points: list[Point] = []
    for first in range(0, len(values), width):
        step, at, *measured = values[first : first + width]
        if step is None or at is None or not 0 <= step <= MAX_STEP:
            raise ValueError("a step or a time that is none")
        points.append((int(step), at, dict(zip(names, measured, strict=True))))
    return points


def _verdict(read: _Resumed | None) -> Resumed | None:
    if read is None:
        return None
    return Resumed(_number(read.loss), _number(read.expected), read.verified)


def _finite(metrics: dict[str, Number]) -> dict[str, Metric]:
    return {name: _number(value) for name, value in metrics.items()}


def _number(value: Number) -> Metric:
    """As the wire has it: what is not a finite number, and so came as a word, is null."""
    return None if isinstance(value, str) else value


def _percent(value: float) -> float:
    return min(100.0, max(0.0, value))


class Journal:
    """The segments in one folder, read from `mark` on; they need not exist yet.

    `source`: the name of the folder in marks.
    """

    def __init__(
        self, folder: Path, mark: Mark | None, source: Literal["journal", "watch"] = "journal"
    ) -> None:
        self._folder = folder
        self.source: Literal["journal", "watch"] = source
        self._segment = mark.segment if mark else 1
        self._offset = mark.offset if mark else 0
        self._rest = b""
        self._first = self._segment

    def read(self) -> list[tuple[Report, Mark]]:
        """The next reports, about WINDOW bytes of them; [] when there is nothing new.

        Each with the mark that says it is consumed.
        """
        while True:
            # A segment is complete once the next one exists: look before reading to its end.
            complete = self._path(self._segment + 1).exists()
            data = self._take()
            if data or not complete:
                return self._reports(data)
            self._segment, self._offset, self._rest = self._segment + 1, 0, b""

    @property
    def discardable(self) -> bool:
        """Whether segments lie before the one that is read."""
        return self._first < self._segment

    def discard(self, mark: Mark) -> None:
        """Removes the segments before `mark`, which is safely stored."""
        for segment in range(self._first, mark.segment):
            self._path(segment).unlink(missing_ok=True)
        self._first = mark.segment

    def _path(self, segment: int) -> Path:
        return self._folder / f"{segment:08d}.jsonl"

    def _take(self) -> bytes:
        """Complete lines from here on; what is after the last line end waits for the rest."""
        position = self._offset + len(self._rest)
        try:
            with open(self._path(self._segment), "rb") as file:
                file.seek(position)
                while new := file.read(WINDOW):
                    self._rest += new
                    end = self._rest.rfind(b"\n") + 1
                    if end:
                        lines, self._rest = self._rest[:end], self._rest[end:]
                        return lines
                    if len(self._rest) > MAX_LINE:
                        logger.warning("%s has a line without end", file.name)
                        self._offset += len(self._rest)
                        self._rest = b""
        except FileNotFoundError:
            pass
        return b""

    def _reports(self, data: bytes) -> list[tuple[Report, Mark]]:
        found = []
        for line in data.splitlines(keepends=True):
            self._offset += len(line)
            report = parse(line)
            if report is not None:
                found.append((report, Mark(self.source, self._segment, self._offset)))
        return found
