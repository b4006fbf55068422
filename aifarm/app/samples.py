"""What clients used over time, as samples and their means. Pure; unknown stays unknown."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from statistics import fmean

from aifarm.app.records import ClientSample, GpuSample
from aifarm.wire import agent as wire
from aifarm.wire import rest
from aifarm.wire.types import utc

EVERY = 30.0
"""Seconds between two samples of a client, at least."""


def sample_of(at: float, info: wire.SystemInfo) -> ClientSample:
    """One heartbeat as a sample."""
    told = info.resources
    ram = info.ram_usage
    if told is not None and told.ram.total:
        ram = round(100.0 * told.ram.used / told.ram.total, 1)
    return ClientSample(
        at=at,
        cpu=info.cpu_usage,
        ram=ram,
        gpus=tuple(
            GpuSample(
                id=gpu.id,
                memory=gpu.memory.used if gpu.memory.total else None,
                utilization=gpu.utilization,
                temperature=gpu.temperature,
            )
            for gpu in (told.gpu if told is not None else ())
        ),
    )


def means(samples: Iterable[ClientSample], seconds: float) -> list[ClientSample]:
    """Samples in order of time, those of the same `seconds` as one; `at` is where these begin."""
    grouped = groupby(samples, key=lambda sample: sample.at // seconds)
    return [_mean(number * seconds, list(some)) for number, some in grouped]


def _mean(at: float, samples: Sequence[ClientSample]) -> ClientSample:
    gpus: dict[int, list[GpuSample]] = {}
    for sample in samples:
        for gpu in sample.gpus:
            gpus.setdefault(gpu.id, []).append(gpu)
    return ClientSample(
        at=at,
        cpu=_known(sample.cpu for sample in samples),
        ram=_known(sample.ram for sample in samples),
        gpus=tuple(
            GpuSample(
                id=number,
                memory=_known(gpu.memory for gpu in some),
                utilization=_known(gpu.utilization for gpu in some),
                temperature=_known(gpu.temperature for gpu in some),
            )
            for number, some in sorted(gpus.items())
        ),
    )


def _known(values: Iterable[float | None]) -> float | None:
    """The mean of the numbers among `values`, rounded to tenths; None if there are none."""
    found = [value for value in values if value is not None]
    return round(fmean(found), 1) if found else None


def history(
    client_id: str, samples: Sequence[ClientSample], span: float, points: int
) -> rest.ClientHistory:
    """Samples of `span` seconds as columns of at most `points` entries."""
    seconds = max(EVERY, span / points)
    thinned = means(samples, seconds)[-points:]
    numbers = sorted({gpu.id for sample in thinned for gpu in sample.gpus})
    of = [{gpu.id: gpu for gpu in sample.gpus} for sample in thinned]
    absent = GpuSample(0)
    return rest.ClientHistory(
        client=client_id,
        seconds=seconds,
        time=[utc(sample.at) for sample in thinned],
        cpu=[sample.cpu for sample in thinned],
        ram=[sample.ram for sample in thinned],
        gpus=[
            rest.GpuHistory(
                id=number,
                memory_used=[gpus.get(number, absent).memory for gpus in of],
                utilization=[gpus.get(number, absent).utilization for gpus in of],
                temperature=[gpus.get(number, absent).temperature for gpus in of],
            )
            for number in numbers
        ],
    )
