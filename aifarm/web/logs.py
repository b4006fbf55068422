"""Logs over REST: pages of lines as JSON, and whole logs as plain text."""

from collections.abc import Iterable, Iterator

from aifarm.app.ports import Store
from aifarm.core.task import RankKey
from aifarm.web.http import Request, Response, Stream
from aifarm.web.tasks import find
from aifarm.wire import rest

PIECE = 1_000
"""Lines that are read at once."""


async def page(request: Request) -> Response:
    """Lines of one rank's output, by their numbers; of the latest attempt where none is named.

    To follow it: subscribe to the task on the live feed, read up to `total`, and go on from `next`
    whenever the feed says that the log has grown. `tail` gives the last lines instead.
    """
    record = await find(request)
    query = request.query
    attempt = record.task.attempt if query.attempt is None else query.attempt
    key = RankKey(record.task.id, attempt, query.rank)
    store = request.facade.store
    total = await request.read(store.log_length, key)
    first, limit = query.first, query.limit
    if query.tail is not None:
        first, limit = max(0, total - query.tail), query.tail
    lines = await request.read(
        store.log, key.task_id, attempt=key.attempt, rank=key.rank, first=first, limit=limit
    )
    following = lines.first + len(lines.lines)
    return Response(
        rest.LogPage(
            attempt=key.attempt,
            rank=key.rank,
            first=lines.first,
            next=following,
            total=max(total, following),
            lines=list(lines.lines),
        )
    )


async def text(request: Request) -> Stream:
    """The log as plain text, of one rank or, with `rank=all`, of one rank after the other, each
    line after the number of its rank. What comes while it is sent is sent as well."""
    record = await find(request)
    query = request.query
    attempt = record.task.attempt if query.attempt is None else query.attempt
    everyone = query.rank == "all"
    store, task_id = request.facade.store, record.task.id
    keys = _ranks(store, task_id, attempt) if everyone else [RankKey(task_id, attempt, query.rank)]
    return Stream(
        _text(store, keys, query.tail, everyone),
        f"{record.task.id}-attempt{attempt}.log",
    )


def _ranks(store: Store, task_id: str, attempt: int) -> Iterator[RankKey]:
    found = store.attempt(task_id, attempt)
    for rank in range(len(found.clients) if found is not None else 0):
        yield RankKey(task_id, attempt, rank)


def _text(store: Store, keys: Iterable[RankKey], tail: int | None, named: bool) -> Iterator[bytes]:
    for key in keys:
        before = f"[rank {key.rank}] " if named else ""
        first = 0 if tail is None else max(0, store.log_length(key) - tail)
        while True:
            piece = store.log(
                key.task_id, attempt=key.attempt, rank=key.rank, first=first, limit=PIECE
            )
            if not piece.lines:
                break
            first += len(piece.lines)
            yield "".join(f"{before}{line}\n" for line in piece.lines).encode("utf-8", "replace")
