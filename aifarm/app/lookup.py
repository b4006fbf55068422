"""What operations look up by id, in the batch under way and in the store behind it."""

from msgspec.structs import replace

from aifarm.app.draft import Draft
from aifarm.app.errors import NotFound
from aifarm.app.records import CheckpointRecord, TaskRecord
from aifarm.wire.agent import CheckpointRef


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
    found = checkpoint_by_id(draft, checkpoint_id)
    if found is None or found.task_id != task_id:
        raise NotFound(f"Task {task_id} has no checkpoint {checkpoint_id}.")
    return found


def checkpoint_by_id(draft: Draft, checkpoint_id: str) -> CheckpointRecord | None:
    """Of whatever task."""
    if draft.is_out("checkpoint", checkpoint_id):
        return None
    return draft.store.checkpoint(checkpoint_id)


def ref_of(checkpoint: CheckpointRecord) -> CheckpointRef:
    """As a task names what it resumes from."""
    return CheckpointRef(checkpoint.id, checkpoint.step, checkpoint.size, checkpoint.sha256)
