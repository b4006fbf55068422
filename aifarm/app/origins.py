"""What a new task begins with: another one's checkpoint, and the files that this one keeps.

These are as they were at its latest checkpoint or after it, so they go with that one alone.
"""

from msgspec import Struct
from msgspec.structs import replace

from aifarm.app.draft import Draft
from aifarm.app.errors import Conflict, NotFound
from aifarm.app.lookup import checkpoint_by_id, checkpoint_of, task_record
from aifarm.app.records import CheckpointRecord, OutputRecord, TaskRecord, TaskSpec
from aifarm.wire.globs import named

BEST = ":best"
"""After a task's id: its best checkpoint, not its latest."""


class Origin(Struct, frozen=True):
    """`task_id`: whose the files are, and the checkpoint, unless that is what it began with."""

    task_id: str
    checkpoint: CheckpointRecord | None = None
    files: tuple[OutputRecord, ...] = ()

    @property
    def words(self) -> str:
        """For the story of the task that begins with it; "" for nothing."""
        said = ""
        if self.checkpoint is not None:
            said += f", from step {self.checkpoint.step} of {self.checkpoint.task_id}"
        if self.files:
            said += f", with {len(self.files)} files of {self.task_id}"
        return said


def named_by(draft: Draft, which: str, spec: TaskSpec) -> Origin:
    """Of a checkpoint by its id, of the task of this id, or of its best checkpoint ("ID:best").

    Raises NotFound, also where it belongs to a task in the trash, and Conflict.
    """
    found = checkpoint_by_id(draft, which)
    if found is not None:
        task_record(draft, found.task_id, "from_checkpoint")
        return _with(draft, found, spec)
    task_id = which.removesuffix(BEST)
    try:
        record = task_record(draft, task_id)
    except NotFound:
        words = f"There is no checkpoint and no task {task_id}."
        raise NotFound(words, field="from_checkpoint") from None
    if which != task_id:
        return _with(draft, _best(draft, task_id), spec)
    origin = _latest(draft, record, spec)
    if origin.checkpoint is None and not origin.files:
        raise Conflict(
            f"Task {which} has no checkpoint yet, and keeps none of the files that `outputs` name.",
            field="from_checkpoint",
        )
    return origin


def of_retry(draft: Draft, parent: TaskRecord, which: str | None) -> Origin:
    """Of a task that is tried again, as RetryTask says it. Raises NotFound, Conflict."""
    task_id, spec = parent.task.id, parent.spec
    if which == "latest":
        return _latest(draft, parent, spec)
    if which == "best":
        return _with(draft, _best(draft, task_id), spec)
    if which == "origin" and spec.from_checkpoint is not None:
        return named_by(draft, spec.from_checkpoint, spec)
    if which is None or which == "origin":
        return Origin(task_id)
    return _with(draft, checkpoint_of(draft, task_id, which), spec)


def inherit(draft: Draft, task_id: str, files: tuple[OutputRecord, ...]) -> None:
    """The task keeps these files from now on: the same bytes, which stay for as long as one of
    their tasks does."""
    if files:
        own = [replace(record, task_id=task_id, attempt=0) for record in files]
        draft.change_outputs(task_id, own, ())


def _latest(draft: Draft, record: TaskRecord, spec: TaskSpec) -> Origin:
    """What a task would resume from itself."""
    ref, task_id = record.checkpoint, record.task.id
    found = checkpoint_by_id(draft, ref.id) if ref is not None else None
    return Origin(task_id, found, _files(draft, task_id, spec))


def _with(draft: Draft, checkpoint: CheckpointRecord, spec: TaskSpec) -> Origin:
    latest = task_record(draft, checkpoint.task_id).checkpoint
    is_latest = latest is not None and latest.id == checkpoint.id
    files = _files(draft, checkpoint.task_id, spec) if is_latest else ()
    return Origin(checkpoint.task_id, checkpoint, files)


def _files(draft: Draft, task_id: str, spec: TaskSpec) -> tuple[OutputRecord, ...]:
    """What a task keeps, as far as another one would keep it."""
    globs = spec.program.outputs
    if not globs:
        return ()
    kept = draft.outputs(task_id).values()
    return tuple(record for record in kept if named(record.path, globs))


def _best(draft: Draft, task_id: str) -> CheckpointRecord:
    for one in draft.store.checkpoints(task_id):
        if one.best and not draft.is_out("checkpoint", one.id):
            return one
    raise Conflict(
        f"Task {task_id} has no best checkpoint: its config names none, or it has not come to one.",
        field="from_checkpoint",
    )
