"""Why a task waits, as the API shows it."""

from aifarm.app.paces import Expected
from aifarm.app.records import TaskRecord
from aifarm.core.task import State
from aifarm.core.why import Explanation, Miss
from aifarm.wire import rest


def _missing(miss: Miss) -> rest.Missing:
    holders = [rest.Holder(*holder) for holder in miss.held_by]
    return rest.Missing(miss.client_id, miss.reason, miss.never, holders)


def why(record: TaskRecord, explained: Explanation | None) -> rest.Why:
    """`explained`: None where the task does not wait."""
    task_id, status = record.task.id, record.task.state.value
    if explained is None:
        paused = record.task.state is State.PAUSED and not record.task.ranks
        words = "it is paused and holds no client; resume it" if paused else f"it is {status}"
        words = "it has failed" if status == "failed" else words
        return rest.Why(task_id, status, f"It does not wait: {words}.", [])
    return rest.Why(
        id=task_id,
        status=status,
        summary=explained.summary,
        clients=[_missing(miss) for miss in explained.misses],
        position=explained.position,
        hints=list(explained.hints),
    )


def check(explained: Explanation, expected: Expected | None) -> rest.Check:
    return rest.Check(
        would_start=explained.starts,
        position=explained.position,
        fits=list(explained.fits),
        could=list(explained.could),
        misses=[_missing(miss) for miss in explained.misses if not miss.fits],
        summary=explained.summary,
        hints=list(explained.hints),
        pace=expected.words if expected else None,
        step_seconds=expected.seconds if expected else None,
    )
