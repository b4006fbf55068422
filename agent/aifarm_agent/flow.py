"""What is in flight on one connection: how much, since when, and what to send next."""

from collections import deque
from dataclasses import dataclass, field

from aifarm_agent.events import RankKey

COUNT = 1000
SIZE = 1 << 20
RESEND = 10.0
"""Seconds without any progress of a rank's acknowledgements after which it is sent again."""
GAP = 1.0
"""Seconds between two answers to acknowledgements that tell of a gap."""


@dataclass(slots=True)
class _Lane:
    moved: float
    acked: int = 0
    after: int = 0
    rewound: float = float("-inf")
    flights: deque[tuple[int, int]] = field(default_factory=deque)  # (seq_to, bytes)


class Flow:
    """The window of one connection over all its ranks: at most COUNT messages, SIZE bytes."""

    def __init__(self) -> None:
        self._lanes: dict[RankKey, _Lane] = {}
        self._count = 0
        self._size = 0

    def open(self, key: RankKey, acked: int, now: float) -> None:
        """The server has all of this rank's messages up to `acked`."""
        self._lanes[key] = _Lane(now, acked, acked)

    def close(self, key: RankKey) -> None:
        lane = self._lanes.pop(key, None)
        if lane is not None:
            self._land(lane, lane.after)

    def room(self) -> tuple[int, int]:
        """Messages and bytes that may be sent now; none until half of the window is free."""
        if self._count > COUNT // 2 or self._size > SIZE // 2:
            return 0, 0
        return COUNT - self._count, SIZE - self._size

    def after(self, key: RankKey) -> int:
        """The last number of this rank that was sent; 0 for one that is new."""
        lane = self._lanes.get(key)
        return lane.after if lane else 0

    def sent(self, key: RankKey, seq_to: int, size: int, now: float) -> None:
        lane = self._lanes.setdefault(key, _Lane(now))
        if not lane.flights:
            lane.moved = now
        lane.after = seq_to
        lane.flights.append((seq_to, size))
        self._count += 1
        self._size += size

    def acked(self, key: RankKey, seq: int, now: float) -> None:
        """A repeated acknowledgement says that the next message was not applied: send it again."""
        lane = self._lanes.setdefault(key, _Lane(now))
        if seq > lane.acked:
            lane.acked, lane.moved = seq, now
            lane.after = max(lane.after, seq)
            self._land(lane, seq)
        elif seq == lane.acked and lane.flights and now >= lane.rewound + GAP:
            self._rewind(lane, now)

    def resend_stalled(self, now: float) -> None:
        for lane in self._lanes.values():
            if lane.flights and now >= lane.moved + RESEND:
                self._rewind(lane, now)

    def due(self) -> float:
        """When `resend_stalled` has something to do."""
        stalled = (lane.moved + RESEND for lane in self._lanes.values() if lane.flights)
        return min(stalled, default=float("inf"))

    def _rewind(self, lane: _Lane, now: float) -> None:
        self._land(lane, lane.after)
        lane.after, lane.moved, lane.rewound = lane.acked, now, now

    def _land(self, lane: _Lane, seq: int) -> None:
        while lane.flights and lane.flights[0][0] <= seq:
            _, size = lane.flights.popleft()
            self._count -= 1
            self._size -= size
