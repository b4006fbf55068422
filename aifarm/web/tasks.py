"""Tasks over REST: version 1 as documented, version 2 with everything."""

import asyncio
from typing import Any

from aifarm.app import operations, views
from aifarm.app.errors import InvalidRequest, NotFound
from aifarm.app.records import TaskRecord
from aifarm.core.task import FINAL, State
from aifarm.web.http import File, Request, Response
from aifarm.web.paging import page_of
from aifarm.wire import rest

OBEY_SECONDS = 1.0
"""How long version 2 waits for the agent to follow a control before it answers (DESIGN 5)."""


async def find(request: Request) -> TaskRecord:
    """The task of the path, finished ones included. Raises NotFound."""
    task_id = request.params["task_id"]
    record = request.facade.view.task(task_id)
    if record is None:
        record = await request.read(request.facade.store.task, task_id)
    if record is None or record.deleted:
        raise NotFound(f"There is no task {task_id}.")
    return record


async def _list(request: Request) -> tuple[list[TaskRecord], int, int, dict[str, str]]:
    query = request.query
    page, limit = page_of(request)
    found = await request.read(
        request.facade.store.tasks,
        states=(query.status,) if query.status else (),
        submitter=query.submitter,
        prefix=query.prefix,
        offset=(page.number - 1) * limit,
        limit=limit,
    )
    return found.items, found.total, page.number, page.headers(found.total)


async def list_v1(request: Request) -> Response:
    records, total, page, headers = await _list(request)
    body = rest.TaskList([views.task_row(record) for record in records], total, page)
    return Response(body, headers=headers)


async def list_v2(request: Request) -> Response:
    records, total, page, headers = await _list(request)
    body = rest.TaskFullList([views.task_full(record) for record in records], total, page)
    return Response(body, headers=headers)


async def _create(request: Request) -> TaskRecord:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 1 <= len(key) <= 255:
        raise InvalidRequest("An Idempotency-Key has 1 to 255 characters.", field="Idempotency-Key")
    operation = operations.create_task(request.content, request.by, request.host.names, key)
    record: TaskRecord = await request.write(operation)
    return record


async def create_v1(request: Request) -> Response:
    return Response(views.task_created(await _create(request)))


async def create_v2(request: Request) -> Response:
    return Response(views.task_full(await _create(request)))


async def get_v1(request: Request) -> Response:
    return Response(views.task_details(await find(request)))


async def get_v2(request: Request) -> Response:
    return Response(views.task_full(await find(request)))


async def status_v1(request: Request) -> Response:
    """Answers with the accepted status once it is committed."""
    body = request.content
    task_id = request.params["task_id"]
    record = await request.write(operations.set_status(task_id, body, request.by))
    updated = views.task_row(record).updated_at
    return Response(rest.StatusUpdated(task_id, body.status, updated))


async def status_v2(request: Request) -> Response:
    """Waits a moment for the agent, then says what is wished and what is so."""
    body = request.content
    task_id = request.params["task_id"]
    mailbox_woken = asyncio.Event()
    with request.facade.following([f"task:{task_id}"], lambda _: mailbox_woken.set()):
        record = await request.write(operations.set_status(task_id, body, request.by))
        try:
            async with asyncio.timeout(OBEY_SECONDS):
                while not _obeyed(record, body.status):
                    await mailbox_woken.wait()
                    mailbox_woken.clear()
                    record = request.facade.view.task(task_id) or record
        except TimeoutError:
            pass
    full = views.task_full(record)
    return Response(rest.StatusFull(task_id, full.desired, full.status, full.updated_at))


def _obeyed(record: TaskRecord, status: str) -> bool:
    """Whether there is nothing to wait for: it is so, or nobody could make it so now."""
    state = record.task.state
    return state in FINAL or state.value == status or state in (State.PENDING, State.UNREACHABLE)


async def delete(request: Request) -> Response:
    await request.write(operations.delete_task(request.params["task_id"], request.by))
    return Response()


async def why(request: Request) -> Response:
    """Computed when asked, from what is free now."""
    task_id = request.params["task_id"]
    record, reasons = await request.write(operations.why(task_id))
    return Response(
        rest.Why(
            id=task_id,
            status=record.task.state.value,
            summary=_summary(record, reasons),
            clients=[rest.Missing(client, reason) for client, reason in reasons],
        )
    )


def _summary(record: TaskRecord, reasons: list[tuple[str, str]]) -> str:
    task = record.task
    if not task.waiting:
        return f"It does not wait: it is {task.state.value}."
    if not reasons:
        return "No client has ever connected; start an agent: aifarm-agent --server URL."
    wanted = "a client" if task.world_size == 1 else f"{task.world_size} clients at once"
    if all(reason == "not connected" for _, reason in reasons):
        return f"It waits for {wanted}; none is connected."
    return f"It waits for {wanted} that fits and is free."


async def attempts(request: Request) -> Response:
    record = await find(request)
    found = await request.read(request.facade.store.attempts, record.task.id)
    return Response(rest.AttemptList([views.attempt_full(attempt) for attempt in found]))


async def events(request: Request) -> Response:
    """Of one task, or of the whole farm where the path names none."""
    task_id = request.params.get("task_id")
    if task_id is not None:
        await find(request)
    after = request.query.after
    found = await request.read(
        request.facade.store.events, after=after, task_id=task_id, limit=request.query.limit
    )
    following = found[-1].id if found else after
    return Response(rest.EventList([views.event_full(event) for event in found], following))


async def logs(request: Request) -> Response:
    """Lines of one rank; of the latest attempt where none is named."""
    record = await find(request)
    query = request.query
    lines = await request.read(
        request.facade.store.log,
        record.task.id,
        attempt=record.task.attempt if query.attempt is None else query.attempt,
        rank=query.rank,
        first=query.first,
        limit=query.limit,
    )
    total = await request.read(request.facade.store.log_length, lines.key)
    return Response(
        rest.LogPage(
            attempt=lines.key.attempt,
            rank=lines.key.rank,
            first=lines.first,
            next=lines.first + len(lines.lines),
            total=total,
            lines=list(lines.lines),
        )
    )


async def metrics(request: Request) -> Response:
    """History of each metric: down-sampled to about `points`, or `points=all`."""
    record = await find(request)
    names = [name for name in request.query.names.split(",") if name]
    points = None if request.query.points == "all" else request.query.points
    store = request.facade.store
    series = await request.read(store.series, record.task.id, names=names, points=points)
    summaries = await request.read(store.summaries, record.task.id)
    if names:
        summaries = [summary for summary in summaries if summary.name in names]
    return Response(views.metric_history(series, summaries))


async def checkpoints(request: Request) -> Response:
    record = await find(request)
    found = await request.read(request.facade.store.checkpoints, record.task.id)
    return Response(rest.CheckpointList([views.checkpoint_full(one) for one in found]))


async def checkpoint_data(request: Request) -> Response | File:
    record = await find(request)
    wanted: Any = request.params["checkpoint_id"]
    found = await request.read(request.facade.store.checkpoint, record.task.id, wanted)
    if found is None:
        raise NotFound(f"Task {record.task.id} has no checkpoint {wanted}.")
    name = f"{record.task.id}-step{found.step}.pt"
    return File(found.key, found.parts, found.size, found.sha256, name)
