"""What lists are filtered and sorted by beyond a task's columns: one small row per value.

Tags, the config's values and the directions of metrics are written beside a new task, under the
keys `tag`, `config.PATH` and `best.METRIC`. What is too long to be looked for has no row.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aifarm.app.records import TaskRecord
from aifarm.store.tables import plain

TAG, CONFIG, BEST = "tag", "config.", "best."

MAX_FACTS, MAX_TEXT = 256, 256
"""Values of one config, characters of a key or text: an index entry has its limits."""


def facts_of(record: TaskRecord) -> list[list[Any]]:
    """Rows of the table: task id, key, text, number. A number has no text, other values no
    number; true, false and null are the words."""
    task_id, found = record.task.id, list[list[Any]]()
    known: set[str] = set()
    for path, value in _values(CONFIG, record.spec.config):
        key = plain(path)
        text, number = _shown(value)
        if len(found) < MAX_FACTS and max(len(key), len(text)) <= MAX_TEXT and key not in known:
            known.add(key)
            found.append([task_id, key, text, number])
    for name, direction in record.spec.best.items():
        if len(BEST + name) <= MAX_TEXT:
            found.append([task_id, BEST + name, direction, None])
    return found + tag_facts(task_id, record.about.tags)


def tag_facts(task_id: str, tags: Sequence[str]) -> list[list[Any]]:
    return [[task_id, TAG, tag, None] for tag in tags]


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
