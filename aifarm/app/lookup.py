"""What operations look up by id, in the batch under way and in the store behind it."""

from msgspec.structs import replace

from aifarm.app.draft import Draft
from aifarm.app.errors import Conflict, NotFound
from aifarm.app.records import CheckpointRecord, TaskRecord
from aifarm.wire.agent import CheckpointRef

BEST = ":best"
"""After a task's id: its best checkpoint, not its latest."""


def task_record(draft: Draft, task_id: str, field: str = "task_id") -> TaskRecord:
    """A task of any state. Raises NotFound, also for one in the trash."""
    record = _known(draft, task_id) or draft.store.task(task_id)
    if record is None or record.deleted:
        raise NotFound(f"There is no task {task_id}.", field=field)
    return record


def trashed_record(draft: Draft, task_id: str) -> TaskRecord:
    """Raises NotFound unless the task is in the trash."""
    record = _known(draft, task_id) or draft.store.task(task_id, deleted=True)
    if record is None or not record.deleted or draft.is_out("task", task_id):
        raise NotFound(f"There is no task {task_id} in the trash.")
    return record


def any_record(draft: Draft, task_id: str) -> TaskRecord | None:
    """A task of any state, in the trash or not."""
    store = draft.store
    return _known(draft, task_id) or store.task(task_id) or store.task(task_id, deleted=True)


def _known(draft: Draft, task_id: str) -> TaskRecord | None:
    record = draft.records.get(task_id)
    if record is not None:
        return replace(record, task=draft.farm.tasks[task_id])
    return draft.settled.get(task_id)


def checkpoint_of(draft: Draft, task_id: str, checkpoint_id: str) -> CheckpointRecord:
    """Raises NotFound, also for another task's."""
    found = _checkpoint(draft, checkpoint_id)
    if found is None or found.task_id != task_id:
        raise NotFound(f"Task {task_id} has no checkpoint {checkpoint_id}.")
    return found


def checkpoint_to_begin_with(draft: Draft, which: str) -> CheckpointRecord:
    """A checkpoint by its id, the one that a task of this id would resume from, or the best one of
    a task ("ID:best").

    Raises NotFound, also where it belongs to a task in the trash, and Conflict.
    """
    found = _checkpoint(draft, which)
    if found is not None:
        task_record(draft, found.task_id, "from_checkpoint")
        return found
    task_id = which.removesuffix(BEST)
    try:
        record = task_record(draft, task_id)
    except NotFound:
        words = f"There is no checkpoint and no task {task_id}."
        raise NotFound(words, field="from_checkpoint") from None
    if which != task_id:
        return _best(draft, task_id)
    found = _checkpoint(draft, record.checkpoint.id) if record.checkpoint is not None else None
    if found is None:
        raise Conflict(f"Task {which} has no checkpoint yet.", field="from_checkpoint")
    return found


def _best(draft: Draft, task_id: str) -> CheckpointRecord:
    for one in draft.store.checkpoints(task_id):
        if one.best and not draft.is_out("checkpoint", one.id):
            return one
    raise Conflict(
        f"Task {task_id} has no best checkpoint: its config names none, or it has not come to one.",
        field="from_checkpoint",
    )


def _checkpoint(draft: Draft, checkpoint_id: str) -> CheckpointRecord | None:
    if draft.is_out("checkpoint", checkpoint_id):
        return None
    return draft.store.checkpoint(checkpoint_id)


def ref_of(checkpoint: CheckpointRecord) -> CheckpointRef:
    """As a task names what it resumes from."""
    return CheckpointRef(checkpoint.id, checkpoint.step, checkpoint.size, checkpoint.sha256)
