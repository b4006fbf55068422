"""Making progress messages smaller without losing the shape of their curves. Pure."""

from collections.abc import Sequence

from msgspec.structs import replace

from aifarm.wire.agent import Point, TaskProgress


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
