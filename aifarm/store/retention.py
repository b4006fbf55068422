"""Which checkpoints are no longer kept: a query over all tasks."""

from sqlalchemy import Select, and_, case, exists, func, or_, select, tuple_

from aifarm.core.task import FINAL
from aifarm.store.tables import checkpoints, tasks

KEPT_RUNNING = 2
KEPT_FINAL = 1


def surplus(before: float) -> Select[tuple[str]]:
    """The ids of those that since `before` this time neither are among the newest of their task,
    nor its best, nor final, nor pinned, and that no task began with."""
    other = checkpoints.alias()
    newer = and_(
        other.c.task_id == checkpoints.c.task_id,
        other.c.created_at < before,
        tuple_(other.c.step, other.c.created_at, other.c.id)
        > tuple_(checkpoints.c.step, checkpoints.c.created_at, checkpoints.c.id),
    )
    how_many_newer = select(func.count()).where(newer).scalar_subquery()
    over = and_(tasks.c.state.in_([str(state) for state in FINAL]), tasks.c.ended_at < before)
    return (
        select(checkpoints.c.id)
        .join(tasks, tasks.c.id == checkpoints.c.task_id)
        .where(
            checkpoints.c.created_at < before,
            checkpoints.c.pinned.is_(False),
            checkpoints.c.final.is_(False),
            how_many_newer >= case((over, KEPT_FINAL), else_=KEPT_RUNNING),
            or_(checkpoints.c.best.is_(False), exists().where(newer, other.c.best.is_(True))),
            checkpoints.c.id.not_in(
                select(tasks.c.from_checkpoint).where(tasks.c.from_checkpoint.is_not(None))
            ),
        )
        .order_by(checkpoints.c.created_at)
    )
