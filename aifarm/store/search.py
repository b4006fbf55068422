"""A `Search` as SQL. Whatever the asker chose travels as a parameter."""

from math import nan
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Double,
    Label,
    Select,
    and_,
    case,
    false,
    func,
    literal,
    or_,
    select,
    tuple_,
)

from aifarm.app.search import Condition, Config, Metric, Order, Position, Search, direction
from aifarm.store.facts import BEST, CONFIG, TAG
from aifarm.store.tables import PlainText, facts, series, tasks

_COLUMNS: dict[str, ColumnElement[Any]] = {
    "created_at": tasks.c.created_at,
    "updated_at": tasks.c.updated_at,
    "title": func.coalesce(tasks.c.title, tasks.c.name),
    "status": tasks.c.state,
}


def conditions(search: Search) -> list[ColumnElement[bool]]:
    """What a row of `tasks` must meet."""
    found: list[ColumnElement[bool]] = [tasks.c.deleted.is_(search.deleted)]
    for column, value in (
        (tasks.c.submitter, search.submitter),
        (tasks.c.project, search.project),
        (tasks.c.parent, search.parent),
    ):
        if value is not None:
            found.append(column == value)
    if search.states:
        found.append(tasks.c.state.in_(search.states))
    if search.names:
        found.append(tasks.c.name.in_(search.names))
    if search.prefix:
        found.append(func.substr(tasks.c.id, 1, len(search.prefix)) == search.prefix)
    if search.text:
        texts = (tasks.c.title, tasks.c.name, tasks.c.notes)
        found.append(or_(*(text.icontains(search.text, autoescape=True) for text in texts)))
    if search.since is not None:
        found.append(tasks.c.created_at >= search.since)
    if search.until is not None:
        found.append(tasks.c.created_at < search.until)
    found += [_with_fact(facts.c.key == TAG, facts.c.text == tag) for tag in search.tags]
    return found + [_meets(condition) for condition in search.where]


def _with_fact(*wanted: ColumnElement[bool]) -> ColumnElement[bool]:
    return tasks.c.id.in_(select(facts.c.task_id).where(*wanted))


def _meets(condition: Condition) -> ColumnElement[bool]:
    subject, value = condition.subject, condition.value
    if isinstance(subject, Metric):
        return _compared(_summary(subject), condition.operator, value)
    of_key = facts.c.key == CONFIG + subject.path
    if isinstance(value, float):
        if condition.operator == "!=":
            return _with_fact(of_key, or_(facts.c.number.is_(None), facts.c.number != value))
        return _with_fact(of_key, _compared(facts.c.number, condition.operator, value))
    is_text = facts.c.number.is_(None)
    match condition.operator:
        case "=":
            return _with_fact(of_key, is_text, facts.c.text == value)
        case "!=":
            return _with_fact(of_key, or_(~is_text, facts.c.text != value))
        case _:
            return _with_fact(of_key, is_text, facts.c.text.icontains(value, autoescape=True))


def _compared(left: ColumnElement[Any], operator: str, value: Any) -> ColumnElement[bool]:
    comparisons = {
        "=": left == value,
        "!=": left != value,
        "<": left < value,
        "<=": left <= value,
        ">": left > value,
        ">=": left >= value,
    }
    return comparisons[operator]


def _summary(metric: Metric) -> ColumnElement[Any]:
    """A task's value, over its attempts. What is no number is NULL, as SQLite keeps it anyway."""

    def of(column: ColumnElement[Any], newest: bool = False) -> ColumnElement[Any]:
        query: Select[Any] = select(column).where(
            series.c.task_id == tasks.c.id, series.c.rank == 0, series.c.name == metric.name
        )
        if newest:
            query = query.order_by(series.c.attempt.desc()).limit(1)
        return query.correlate(tasks).scalar_subquery()

    no_number = literal(nan, Double)
    low = of(func.min(func.nullif(series.c.min, no_number)))
    high = of(func.max(func.nullif(series.c.max, no_number)))
    match metric.stat:
        case "min":
            return low
        case "max":
            return high
        case "last":
            return of(func.nullif(series.c.last, no_number), newest=True)
        case "step":
            return of(series.c.last_step, newest=True)
    said = (
        select(facts.c.text)
        .where(facts.c.task_id == tasks.c.id, facts.c.key == literal(BEST + metric.name, PlainText))
        .correlate(tasks)
        .scalar_subquery()
    )
    return case(
        (func.coalesce(said, direction({}, metric.name)) == "min", low),
        else_=high,
    )


# ---------------------------------------------------------------- order


class Key(NamedTuple):
    """One thing that rows are sorted by; where it may be NULL, those come last.

    `value` is to be selected: ORDER BY names it by its label, and computes it once.
    """

    value: Label[Any]
    nullable: bool = False


def keys(order: Order) -> list[Key]:
    """What makes the order, down to the id; the values of a `Position`."""
    match order.subject:
        case Config(path):
            of_key = (facts.c.task_id == tasks.c.id, facts.c.key == CONFIG + path)
            values: list[ColumnElement[Any]] = [
                select(column).where(*of_key).correlate(tasks).scalar_subquery()
                for column in (facts.c.number, facts.c.text)
            ]
        case Metric() as metric:
            values = [_summary(metric)]
        case column:
            values = [_COLUMNS[column]]
    nullable = not isinstance(order.subject, str)
    found = [Key(value.label(f"key_{at}"), nullable) for at, value in enumerate(values)]
    return [*found, Key(tasks.c.id.label("key_id"))]


def clauses(order: Order, by: list[Key]) -> list[ColumnElement[Any]]:
    """For ORDER BY."""
    found = [value.desc() if order.descending else value.asc() for value, _ in by]
    return [
        clause.nulls_last() if nullable else clause
        for clause, (_, nullable) in zip(found, by, strict=True)
    ]


def behind(order: Order, by: list[Key], position: Position) -> ColumnElement[bool]:
    """Whether a row comes after `position`."""
    if not any(key.nullable for key in by):
        row, last = tuple_(*(key.value for key in by)), tuple_(*map(literal, position))
        return row < last if order.descending else row > last
    found: list[ColumnElement[bool]] = []
    equal: list[ColumnElement[bool]] = []
    for (value, nullable), seen in zip(by, position, strict=True):
        if seen is None:
            further: ColumnElement[bool] = false()
            same = value.is_(None)
        else:
            further = value < seen if order.descending else value > seen
            further = or_(further, value.is_(None)) if nullable else further
            same = value == seen
        found.append(and_(*equal, further))
        equal.append(same)
    return or_(*found)
