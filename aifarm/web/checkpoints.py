"""What researchers load, keep and delete, and agents resume from."""

from aifarm.app import assignments, care, views
from aifarm.app.errors import NotFound
from aifarm.app.housekeeping import discard
from aifarm.web.http import File, Request, Response
from aifarm.web.tasks import find
from aifarm.wire import rest


async def list_all(request: Request) -> Response:
    """A task's checkpoints, the latest step first."""
    record = await find(request)
    found = await request.read(request.facade.store.checkpoints, record.task.id)
    return Response(rest.CheckpointList([views.checkpoint_full(one) for one in found]))


async def data(request: Request) -> Response | File:
    """The bytes of a checkpoint of the task, or of the one it began with; ranges are honoured."""
    record = await find(request)
    if request.by.role == "agent":
        await request.write(assignments.need_task(record.task.id, request.by))
    wanted = request.params["checkpoint_id"]
    found = await request.read(request.facade.store.checkpoint, wanted)
    if found is None or (
        found.task_id != record.task.id and found.id != record.spec.from_checkpoint
    ):
        raise NotFound(f"Task {record.task.id} has no checkpoint {wanted}.")
    name = f"{found.task_id}-step{found.step}.pt"
    return File(found.key, found.parts, found.size, found.sha256, name)


async def pin(request: Request) -> Response:
    """Keeps a checkpoint, or no longer: a pinned one is not deleted, nor is its task purged."""
    task_id, checkpoint_id = request.params["task_id"], request.params["checkpoint_id"]
    operation = care.pin_checkpoint(task_id, checkpoint_id, request.content.pinned, request.by)
    return Response(views.checkpoint_full(await request.write(operation)))


async def delete(request: Request) -> Response:
    """Deletes a checkpoint for good. Refused with 409 where it is pinned, or where a task that is
    not over would resume from it."""
    task_id, checkpoint_id = request.params["task_id"], request.params["checkpoint_id"]
    key = await request.write(care.delete_checkpoint(task_id, checkpoint_id, request.by))
    await request.read(discard, request.facade.artifacts, [key])
    return Response()
