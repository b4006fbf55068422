"""What lists of tasks can be asked for, as values: parsed here, turned into SQL by the store.

Only what is named here can be compared or sorted by; names and values of the asker's choice are
never more than data.
"""

import re
from math import isinf
from typing import Literal, get_args

import msgspec
from msgspec import Struct

from aifarm.app.errors import InvalidRequest
from aifarm.wire.query import TaskFilter
from aifarm.wire.types import Direction

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "~"]
Stat = Literal["last", "min", "max", "best", "step"]
Column = Literal["created_at", "updated_at", "title", "status"]


class Config(Struct, frozen=True, tag=True):
    """A value of the config; `path` leads into nested objects, by dots."""

    path: str


class Metric(Struct, frozen=True, tag=True):
    """A number from the summary of a metric."""

    name: str
    stat: Stat


class Condition(Struct, frozen=True):
    """A number is compared with numbers only, text (`=`, `!=`, `~`) with text."""

    subject: Config | Metric
    operator: Operator
    value: float | str


class Order(Struct, frozen=True):
    """Ties are broken by the id. `subject` a str: a property of the task itself."""

    subject: Config | Metric | Column = "created_at"
    descending: bool = True


class Search(Struct, frozen=True, kw_only=True):
    """All that is given must hold, as `wire.query.TaskFilter`; times are seconds."""

    states: tuple[str, ...] = ()
    submitter: str | None = None
    project: str | None = None
    tags: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    prefix: str | None = None
    text: str | None = None
    since: float | None = None
    until: float | None = None
    parent: str | None = None
    where: tuple[Condition, ...] = ()
    deleted: bool = False
    order: Order = Order()


Position = tuple[float | str | None, ...]
"""Where a list goes on: what it is sorted by in the last row that was seen, then its id."""


def search_of(asked: TaskFilter, sort: str = "-created_at") -> Search:
    """Raises InvalidRequest."""
    return Search(
        states=tuple(asked.status),
        submitter=asked.submitter,
        project=asked.project,
        tags=tuple(asked.tag),
        names=tuple(asked.name),
        prefix=asked.prefix,
        text=asked.search,
        since=asked.since.timestamp() if asked.since else None,
        until=asked.until.timestamp() if asked.until else None,
        parent=asked.parent,
        where=tuple(map(condition, asked.where)),
        deleted=asked.deleted,
        order=order(sort),
    )


def direction(best: dict[str, Direction], name: str) -> Direction:
    """Which end of a metric is the good one: as the submitter said, else by its name."""
    return best.get(name) or ("min" if re.search("loss|error", name.lower()) else "max")


# ---------------------------------------------------------------- the grammar

_CONDITION = re.compile(r"([^\s=!<>~]+)\s*(<=|>=|!=|=|<|>|~)\s*(.*)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_EXPECTED = "config.NAME or metrics.NAME.STAT, an operator, a value: metrics.loss.min<0.5"


def condition(text: str) -> Condition:
    """`config.optimizer.name=adam`, `metrics.loss.min<=0.5`. Raises InvalidRequest."""
    parts = _CONDITION.fullmatch(text.strip())
    if parts is None:
        raise _refused("where", f"{text!r} is no condition", _EXPECTED)
    found, operator, value = subject(parts[1], "where"), parts[2], _value(parts[3])
    if isinstance(found, Metric) and isinstance(value, str):
        raise _refused("where", f"A metric is compared with a number, not {value!r}", _EXPECTED)
    if isinstance(value, str) and operator not in ("=", "!=", "~"):
        raise _refused("where", f"Text is compared with =, != or ~, not {operator}", _EXPECTED)
    if isinstance(value, float) and operator == "~":
        if isinstance(found, Metric):
            raise _refused("where", "~ is for text; a metric is a number", _EXPECTED)
        value = parts[3]
    return Condition(found, msgspec.convert(operator, Operator), value)


def _value(text: str) -> float | str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1]
    if _NUMBER.fullmatch(text) is None:
        return text
    number = float(text)
    if isinf(number):
        raise _refused("where", f"{text} is too large a number", _EXPECTED)
    return number


def order(text: str) -> Order:
    """`-created_at`, `config.learning_rate`, `-metrics.accuracy.max`. Raises InvalidRequest."""
    name = text.removeprefix("-")
    descending = name != text
    for column in get_args(Column):
        if name == column:
            return Order(column, descending)
    return Order(subject(name, "sort"), descending)


def subject(text: str, field: str) -> Config | Metric:
    """Raises InvalidRequest naming `field`."""
    kind, _, rest = text.partition(".")
    if kind == "config" and rest:
        return Config(rest)
    name, _, stat = rest.rpartition(".")
    if kind == "metrics" and name and stat in get_args(Stat):
        return Metric(name, msgspec.convert(stat, Stat))
    words = "config.NAME or metrics.NAME.STAT, STAT one of " + ", ".join(get_args(Stat))
    if field == "sort":
        words = ", ".join(get_args(Column)) + ", " + words
    raise _refused(field, f"{text!r} is not known here", words)


def _refused(field: str, problem: str, expected: str) -> InvalidRequest:
    return InvalidRequest(f"{problem}; expected: {expected}.", field=field, expected=expected)
