"""What can become a table of pandas, which is loaded only then."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from aifarm.sdk.errors import AIFarmError
from aifarm.wire import rest
from aifarm.wire.types import JSON

if TYPE_CHECKING:
    import pandas

Column = list[int] | list[float] | list[float | None]

SHOWN = ("id", "title", "project", "status", "progress", "submitter", "created_at")
"""Columns of a list of tasks as a notebook shows it."""


class HasInfo(Protocol):
    @property
    def info(self) -> rest.TaskFull: ...


T = TypeVar("T", bound=HasInfo)


class TaskList(list[T]):
    """Tasks as they were when they were listed: a list that notebooks show as a table."""

    def to_dataframe(self) -> "pandas.DataFrame":
        """One row a task: what it is, `config.*`, `metrics.*` (the latest values) and, where
        summaries were asked for, `metrics.*.min` and so on. Raises AIFarmError without pandas."""
        return _frame(_flat(task.info) for task in self)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in SHOWN)
        rows = "".join(f"<tr>{_cells(task.info)}</tr>" for task in self)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def __repr__(self) -> str:
        lines = "".join(f"\n  {task!r}" for task in self)
        return f"<{len(self)} task{'s' * (len(self) != 1)}>{lines}"


class History(dict[str, dict[str, Column]]):
    """By metric, columns of equal length: step, time, value, min, max."""

    @classmethod
    def of(cls, history: rest.MetricHistory) -> "History":
        return cls(
            (
                series.name,
                {
                    "step": series.step,
                    "time": series.time,
                    "value": series.value,
                    "min": series.min,
                    "max": series.max,
                },
            )
            for series in history.series
        )

    def to_dataframe(self) -> "pandas.DataFrame":
        """One row a point: name, step, time (UTC), value, min, max. Raises AIFarmError without
        pandas."""
        frame = _frame(
            {"name": name, **dict(zip(columns, values, strict=True))}
            for name, columns in self.items()
            for values in zip(*columns.values(), strict=True)
        )
        if len(frame):
            import pandas

            frame["time"] = pandas.to_datetime(frame["time"], unit="s", utc=True)
        return frame


def _frame(rows: Iterable[dict[str, Any]]) -> "pandas.DataFrame":
    try:
        import pandas
    except ImportError:
        raise AIFarmError(
            "A table is made with pandas, which this Python does not have: pip install pandas."
        ) from None
    return pandas.DataFrame(list(rows))


def _flat(info: rest.TaskFull) -> dict[str, Any]:
    row: dict[str, Any] = {
        name: getattr(info, name)
        for name in (
            "id", "title", "project", "tags", "status", "submitter", "name", "version", "progress",
            "cause", "attempt", "clients", "parent", "created_at", "started_at", "ended_at",
        )
    }  # fmt: skip
    row |= _nested("config", info.config)
    row |= _nested("metrics", info.metrics)
    for summary in info.summaries or ():
        row |= {
            f"metrics.{summary.name}.{stat}": getattr(summary, stat)
            for stat in ("last", "min", "max", "best")
        }
    return row


def _nested(prefix: str, values: Mapping[str, JSON]) -> dict[str, Any]:
    """Objects within objects get names with dots, as the farm's filters know them."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            flat |= _nested(f"{prefix}.{name}", value)
        else:
            flat[f"{prefix}.{name}"] = value
    return flat


def _cells(info: rest.TaskFull) -> str:
    values = (
        info.id[:8],
        info.title or info.name,
        info.project or "",
        info.status,
        f"{info.progress:.0f} %",
        info.submitter,
        f"{info.created_at:%Y-%m-%d %H:%M}",
    )
    return "".join(f"<td>{escape(value)}</td>" for value in values)
