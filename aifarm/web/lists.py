"""Lists of tasks, and what is done to many of them at once."""

import asyncio
from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from aifarm.app import care, operations, views
from aifarm.app.errors import FarmError, InvalidRequest
from aifarm.app.messages import error_body
from aifarm.app.records import TaskRecord
from aifarm.app.scopes import Scope
from aifarm.app.search import Search, order, search_of
from aifarm.app.writer import Operation
from aifarm.core.task import State
from aifarm.web.http import Request, Response
from aifarm.web.paging import page_of, part_of
from aifarm.web.tasks import shown
from aifarm.wire import requests, rest, v1

MAX_BULK = 1_000


async def list_v1(request: Request) -> Response:
    """Tasks, page by page, the newest first."""
    query = request.query
    page, limit = page_of(request)
    search = Search(
        states=tuple(
            state.value
            for state in State
            if views.V1_STATUS.get(state, state.value) in query.status
        ),
        submitter=query.submitter,
        prefix=query.prefix,
        order=order(query.sort),
    )
    found = await request.read(
        request.facade.store.tasks, search, offset=(page.number - 1) * limit, limit=limit
    )
    rows = [views.task_row(record) for record in found.items]
    return Response(v1.TaskList(rows, found.total, page.number), headers=page.headers(found.total))


async def list_v2(request: Request) -> Response:
    """Tasks that meet everything asked for, in any order that there is, by page or by cursor.

    A walk by cursor begins with an empty `cursor` and goes on with the `next_cursor` of each
    answer until that is null. It is not disturbed by new tasks, and costs the same however deep."""
    search = search_of(request.query, request.query.sort)
    part = await part_of(
        request, search.order, partial(request.read, request.facade.store.tasks, search)
    )
    tasks = await _summarized(request, part.items)
    body = rest.TaskFullList(tasks, part.total, part.page, part.next_cursor)
    return Response(body, headers=part.headers)


async def _summarized(request: Request, records: list[TaskRecord]) -> list[rest.TaskFull]:
    tasks = [shown(request, record) for record in records]
    names = request.query.summaries
    if not names:
        return tasks
    ids = [task.id for task in tasks]
    summaries = await request.read(request.facade.store.summaries, ids, names=names)
    return [
        replace(task, summaries=views.metric_summaries(record, summaries.get(task.id, ())))
        for task, record in zip(tasks, records, strict=True)
    ]


async def bulk(request: Request) -> Response:
    """Does the same to many tasks, and says for each what became of it: those that refuse do not
    keep the others from it. `retry` answers with the new tasks."""
    operation = _action(request)
    ids = await _meant(request)

    async def one(task_id: str) -> rest.BulkResult:
        try:
            record = await request.write(operation(task_id))
        except FarmError as error:
            return rest.BulkResult(task_id, error=error_body(error))
        return rest.BulkResult(task_id, shown(request, record))

    return Response(rest.BulkResults(list(await asyncio.gather(*map(one, ids)))))


def _action(request: Request) -> Callable[[str], Operation]:
    """What is done to each task."""
    body, by = request.content, request.by
    match body.action:
        case "pause" | "resume" | "stop":
            wish = requests.UpdateStatus(status=_WISHES[body.action], reason=body.reason)
            return lambda task_id: operations.set_status(task_id, wish, by)
        case "delete":
            return lambda task_id: care.delete_task(task_id, by)
        case "restore":
            return lambda task_id: care.restore_task(task_id, by)
        case "retry":
            by.need(Scope.SUBMIT)
            return lambda task_id: operations.retry_task(task_id, requests.RetryTask(), by, None)
        case "tag":
            return lambda task_id: care.tag_task(task_id, body.tags, (), by)
        case _:
            return lambda task_id: care.tag_task(task_id, (), body.tags, by)


_WISHES = {"pause": "paused", "resume": "running", "stop": "stopped"}


async def _meant(request: Request) -> list[str]:
    """The ids, each once. Raises InvalidRequest where they are too many."""
    body = request.content
    if body.ids is not None:
        return list(dict.fromkeys(body.ids))
    found = await request.read(
        request.facade.store.tasks, search_of(body.filter), limit=MAX_BULK, counted=False
    )
    if found.following:
        raise InvalidRequest(
            f"The filter means more than {MAX_BULK} tasks; narrow it.", field="filter"
        )
    return [record.task.id for record in found.items]
