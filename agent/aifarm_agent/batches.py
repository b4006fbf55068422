"""Cutting what was gathered into messages that fit on the socket. Pure."""

from collections.abc import Iterable, Iterator, Sequence

from aifarm.wire.agent import OUTPUTS_AT_ONCE, Point, TaskLog, TaskOutputs, TaskProgress
from aifarm.wire.codec import encode
from aifarm_agent.events import OutputsCollected, RankKey
from aifarm_agent.thinning import latest

PROGRESS_BYTES = 256 << 10
LOG_LINES = 200
LOG_BYTES = 128 << 10
"""Of text: escaped in JSON, it may grow sixfold and must stay below the socket's limit."""


def progress_messages(
    key: RankKey, progress: float, points: Sequence[Point]
) -> tuple[list[TaskProgress], int]:
    """The points in order, in as few messages as fit; and how many points fit in none."""
    message = TaskProgress(
        **key._asdict(), progress=progress, metrics=latest(points), points=list(points)
    )
    if len(encode(message)) <= PROGRESS_BYTES:
        return [message], 0
    if len(points) <= 1:
        return [], len(points)
    half = len(points) // 2
    first, lost_first = progress_messages(key, progress, points[:half])
    second, lost_second = progress_messages(key, progress, points[half:])
    return first + second, lost_first + lost_second


def log_messages(
    key: RankKey, lines: Iterable[str], open_line: str | None = None
) -> Iterator[TaskLog]:
    """The lines in order, at most LOG_LINES and about LOG_BYTES in each message; with the last
    `open_line`, where it is not None."""
    batch: list[str] = []
    size = 0
    for line in lines:
        length = len(line.encode(errors="replace"))
        if batch and (len(batch) == LOG_LINES or size + length > LOG_BYTES):
            yield TaskLog(**key._asdict(), lines=batch)
            batch, size = [], 0
        batch.append(line)
        size += length
    if batch or open_line is not None:
        yield TaskLog(**key._asdict(), lines=batch, open=open_line or "")


def output_messages(key: RankKey, collected: OutputsCollected) -> list[TaskOutputs]:
    """What changed among a task's outputs, in messages that fit; none where nothing did."""
    files, gone = collected.files, collected.gone
    count = -(-max(len(files), len(gone)) // OUTPUTS_AT_ONCE)
    parts = [slice(OUTPUTS_AT_ONCE * n, OUTPUTS_AT_ONCE * (n + 1)) for n in range(count)]
    return [
        TaskOutputs(
            **key._asdict(),
            files=files[part],
            removed=gone[part],
            final=collected.final and part is parts[-1],
        )
        for part in parts
    ]
