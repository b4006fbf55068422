"""Making progress messages smaller without losing the shape of their curves."""

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from aifarm.wire.agent import Point, TaskProgress
from aifarm.wire.codec import encode

RUN = 512 << 10
"""Bytes of messages that become one at a time."""
LEVELS = 24
"""How often a message can be thinned at most."""

_decode = msgspec.json.Decoder(TaskProgress).decode


class Thinned(NamedTuple):
    """What was saved of a rank's messages."""

    rank_id: int
    bytes: int
    points: int


def thin(messages: Sequence[TaskProgress], every: int) -> TaskProgress:
    """One message in place of several with adjacent numbers: each `every`-th point and the last.

    It covers all their numbers, and says the latest of what they said.
    """
    points = [point for message in messages for point in message.points]
    kept = points[::every]
    if points and (len(points) - 1) % every:
        kept.append(points[-1])
    first, last = messages[0], messages[-1]
    return replace(
        last,
        seq=first.seq,
        seq_to=last.seq_to or last.seq,
        metrics={name: value for message in messages for name, value in message.metrics.items()},
        points=kept,
    )


def latest(points: Sequence[Point]) -> dict[str, float | None]:
    """The last value of each metric."""
    return {name: value for _, _, metrics in points for name, value in metrics.items()}


def thin_next(db: sqlite3.Connection) -> Thinned | None:
    """Thins, in an outbox, the oldest run of messages among those that were thinned least.

    So all that waits is about equally dense. None when there is nothing left to thin.
    """
    found = db.execute(
        "SELECT m.rank_id, m.seq, m.level FROM message m JOIN rank r ON r.id = m.rank_id"
        " WHERE m.kind = 'TaskProgress' AND m.seq > r.sent_seq AND m.level < ?"
        " ORDER BY m.level, m.id LIMIT 1",
        (LEVELS,),
    ).fetchone()
    if found is None:
        return None
    rank_id, seq, level = found
    run: list[TaskProgress] = []
    size = 0
    for kind, its_level, length, body in db.execute(
        "SELECT kind, level, size, body FROM message WHERE rank_id = ? AND seq >= ? ORDER BY seq",
        (rank_id, seq),
    ):
        if kind != "TaskProgress" or its_level != level or size > RUN:
            break
        run.append(_decode(body))
        size += length
    thinned = thin(run, every=max(2, -(-size // (RUN // 2))))
    body = encode(thinned)
    db.execute(
        "DELETE FROM message WHERE rank_id = ? AND seq > ? AND seq <= ?",
        (rank_id, seq, thinned.seq_to),
    )
    db.execute(
        "UPDATE message SET seq_to = ?, level = level + 1, size = ?, body = ?"
        " WHERE rank_id = ? AND seq = ?",
        (thinned.seq_to, len(body), body, rank_id, seq),
    )
    points = sum(len(message.points) for message in run) - len(thinned.points)
    return Thinned(rank_id, size - len(body), points)
