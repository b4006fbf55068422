"""What lists are filtered and sorted by beyond a task's columns: one small row per value.

Tags, the config's values and the directions of metrics are written beside a new task, under the
keys `tag`, `config.PATH` and `best.METRIC`. What is too long to be looked for has no row.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from aifarm.app.records import TaskRecord
from aifarm.store.tables import plain

TAG, CONFIG, BEST = "tag", "config.", "best."

MAX_FACTS, MAX_TEXT = 512, 256
"""Values of one task, characters of a key or text: an index entry has its limits."""


def facts_of(record: TaskRecord) -> list[list[Any]]:
    """Rows of the table: task id, key, text, number. A number has no text, other values no
    number; true, false and null are the words."""
    rows: dict[str, list[Any]] = {}
    said = ((BEST + name, direction) for name, direction in record.spec.best.items())
    for path, value in chain(_values(CONFIG, record.spec.config), said):
        key = plain(path)
        text, number = _shown(value)
        if len(rows) < MAX_FACTS and max(len(key), len(text)) <= MAX_TEXT:
            rows.setdefault(key, [record.task.id, key, text, number])
    return [*rows.values(), *tag_facts(record.task.id, record.about.tags)]


def tag_facts(task_id: str, tags: Sequence[str]) -> list[list[Any]]:
    return [[task_id, TAG, tag, None] for tag in dict.fromkeys(map(plain, tags))]


def _values(path: str, config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What is no object or array, with its path."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _values(f"{path}{name}.", value)
        elif not isinstance(value, list):
            yield path + name, value


def _shown(value: Any) -> tuple[str, float | None]:
    if isinstance(value, str):
        return plain(value), None
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value], None
    try:
        return "", float(value)
    except OverflowError:
        return str(value), None
