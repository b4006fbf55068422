"""The journal: what a worker tells the agent, as JSON lines in the run folder.

A worker outlives the agent, so nothing flows through a pipe. Lines are appended to numbered
segments, and a byte on the doorbell says that there is something to read. The agent deletes the
segments that it has consumed.

All of it runs in the training thread. A thread of its own was measured: in switches and in waiting
for the interpreter's lock it costs the loop more than the flushes, well under a millisecond each.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import math
import os
import socket
import time
from array import array
from itertools import groupby
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.1
SEGMENT_BYTES = 4 * 2**20
BACKLOG_BYTES = 64 * 2**20  # unread segments beyond which points are thinned
THINNED_SECONDS = 1.0
POINTS_PER_LINE = 1000
CLOSE_SECONDS = 10.0

Point = tuple[int, float, dict[str, Any]]  # (step, time, {name: number})


class Journal:
    """Appends lines to `folder`; points are buffered for about 100 ms.

    `doorbell` is the path of the agent's datagram socket. Neither a full disk nor an absent agent
    raises here: bytes that could not be written are written later, and the number of points lost
    to a long backlog is told in the lines as `dropped`.
    """

    def __init__(
        self,
        folder: Path,
        doorbell: str,
        segment_bytes: int = SEGMENT_BYTES,
        backlog_bytes: int = BACKLOG_BYTES,
    ) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder = folder
        self._bell = Doorbell(doorbell)
        self._segment_bytes = segment_bytes
        self._backlog_bytes = backlog_bytes
        self._points: list[Point] = []
        self._progress = 0.0
        self._dropped = 0  # points not written and not yet told
        self._thinned = False
        self._pending = b""  # lines, the first of them perhaps written in part
        self._segment = 1
        self._size = 0
        self._descriptor = self._open(self._segment)
        self._due = 0.0  # when to flush points again; the first, or one after a while, at once

    def point(
        self, step: int, metrics: dict[str, Any], progress: float, at: float | None = None
    ) -> None:
        """Records the metrics of a step, numbers or tensors of one element, as of now or `at`."""
        self._points.append((step, time.time() if at is None else at, metrics))
        self._progress = progress
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Writes what has waited for its time; to be called often."""
        now = time.monotonic()
        if now >= self._due and (self._points or self._pending):
            self._due = now + (THINNED_SECONDS if self._thinned else FLUSH_SECONDS)
            self._take_points()
            self._drain()

    def write(self, line: dict[str, Any]) -> None:
        """Appends `line` at once, after all points recorded before it."""
        self._take_points()
        self._pending += encode(line)
        self._drain()

    def close(self) -> None:
        """Flushes and ends. Waits up to 10 s for a full disk, then gives the rest up."""
        deadline = time.monotonic() + CLOSE_SECONDS
        self._take_points()
        self._drain()
        while self._pending and time.monotonic() < deadline:
            time.sleep(FLUSH_SECONDS)
            self._drain()
        os.close(self._descriptor)
        self._bell.close()

    def _take_points(self) -> None:
        """Moves the recorded points into the pending bytes."""
        taken, self._points = self._points, []
        if self._thinned:
            kept = thin(taken)
        elif len(self._pending) > self._segment_bytes:  # the disk takes nothing
            kept = []
        else:
            kept = taken
        self._dropped += len(taken) - len(kept)
        for names, alike in groupby(kept, key=lambda point: tuple(point[2])):
            points = list(alike)
            for first in range(0, len(points), POINTS_PER_LINE):
                line = {"type": "points", "progress": self._progress, "dropped": self._dropped}
                rows = pack(points[first : first + POINTS_PER_LINE])
                self._pending += encode({**line, "names": names, "rows": rows})
                self._dropped = 0

    def _drain(self) -> None:
        """Writes the pending bytes as far as the disk takes them; a cut line is completed later."""
        if not self._pending:
            return
        try:
            written = os.write(self._descriptor, self._pending)
        except OSError as error:
            logger.warning("the journal cannot be written: %s", error)
            return
        self._pending = self._pending[written:]
        self._size += written
        self._bell.ring()
        if self._size >= self._segment_bytes and not self._pending:
            self._rotate()
        elif self._thinned:
            self._thinned = self._backlog() > self._backlog_bytes

    def _rotate(self) -> None:
        try:
            descriptor = self._open(self._segment + 1)
        except OSError as error:  # goes on in this segment, tries again after the next flush
            logger.warning("no new journal segment: %s", error)
            return
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._segment += 1
        self._size = 0
        self._thinned = self._backlog() > self._backlog_bytes

    def _open(self, segment: int) -> int:
        path = self._folder / f"{segment:08d}.jsonl"
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def _backlog(self) -> int:
        """Bytes of the segments that the agent has not deleted."""
        total = 0
        with os.scandir(self._folder) as entries:
            for entry in entries:
                try:
                    total += entry.stat().st_size
                except FileNotFoundError:  # consumed in this moment
                    continue
        return total


class Doorbell:
    """Tells the agent behind the datagram socket `path` that a run folder has news."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def ring(self) -> None:
        """An absent or busy agent is normal."""
        with contextlib.suppress(OSError):
            self._socket.sendto(b"!", self._path)

    def close(self) -> None:
        self._socket.close()


def encode(line: dict[str, Any]) -> bytes:
    """One JSON line. Numbers that JSON lacks travel as the strings "nan", "inf", "-inf"."""
    try:
        text = json.dumps(line, default=float, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(spell_out(line), separators=(",", ":"))
    return text.encode() + b"\n"


def pack(points: list[Point]) -> str:
    """Rows of (step, time, values) as doubles of this machine, in base64: three times faster than
    digits. Values on an accelerator are read here."""
    rows = array("d")
    for step, at, metrics in points:
        rows.append(step)
        rows.append(at)
        rows.extend(map(float, metrics.values()))
    return base64.b64encode(rows.tobytes()).decode()


def thin(points: list[Point]) -> list[Point]:
    """The last point of each kind (set of metric names), in the order of time."""
    last = {tuple(point[2]): point for point in points}
    return sorted(last.values(), key=lambda point: point[1])


def spell_out(value: Any) -> Any:
    """`value` with each float that is not finite as a string."""
    if isinstance(value, dict):
        return {name: spell_out(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [spell_out(item) for item in value]
    if value is None or isinstance(value, (str, int)):
        return value
    number = float(value)
    return number if math.isfinite(number) else str(number)


def settle(value: Any) -> Any:
    """`value` as it is now: a number, or a copy on the accelerator that is read at the flush.

    Reading an accelerator's tensor here would make the training loop wait for it.
    """
    is_cpu = getattr(value, "is_cpu", None)
    if is_cpu is None:
        return float(value)
    return value.item() if is_cpu else value.detach().reshape(()).clone()
