"""How each record lies in its table: a column is an attribute of the record, reached by a path."""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from operator import attrgetter
from types import UnionType
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from msgspec import Struct
from sqlalchemy import Row, Table

from aifarm.app.records import (
    About,
    AttemptRecord,
    CheckpointRecord,
    ClientRecord,
    DataRecord,
    EventRecord,
    LoginRecord,
    OutputRecord,
    PaceRecord,
    PackageRecord,
    TaskRecord,
    TaskSpec,
    TokenRecord,
    UploadRecord,
)
from aifarm.core.client import Hold
from aifarm.core.pace import Pace
from aifarm.core.task import RankKey, Task
from aifarm.store import tables

R = TypeVar("R")


class Rows(Generic[R]):
    """Records of type `shape` as rows of `table`. `paths`: where a column's name is not its own
    attribute, e.g. {"state": "task.state"}."""

    def __init__(self, table: Table, shape: type[R], paths: Mapping[str, str] | None = None):
        self.table = table
        self.shape = shape
        names = [str(column.name) for column in table.columns]
        self.paths = [(paths or {}).get(name, name) for name in names]
        self._get = attrgetter(*self.paths)
        self._build = builder(shape)

    def values(self, record: R) -> list[Any]:
        """One value per column, in the table's order, before encoding for the database."""
        return list(self._get(record))

    def record(self, row: Row[Any], **more: Any) -> R:
        """`more`: attributes that lie elsewhere."""
        fields = more
        for path, value in zip(self.paths, row, strict=True):
            head, _, tail = path.partition(".")
            if tail:
                fields.setdefault(head, {})[tail] = value
            else:
                fields[head] = value
        built: R = self._build(fields)
        return built

    def records(self, rows: Sequence[Row[Any]]) -> list[R]:
        return [self.record(row) for row in rows]


def _same(value: Any) -> Any:
    return value


def builder(hint: Any) -> Callable[[Any], Any]:
    """What makes a value of type `hint` from plain JSON data.

    Unlike `msgspec.convert` it checks no limits of the wire: a farm must be able to read what it
    once wrote, also after a limit became narrower.
    """
    kind, arguments = get_origin(hint), get_args(hint)
    if kind is Annotated:
        return builder(arguments[0])
    if kind in (Union, UnionType):
        inner = next((build for build in map(builder, arguments) if build is not _same), None)
        return _same if inner is None else lambda value: None if value is None else inner(value)
    if kind is tuple:
        item = builder(arguments[0])
        return tuple if item is _same else lambda value: tuple(map(item, value))
    if kind is dict:
        item = builder(arguments[1])
        return _same if item is _same else lambda value: {k: item(v) for k, v in value.items()}
    if hint is RankKey:
        return lambda value: RankKey(**value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    if isinstance(hint, type) and issubclass(hint, Struct):
        return _struct_builder(hint)
    return _same


def _struct_builder(shape: type[Struct]) -> Callable[[dict[str, Any]], Any]:
    builders = [
        (name, builder(hint)) for name, hint in get_type_hints(shape, include_extras=True).items()
    ]

    def build(value: dict[str, Any]) -> Any:
        known = {name: make(value[name]) for name, make in builders if name in value}
        return shape(**known)

    return build


_PARTS = {"task": Task, "spec": TaskSpec, "about": About}
"""Parts of a TaskRecord whose fields are columns; the record's other fields are, too."""

TASKS = Rows(
    tables.tasks,
    TaskRecord,
    {name: f"{part}.{name}" for part, shape in _PARTS.items() for name in shape.__struct_fields__},
)
HOLDS = Rows(
    tables.ranks,
    Hold,
    {name: f"key.{name}" for name in RankKey._fields},
)
ATTEMPTS = Rows(tables.attempts, AttemptRecord)
"""Without `clients`, which lie in `placements`."""
CLIENTS = Rows(tables.clients, ClientRecord)
TOKENS = Rows(tables.tokens, TokenRecord)
LOGINS = Rows(tables.logins, LoginRecord)
EVENTS = Rows(tables.events, EventRecord)
CHECKPOINTS = Rows(tables.checkpoints, CheckpointRecord)
OUTPUTS = Rows(tables.outputs, OutputRecord)
UPLOADS = Rows(tables.uploads, UploadRecord)
PACKAGES = Rows(tables.packages, PackageRecord)
DATA = Rows(tables.data, DataRecord)
PACES = Rows(tables.paces, PaceRecord, {name: f"pace.{name}" for name in Pace.__struct_fields__})
