"""What researchers submit, and all that comes of it."""

import asyncio

from msgspec.structs import replace

from aifarm.app import care, operations, patterns, reasons, views
from aifarm.app.errors import NotFound
from aifarm.app.records import TaskRecord
from aifarm.core.task import FINAL, State
from aifarm.web.http import Request, Response
from aifarm.web.quota import need_room
from aifarm.wire import rest, v1

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


def shown(request: Request, record: TaskRecord) -> rest.TaskFull:
    """As whoever asks may see it."""
    return views.task_full(record, private=request.by.controls(record.task.submitter))


async def _create(request: Request) -> TaskRecord:
    await need_room(request)
    await request.read(patterns.check, request.content.progress_from)
    key = request.headers.get("Idempotency-Key")
    operation = operations.create_task(request.content, request.by, request.host.names, key)
    record: TaskRecord = await request.write(operation)
    return record


async def create_v1(request: Request) -> Response:
    """Submits a task, which waits as pending until clients that fit are free.

    The package is named by `url`, or by `name` and `version`; one of this farm must have been
    published before (404 else). Send an Idempotency-Key, and a repeat after a lost answer makes no
    second task.
    """
    return Response(views.task_created(await _create(request)))


async def create_v2(request: Request) -> Response:
    """Submits a task. With an `Idempotency-Key`, sending it again gives the same task."""
    return Response(shown(request, await _create(request)))


async def retry(request: Request) -> Response:
    """Submits a task that is over once more, as a new one whose `parent` it is. The new task goes
    on from the latest checkpoint, unless the body says otherwise."""
    await need_room(request)
    task_id = request.params["task_id"]
    key = request.headers.get("Idempotency-Key")
    operation = operations.retry_task(task_id, request.content, request.by, key)
    return Response(shown(request, await request.write(operation)))


async def edit(request: Request) -> Response:
    """Changes a task's project, title, tags and notes, also after its end. What the body leaves
    out stays as it is, null removes, `tags` replaces all."""
    task_id = request.params["task_id"]
    record = await request.write(care.edit_task(task_id, request.content, request.by))
    return Response(shown(request, record))


async def restore(request: Request) -> Response:
    """Takes a task out of the trash, where it waits for 7 days after its deletion."""
    record = await request.write(care.restore_task(request.params["task_id"], request.by))
    return Response(shown(request, record))


async def get_v1(request: Request) -> Response:
    """Shows one task: its status, its progress, the latest value of each metric.

    Finished tasks are shown as well.
    """
    return Response(views.task_details(await find(request)))


async def get_v2(request: Request) -> Response:
    """Everything about a task, with the summaries of all its metrics."""
    record = await find(request)
    found = await request.read(request.facade.store.summaries, [record.task.id])
    summaries = views.metric_summaries(record, found.get(record.task.id, ()))
    return Response(replace(shown(request, record), summaries=summaries))


async def status_v1(request: Request) -> Response:
    """Pauses, resumes or stops a task; the answer comes once that is recorded.

    The clients obey a moment later. The same again is fine; a task that has ended cannot be
    changed (409). The reason is kept among the task's events.
    """
    body = request.content
    task_id = request.params["task_id"]
    record = await request.write(operations.set_status(task_id, body, request.by))
    updated = views.task_row(record).updated_at
    return Response(v1.StatusUpdated(task_id, body.status, updated))


async def status_v2(request: Request) -> Response:
    """Pauses, resumes or stops a task, and waits up to 1 s for its clients to obey.

    `desired` is what was recorded, `observed` what is so by now; the live feed tells the rest. The
    same again is fine; a task that has ended cannot be changed (409).
    """
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
    """Deletes a task; where it still runs, it is stopped. Version 2 can restore it for 7 days."""
    await request.write(care.delete_task(request.params["task_id"], request.by))
    return Response()


async def check(request: Request) -> Response:
    """A dry run: what would become of this submission if it were made now. Nothing is stored.

    One that is not valid is answered as its creation would be. With `unpublished`, the package
    need not be there yet.
    """
    await request.read(patterns.check, request.content.progress_from)
    operation = operations.check_task(
        request.content, request.by, request.host.names, request.query.unpublished
    )
    return Response(reasons.check(*await request.write(operation)))


async def why(request: Request) -> Response:
    """Why a task waits: for each client the first requirement that it misses, and what would let
    the task start. Worked out when asked, from what is free now."""
    record, explained = await request.write(operations.why(request.params["task_id"]))
    return Response(reasons.why(record, explained))


async def attempts(request: Request) -> Response:
    """Every try of a task, the first one first, with its ranks: where each ran, how far it is, and
    what it ran with."""
    record = await find(request)
    store = request.facade.store
    found = await request.read(store.attempts, record.task.id)
    holds = {hold.key: hold.seq for hold in await request.read(store.holds, record.task.id)}
    return Response(
        rest.AttemptList([views.attempt_full(attempt, record.task, holds) for attempt in found])
    )


async def events(request: Request) -> Response:
    """Lists what happened and why, oldest first: to one task, or in the whole farm.

    Events are never changed; `next` of the answer is the `after` of what follows.
    """
    task_id = request.params.get("task_id")
    if task_id is not None:
        await find(request)
    after = request.query.after
    found = await request.read(
        request.facade.store.events, after=after, task_id=task_id, limit=request.query.limit
    )
    return Response(views.event_list(found, after))


async def metrics(request: Request) -> Response:
    """Shows the history of each metric of a task, and a summary of it.

    A long history is thinned to about `points` points, each with the least and the greatest
    value around it, so that no spike is lost; `points=all` gives every point. A part of it, from
    `first_step` to `last_step`, is as much finer. The summary is always that of the whole.
    """
    record = await find(request)
    query = request.query
    names = [name for name in query.names.split(",") if name]
    store = request.facade.store
    series = await request.read(
        store.series,
        record.task.id,
        names=names,
        points=None if query.points == "all" else query.points,
        first=query.first_step,
        last=query.last_step,
    )
    summaries = await request.read(store.summaries, [record.task.id], names=names)
    return Response(views.metric_history(record, series, summaries.get(record.task.id, [])))
