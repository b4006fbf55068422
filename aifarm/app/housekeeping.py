"""What the farm throws away by itself: old trash, uploads that were given up, stray bytes.

Rows go first, in one transaction; then the bytes that no row speaks of any more. A crash between
the two leaves stray bytes, which a later round finds.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from msgspec.structs import replace

from aifarm.app import data, paces
from aifarm.app.draft import Draft
from aifarm.app.errors import FarmError, NotFound
from aifarm.app.lookup import any_record, trashed_record
from aifarm.app.ports import Artifacts, Clock, Store
from aifarm.app.writer import Operation
from aifarm.core.task import Note, RankKey

log = logging.getLogger(__name__)

DAY = 86_400.0

TRASH_KEPT = 7 * DAY
"""Seconds for which a deletion can be undone."""

REPLACED_KEPT = 900.0
"""Seconds for which the bytes of an output stay that a newer version replaced: who downloads them
may come to an end. Rows speak of an output's bytes from the first to the last, so that no upload
is taken for a stray."""
SURPLUS_KEPT = 600.0
"""Seconds for which a checkpoint outlives its place among the newest: a download of it may end."""

STRAYS_KEPT = DAY
"""Seconds for which an upload may be without an end, and bytes without a row."""

PACES_KEPT = 90 * DAY
"""Seconds for which it is remembered what a step cost a gang, from the latest time on."""


class Housekeeper:
    """`write` gives an operation's value once it is durable, `read` runs what blocks; both raise
    FarmError."""

    def __init__(
        self,
        store: Store,
        artifacts: Artifacts,
        clock: Clock,
        write: Callable[[Operation], Awaitable[Any]],
        read: Callable[..., Awaitable[Any]],
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._clock = clock
        self._write = write
        self._read = read
        self._strays: dict[str, float] = {}

    async def tidy(self) -> None:
        """One round. What cannot be done now is left to the next."""
        now = self._clock()
        for record in await self._read(self._store.trash, now - TRASH_KEPT):
            keys = await self._write(purge(record.task.id, now - TRASH_KEPT))
            await self._read(discard, self._artifacts, keys)
        for upload in await self._read(self._store.uploads, before=now - STRAYS_KEPT):
            keys = await self._write(give_up(upload.id))
            await self._read(discard, self._artifacts, keys)
        for record in await self._read(self._store.data_on_its_way, now - STRAYS_KEPT):
            keys = await self._write(data.give_up(record.sha256, record.putter))
            await self._read(discard, self._artifacts, keys)
        await self._write(paces.forget(now - PACES_KEPT))
        await self._sweep(now)

    async def thin(self) -> None:
        """Of a task that runs the two newest checkpoints and the best stay; once it is over, the
        newest and the best. Pinned and final ones stay, and those that another began with."""
        before = self._clock() - SURPLUS_KEPT
        for checkpoint_id in await self._read(self._store.surplus, before):
            keys = await self._write(let_go(checkpoint_id))
            await self._read(discard, self._artifacts, keys)

    async def _sweep(self, now: float) -> None:
        """Bytes are written before the row that speaks of them, so strays get their time."""
        stored = set(await self._read(lambda: list(self._artifacts.keys())))
        strays = stored - await self._read(self._store.artifact_keys)
        self._strays = {key: self._strays.get(key, now) for key in strays}
        old = [key for key, since in self._strays.items() if now - since >= _kept(key)]
        await self._read(discard, self._artifacts, old)


def _kept(key: str) -> float:
    return REPLACED_KEPT if key.startswith("outputs/") else STRAYS_KEPT


def discard(artifacts: Artifacts, keys: Iterable[str]) -> None:
    """Removes bytes that no row speaks of; what fails is found again by `Housekeeper`. Blocks."""
    for key in keys:
        try:
            artifacts.delete(key)
        except FarmError as error:
            log.warning("%s", error.message)


def purge(task_id: str, before: float) -> Operation:
    """Forgets a task deleted `before` this time, unless a checkpoint of it is pinned. The value:
    where the bytes lie that nobody needs any more.

    A checkpoint with which other tasks began passes to the oldest of them; the files with which
    they began are theirs already.
    """

    def operation(draft: Draft) -> list[str]:
        try:
            record = trashed_record(draft, task_id)
        except NotFound:
            return []  # restored meanwhile
        held = any(key.task_id == task_id for key in draft.farm.holds)
        if held or not record.task.final or (record.deleted_at or 0.0) >= before:
            return []
        checkpoints = draft.store.checkpoints(task_id)
        if any(checkpoint.pinned for checkpoint in checkpoints):
            return []
        begun = draft.store.begun_from([checkpoint.id for checkpoint in checkpoints])
        freed = [upload.key for upload in draft.store.uploads(task_id=task_id)]
        kept = {output.key for output in draft.store.outputs(task_id)}
        freed += kept - draft.store.outputs_elsewhere(task_id)
        for checkpoint in checkpoints:
            heirs = [
                heir
                for heir in begun.get(checkpoint.id, ())
                if heir != task_id and not draft.is_out("task", heir)
            ]
            if heirs:
                draft.put("put_checkpoint", replace(checkpoint, task_id=heirs[0]))
            else:
                freed.append(checkpoint.key)
        draft.take_out("task", task_id)
        draft.put("purge_task", task_id)
        draft.note(Note("purged", f"Task {task_id} was in the trash for its time and is gone."))
        return freed

    return operation


def let_go(checkpoint_id: str) -> Operation:
    """Forgets a checkpoint, unless somebody needs it meanwhile. The value: where its bytes lie, if
    it was forgotten."""

    def operation(draft: Draft) -> list[str]:
        found = draft.store.checkpoint(checkpoint_id)
        if found is None or found.pinned or draft.is_out("checkpoint", checkpoint_id):
            return []
        # Of a task that is over too: it would be tried again from there.
        records = [*draft.records.values(), any_record(draft, found.task_id)]
        if any(one and one.checkpoint and one.checkpoint.id == checkpoint_id for one in records):
            return []
        draft.take_out("checkpoint", checkpoint_id)
        draft.put("drop_checkpoint", checkpoint_id)
        return [found.key]

    return operation


def give_up(upload_id: str) -> Operation:
    """Forgets an upload whose client no longer works on the rank. The value: where its bytes lie,
    if it was given up."""

    def operation(draft: Draft) -> list[str]:
        upload = draft.upload(upload_id)
        if upload is None:
            return []
        if RankKey(upload.task_id, upload.attempt, upload.rank) in draft.farm.holds:
            return []
        draft.drop_upload(upload_id)
        return [upload.key]

    return operation
