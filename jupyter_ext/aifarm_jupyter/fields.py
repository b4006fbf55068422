"""The fields of the submission form: text that people type, and the values that it means."""

import json
import shlex
from collections.abc import Callable
from typing import Any, NamedTuple

import ipywidgets as w


class Field(NamedTuple):
    """`name` as in `farm.submit`; `read` gives the value, None where nothing is said, and raises
    ValueError with a sentence; `group` is the part of the form that it stands in."""

    name: str
    label: str
    group: str
    make: Callable[[], w.ValueWidget]
    read: Callable[[Any], Any]
    hint: str = ""


WIDE = w.Layout(width="100%")
NARROW = w.Layout(width="12em")


def _text(hint: str = "") -> Callable[[], w.ValueWidget]:
    return lambda: w.Text(placeholder=hint, layout=WIDE, continuous_update=False)


def _lines(hint: str) -> Callable[[], w.ValueWidget]:
    return lambda: w.Textarea(placeholder=hint, layout=WIDE, rows=3, continuous_update=False)


def _number(hint: str = "") -> Callable[[], w.ValueWidget]:
    return lambda: w.Text(placeholder=hint, layout=NARROW, continuous_update=False)


def _box() -> w.ValueWidget:
    return w.Checkbox(indent=False, layout=NARROW)


def _words(text: str) -> str | None:
    return text.strip() or None


def _whole(text: str) -> int | None:
    if not text.strip():
        return None
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number.") from None


def _real(text: str) -> float | None:
    if not text.strip():
        return None
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number.") from None


def _list(text: str) -> list[str] | None:
    return text.replace(",", " ").split() or None


def _arguments(text: str) -> list[str] | None:
    try:
        return shlex.split(text) or None
    except ValueError as error:
        raise ValueError(f"That is no command line: {error}.") from None


def _pairs(text: str) -> dict[str, str] | None:
    """Lines of NAME=VALUE."""
    pairs = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, value = line.partition("=")
        if not equals:
            raise ValueError(f"{line!r} is not NAME=VALUE.")
        pairs[name.strip()] = value.strip()
    return pairs or None


def _settings(text: str) -> dict[str, Any] | None:
    """Lines of NAME=VALUE, whose values are JSON where they can be."""

    def value(words: str) -> Any:
        try:
            return json.loads(words)
        except ValueError:
            return words

    pairs = _pairs(text)
    return {name: value(words) for name, words in pairs.items()} if pairs else None


FIELDS = (
    Field("epochs", "Epochs", "Training", _number("10"), _whole),
    Field("batch_size", "Batch size", "Training", _number("32"), _whole),
    Field("learning_rate", "Learning rate", "Training", _number("0.001"), _real),
    Field("config", "Config", "Training", _lines("hidden=128\noptimizer=adam"), _settings),
    Field("best", "Best", "Training", _lines("accuracy=max"), _pairs, "which end of a metric"),
    Field("min_gpu_memory", "GPU memory", "Machines", _number("0"), _whole, "MiB; 0: no GPU"),
    Field("min_cpu_cores", "CPU cores", "Machines", _number("1"), _whole),
    Field("min_ram", "RAM", "Machines", _number("1"), _whole, "MiB"),
    Field("n_clients", "Clients", "Machines", _number("1"), _whole, "above 1: distributed"),
    Field("share_gpu", "Share the GPU", "Machines", _box, lambda on: on or None),
    Field("environment", "Environment", "Machines", _text("the agent's own"), _words),
    Field("title", "Title", "About", _text(), _words),
    Field("project", "Project", "About", _text(), _words),
    Field("tags", "Tags", "About", _text("baseline, wide"), _list),
    Field("notes", "Notes", "About", _lines(""), _words),
    Field("priority", "Priority", "About", _number("0"), _whole, "among your own"),
    Field("max_retries", "Retries", "About", _number("0"), _whole, "of your code's failures"),
    Field("from_checkpoint", "Begin with", "About", _text("a checkpoint's or task's id"), _words),
    Field("args", "Arguments", "Script", _text("--lr 0.1"), _arguments),
    Field("resume_args", "When resumed", "Script", _text("--resume last.pt"), _arguments),
    Field("outputs", "Outputs", "Script", _text("results/*.csv"), _list, "files to keep"),
    Field("progress_from", "Progress", "Script", _text(r"step (?P<step>\d+)"), _words),
    Field("mounts", "Mounts", "Script", _lines("data=/srv/data"), _pairs),
    Field("env", "Environment variables", "Script", _lines("NAME=VALUE"), _pairs),
    Field("data", "Data", "Script", _lines("train=https://…"), _pairs),
)
GROUPS = ("Training", "Machines", "About", "Script")
