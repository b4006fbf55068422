"""The config of a declarative package: what may stand in it.

The farm checks it by these rules when a task is created, the trainer again before the first step.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Any, Callable, NamedTuple

MODES = ("min", "max")
PRECISIONS = ("fp32", "bf16", "fp16")


OF_ANY_LOOP = ("best", "max_seconds", "checkpoint_steps", "checkpoint_seconds", "hold_seconds")
"""Settings that count for a script, too."""


class Unfit(ValueError):
    """The value of the key `name` does not fit: one sentence, and what was `expected`."""

    def __init__(self, message: str, name: str, expected: str) -> None:
        super().__init__(message)
        self.name = name
        self.expected = expected


class Setting(NamedTuple):
    """`default` is what counts where the config says nothing; `fits` accepts a value."""

    default: Any
    fits: Callable[[Any], bool]
    expected: str


def _whole(least: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and _is_number(value) and value >= least


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def is_goal(value: Any) -> bool:
    """Whether `value` names a metric and the better direction."""
    return (
        isinstance(value, dict)
        and value.keys() <= {"metric", "mode"}
        and isinstance(value.get("metric"), str)
        and value.get("mode", "min") in MODES
    )


def _is_early_stopping(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    goal = {name: item for name, item in value.items() if name != "patience"}
    return is_goal(goal) and _whole(1)(value.get("patience"))


GOAL = '{"metric": a name, "mode": "min" or "max"}'

SETTINGS = {
    "batch_size": Setting(32, _whole(1), "a whole number, 1 or more"),
    "learning_rate": Setting(0.001, lambda v: _is_number(v) and v >= 0, "a number, 0 or more"),
    "epochs": Setting(10, _whole(1), "a whole number, 1 or more"),
    "seed": Setting(0, _whole(0), "a whole number, 0 or more"),
    "precision": Setting("fp32", lambda v: v in PRECISIONS, "one of fp32, bf16 and fp16"),
    "grad_accumulation": Setting(1, _whole(1), "a whole number, 1 or more"),
    "compress_gradients": Setting(
        False, lambda v: isinstance(v, bool) or v == "auto", 'true, false or "auto"'
    ),
    "clip_norm": Setting(None, _is_positive, "a number above 0"),
    "eval_every": Setting(None, _whole(1), "a whole number of steps, 1 or more"),
    "early_stopping": Setting(
        None,
        _is_early_stopping,
        '{"metric": a name, "patience": a whole number, "mode": "min" or "max"}',
    ),
    "best": Setting(None, is_goal, GOAL),
    "compile": Setting(False, lambda v: isinstance(v, bool), "true or false"),
    "max_seconds": Setting(None, _is_positive, "a number of seconds above 0"),
    "checkpoint_steps": Setting(None, _whole(1), "a whole number of steps, 1 or more"),
    "checkpoint_seconds": Setting(
        None, lambda v: _is_number(v) and v >= 0, "a number of seconds, 0 or more"
    ),
    "hold_seconds": Setting(
        None, lambda v: _is_number(v) and v >= 0, "a number of seconds, 0 or more"
    ),
    "verify_resume": Setting(True, lambda v: isinstance(v, bool), "true or false"),
}

# What a task's config carries besides: what it is called, where it comes from and where it runs.
OF_THE_FARM = {"name", "url", "version", "distributed", "rank", "world_size"}


def complete(config: dict[str, Any], declared: dict[str, Any] | None = None) -> dict[str, Any]:
    """`config` with what it leaves out or has as None, from the package's `declared` defaults and
    from SETTINGS.

    Raises Unfit for a setting that does not fit and, where the package declares defaults, for a
    key that is no setting and not declared or has another type.
    """
    declared = declared or {}
    known = {name: setting.default for name, setting in SETTINGS.items()}
    given = {k: v for k, v in config.items() if v is not None or k not in {**known, **declared}}
    cfg = {**known, **declared, **given}
    check(cfg, SETTINGS)
    if declared:
        _check_own(given, declared)
    return cfg


def check(config: dict[str, Any], names: Iterable[str]) -> None:
    """Raises Unfit where one of the settings `names` has a value that does not fit."""
    for name in names:
        default, fits, expected = SETTINGS[name]
        value = config.get(name, default)
        if value is not default and not fits(value):
            raise Unfit(f"{name} is {value!r}; it must be {expected}", name, expected)


def _check_own(given: dict[str, Any], declared: dict[str, Any]) -> None:
    for name, value in given.items():
        if name in SETTINGS or name in OF_THE_FARM:
            continue
        if name not in declared:
            own = ", ".join(sorted(declared.keys() - SETTINGS.keys())) or "none"
            near = difflib.get_close_matches(name, [*declared, *SETTINGS], n=1)
            hint = f": did you mean {near[0]}?" if near else ""
            raise Unfit(
                f"{name} is neither a setting of the farm nor one that the package declares ({own})"
                + hint,
                name,
                f"one of {own}, or a setting of the farm",
            )
        if not _same_type(value, declared[name]):
            expected = f"a value of type {type(declared[name]).__name__}"
            raise Unfit(f"{name} is {value!r}; it must be {expected}", name, expected)


def _same_type(value: Any, default: Any) -> bool:
    """Whether a JSON value fits a default: None takes anything, a float also whole numbers."""
    if default is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, (int, float))
    if isinstance(default, (list, tuple)):
        return isinstance(value, (list, tuple))
    return isinstance(value, type(default))
