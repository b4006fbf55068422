"""The journal: what a worker tells the agent, as JSON lines in the run folder.

A worker outlives the agent, so nothing flows through a pipe. Lines are appended to numbered
segments, and a byte on the doorbell says that there is something to read. The agent deletes the
segments that it has consumed.
"""

from __future__ import annotations

import collections
import contextlib
import json
import logging
import math
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any, Dict, Tuple

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.1
SEGMENT_BYTES = 4 * 2**20
BACKLOG_BYTES = 64 * 2**20  # unread segments beyond which points are thinned
THINNED_SECONDS = 1.0
POINTS_PER_LINE = 1000
WAITING_POINTS = 100_000  # in memory, while the disk does not take them
CLOSE_SECONDS = 10.0

Point = Tuple[int, float, Dict[str, Any]]  # (step, time, {name: number})


class Journal:
    """Appends lines to `folder`; points are buffered for about 100 ms and written by a thread.

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
        self._doorbell = doorbell
        self._segment_bytes = segment_bytes
        self._backlog_bytes = backlog_bytes

        # The training loop only appends to `_points` (atomic): it never waits for the disk.
        self._points: collections.deque[Point] = collections.deque()
        self._progress = 0.0
        self._refused = 0  # points that the training loop could not leave here; only it counts
        self._wake = threading.Event()
        self._closing = threading.Event()

        self._lock = threading.Lock()  # guards what follows
        self._dropped = 0  # not yet told
        self._refused_told = 0
        self._pending = b""
        self._segment = 1
        self._size = 0
        self._descriptor = self._open(self._segment)
        self._flushed_at = -math.inf
        self._thinned = False

        self._thread = threading.Thread(target=self._flush_forever, name="journal", daemon=True)
        self._thread.start()

    def point(self, step: int, metrics: dict[str, Any], progress: float) -> None:
        """Records the metrics of a step: numbers, or tensors of one element."""
        if len(self._points) >= WAITING_POINTS:
            self._refused += 1
            return
        self._progress = progress
        self._points.append((step, time.time(), metrics))
        if not self._wake.is_set():
            self._wake.set()

    def write(self, line: dict[str, Any]) -> None:
        """Appends `line` at once, after all points recorded before it."""
        with self._lock:
            self._take_points()
            self._pending += encode(line)
            self._drain()

    def close(self) -> None:
        """Flushes and ends. Waits up to 10 s for a full disk, then gives the rest up."""
        self._closing.set()
        self._wake.set()
        self._thread.join()
        deadline = time.monotonic() + CLOSE_SECONDS
        with self._lock:
            self._take_points()
            self._drain()
            while self._pending and time.monotonic() < deadline:
                time.sleep(FLUSH_SECONDS)
                self._drain()
            os.close(self._descriptor)

    def _flush_forever(self) -> None:
        while not self._closing.is_set():
            # The first point after a quiet while goes out at once, the following ones together.
            self._wake.wait()
            period = THINNED_SECONDS if self._thinned else FLUSH_SECONDS
            self._closing.wait(self._flushed_at + period - time.monotonic())
            self._wake.clear()
            with self._lock:
                self._take_points()
                self._drain()
                if self._pending:
                    self._wake.set()  # the disk refused: try again after a period

    def _take_points(self) -> None:
        """Moves the recorded points into the pending bytes."""
        taken = [self._points.popleft() for _ in range(len(self._points))]
        if not taken or len(self._pending) > self._segment_bytes:
            self._dropped += len(taken)
            return
        if self._thinned:
            kept = thin(taken)
            self._dropped += len(taken) - len(kept)
            taken = kept
        for first in range(0, len(taken), POINTS_PER_LINE):
            self._pending += encode(
                {
                    "type": "points",
                    "progress": self._progress,
                    "points": [plain(point) for point in taken[first : first + POINTS_PER_LINE]],
                    "dropped": self._take_dropped(),
                }
            )

    def _take_dropped(self) -> int:
        refused = self._refused
        dropped = self._dropped + refused - self._refused_told
        self._dropped, self._refused_told = 0, refused
        return dropped

    def _drain(self) -> None:
        """Writes the pending bytes as far as the disk takes them; a cut line is completed later."""
        self._flushed_at = time.monotonic()
        if not self._pending:
            return
        try:
            written = os.write(self._descriptor, self._pending)
        except OSError as error:
            logger.warning("the journal cannot be written: %s", error)
            return
        self._pending = self._pending[written:]
        self._size += written
        ring(self._doorbell)
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


def ring(doorbell: str) -> None:
    """Tells the agent that a run folder has news. An absent or busy agent is normal."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.setblocking(False)
        with contextlib.suppress(OSError):
            bell.sendto(b"!", doorbell)


def encode(line: dict[str, Any]) -> bytes:
    """One JSON line; numbers that JSON lacks travel as the strings "nan", "inf", "-inf"."""
    try:
        text = json.dumps(line, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(spell_out(line), separators=(",", ":"))
    return text.encode() + b"\n"


def plain(point: Point) -> list[Any]:
    """A point with each of its metrics as a float; what is no number is left out."""
    step, at, metrics = point
    numbers = {}
    for name, value in metrics.items():
        try:
            numbers[name] = float(value)
        except Exception:
            logger.warning("metric %r is no number: %r", name, value)
    return [step, at, numbers]


def thin(points: list[Point]) -> list[Point]:
    """The last point of each kind (set of metric names), in the order of time."""
    last = {tuple(point[2]): point for point in points}
    return sorted(last.values(), key=lambda point: point[1])


def spell_out(value: Any) -> Any:
    """`value` with each float that is not finite as a string."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: spell_out(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [spell_out(item) for item in value]
    return value
