"""The files that a task keeps: what its globs name, and its final weights."""

from aifarm.app import assignments, views
from aifarm.app.errors import NotFound
from aifarm.app.records import TaskRecord
from aifarm.web.http import File, Request, Response, Stream
from aifarm.web.tasks import find
from aifarm.web.zipping import zipped
from aifarm.wire import rest


async def list_all(request: Request) -> Response:
    """The files that a task keeps, by path: what its `outputs` name under its working folder, as
    they were at the latest checkpoint, a while ago, or at the end; and, once it has completed, its
    final weights as `weights.safetensors`."""
    record = await _readable(request)
    found = await request.read(request.facade.store.outputs, record.task.id)
    return Response(rest.OutputList([views.output_full(one) for one in found]))


async def data(request: Request) -> File:
    """The bytes of one of a task's outputs, as an attachment; ranges are honoured. The path may be
    written with its slashes, or with %2F for them."""
    record = await _readable(request)
    path = request.params["path"]
    found = await request.read(request.facade.store.output, record.task.id, path)
    if found is None:
        raise NotFound(f"Task {record.task.id} has no output {path[:500]}.", field="path")
    name = found.path.rpartition("/")[2]
    return File(found.key, found.parts, found.size, found.sha256, name)


async def archive(request: Request) -> Stream:
    """All files that a task keeps, in one zip archive, each at its own path and as it is. It is
    made as it is read, so that its size does not matter; where a file cannot be read the connection
    is cut, and the archive is not whole."""
    record = await _readable(request)
    found = await request.read(request.facade.store.outputs, record.task.id)
    pieces = zipped(request.facade.artifacts, found)
    return Stream(pieces, f"{record.task.id}-outputs.zip", saved=True)


async def _readable(request: Request) -> TaskRecord:
    """The task, where it is the asking agent's to know. Raises NotFound, Forbidden."""
    record = await find(request)
    if request.by.role == "agent":
        await request.write(assignments.need_task(record.task.id, request.by))
    return record
