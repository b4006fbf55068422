"""What two tasks do not have in common: what was asked for, where it ran, what came out."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec
from msgspec import Struct

from aifarm.wire.rest import AttemptFull, TaskFull
from aifarm.wire.types import JSON

ASKED = (
    *("name", "version", "package_sha256", "config", "requirements", "n_clients"),
    *("processes_per_client", "share_gpu"),
    *("env", "environment", "args", "resume_args", "mounts", "data", "from_checkpoint"),
)
"""Fields of a task that may change what comes out."""

TIMES = frozenset({"training_time"})
"""Metrics that differ every time."""


class Difference(Struct, frozen=True):
    """`what`, in parts with dots between; its value in either task, None where it has none."""

    what: str
    first: JSON
    second: JSON


def differences(
    first: TaskFull,
    second: TaskFull,
    first_attempts: Iterable[AttemptFull],
    second_attempts: Iterable[AttemptFull],
) -> list[Difference]:
    """What differs: what was asked for, then the provenance of rank 0 in the last attempt as
    `provenance`, then the latest `metrics`."""
    one, other = _facts(first, first_attempts), _facts(second, second_attempts)
    return [
        Difference(what, one.get(what), other.get(what))
        for what in {**one, **other}
        if one.get(what) != other.get(what)
    ]


def _facts(task: TaskFull, attempts: Iterable[AttemptFull]) -> dict[str, JSON]:
    fields = msgspec.to_builtins(task)
    asked = {name: fields[name] for name in ASKED}
    told = [attempt.provenance.get("0") for attempt in attempts]
    provenance = next((one for one in reversed(told) if isinstance(one, dict) and one), {})
    metrics = {name: value for name, value in task.metrics.items() if name not in TIMES}
    return dict(_flat({**asked, "provenance": provenance, "metrics": metrics}))


def _flat(value: Mapping[str, JSON], path: str = "") -> Iterator[tuple[str, JSON]]:
    for name, one in value.items():
        if isinstance(one, dict):
            yield from _flat(one, f"{path}{name}.")
        else:
            yield path + name, one
