"""What the steps of gangs cost: kept as it is measured, and asked for by a dry run."""

import hashlib
from collections.abc import Iterable

from msgspec import Struct

from aifarm.app.draft import Draft
from aifarm.app.records import PaceRecord, TaskRecord
from aifarm.app.writer import Operation
from aifarm.core.pace import Pace
from aifarm.core.task import Note
from aifarm.core.why import Explanation
from aifarm.wire.agent import TaskMeasured


class Expected(Struct, frozen=True):
    """How long a step of a gang will take, in seconds; None where that is not known."""

    words: str
    seconds: float | None = None


def keep(draft: Draft, record: TaskRecord, message: TaskMeasured) -> None:
    """Tells the task's story, and remembers for dry runs to come."""
    task = record.task
    pace = Pace(
        world_size=task.world_size,
        compute=message.compute,
        gradients=message.gradients,
        bandwidth=message.bandwidth,
        latency=message.latency,
    )
    kind = "slow_gang" if pace.slower else "measured"
    draft.note(Note(kind, pace.words(), task.id, None, task.attempt))
    if record.spec.package is not None:
        clients = [rank.client_id for rank in task.ranks]
        known = PaceRecord(record.spec.package.sha256, gang_of(clients), draft.at, pace)
        draft.put("put_pace", known)


def forget(before: float) -> Operation:
    """Drops what was measured `before` this time: its package or its clients may be long gone."""
    return lambda draft: draft.put("drop_paces", before)


def expected(draft: Draft, record: TaskRecord, explained: Explanation) -> Expected | None:
    """Of a submission: what is known of its package, over the links of the clients that it would
    get where those are known. None for one client."""
    size = record.task.world_size
    if size == 1:
        return None
    package = record.spec.package.sha256 if record.spec.package else ""
    gang = gang_of(explained.fits[: record.task.n_clients]) if explained.starts else ""
    known = draft.store.paces(package, gang)
    work = next((one.pace for one in known if one.package == package), None)
    if work is None:
        return Expected("How long a step takes is not known: no gang has trained this package yet.")
    links = next((one.pace for one in known if one.gang == gang), work)
    pace = Pace(work.world_size, work.compute, work.gradients, links.bandwidth, links.latency)
    return Expected(pace.of(size).words(), pace.of(size).step)


def gang_of(clients: Iterable[str]) -> str:
    """A name for these clients together, in whatever order."""
    return hashlib.sha256(",".join(sorted(set(clients))).encode()).hexdigest()
