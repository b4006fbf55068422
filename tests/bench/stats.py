"""Figures of a scenario, and the numbers they are made of."""

import random
import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Unmeasured(Exception):
    """What a scenario needs is not here; in one sentence."""


class Figure(NamedTuple):
    """One row of the table. `goal` as the project states it; `meets` None where there is none."""

    scenario: str
    name: str
    value: float
    unit: str
    goal: str = ""
    meets: bool | None = None
    note: str = ""


def percentile(values: Sequence[float], percent: float) -> float:
    """Of a sample, by linear interpolation."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def interval(values: Sequence[float], rounds: int = 10_000) -> tuple[float, float]:
    """95 % interval of the median by the bootstrap, from a fixed seed."""
    chance = random.Random(0)
    medians = sorted(
        statistics.median(chance.choices(values, k=len(values))) for _ in range(rounds)
    )
    return medians[int(0.025 * rounds)], medians[int(0.975 * rounds)]
