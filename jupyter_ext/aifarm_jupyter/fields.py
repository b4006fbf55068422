"""The fields of the submission form: text that people type, and the values that it means."""

import json
import math
import shlex
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import ipywidgets as w

WIDE = w.Layout(width="100%", min_width="0")
NARROW = w.Layout(width="19em")
MIDDLE = w.Layout(width="28em")
LABELS = {"description_width": "9em"}

YES, NO = ("yes", "true", "on", "1"), ("no", "false", "off", "0")
"""What a switch is turned by where it is typed."""


class Kind(NamedTuple):
    """How a kind of value is typed. `make` gives the control, by its label and a hint in it. `read`
    gives the value of what was typed, None where that is nothing, and raises ValueError with a
    sentence; `write` what to type for a value."""

    make: Callable[[str, str], w.ValueWidget]
    read: Callable[[Any], Any]
    write: Callable[[Any], Any]


class Field(NamedTuple):
    """`name` as in `farm.submit`, or `config.NAME` for a setting of the built-in training;
    `group` is the part of the form that it stands in, `must` says what a value has to be."""

    name: str
    label: str
    group: str
    kind: Kind
    must: str
    example: str = ""
    hint: str = ""


def _line(label: str, hint: str) -> w.ValueWidget:
    return _typed(w.Text, label, hint, WIDE)


def _short(label: str, hint: str) -> w.ValueWidget:
    return _typed(w.Text, label, hint, NARROW)


def _lines(label: str, hint: str) -> w.ValueWidget:
    return _typed(w.Textarea, label, hint, WIDE, rows=3)


def _suggested(label: str, hint: str) -> w.ValueWidget:
    return _typed(w.Combobox, label, hint, MIDDLE)


def _typed(
    control: type[w.ValueWidget], label: str, hint: str, layout: w.Layout, **more: Any
) -> w.ValueWidget:
    # A change counts once it is whole: at the end of the line, or when another field is gone to.
    return control(
        description=label,
        placeholder=hint,
        layout=layout,
        style=LABELS,
        continuous_update=False,
        **more,
    )


def _box(label: str, hint: str) -> w.ValueWidget:
    return w.Checkbox(description=label, style=LABELS, layout=w.Layout(width="auto"))


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
        number = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number.") from None
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not a finite number.")
    return number


def _ranks(text: str) -> int | str | None:
    return "gpu" if text.strip() == "gpu" else _whole(text)


def _switch(said: bool | str) -> bool | None:
    """A box that is not ticked says nothing; a word says yes or no."""
    if isinstance(said, bool) or not said.strip():
        return said is True or None
    word = said.strip().lower()
    if word not in YES + NO:
        raise ValueError(f"{said!r} is neither yes nor no.")
    return word in YES


def _list(text: str) -> list[str] | None:
    return text.replace(",", " ").split() or None


def _each_line(text: str) -> list[str] | None:
    return [line.strip() for line in text.splitlines() if line.strip()] or None


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
        if not equals or not name.strip():
            raise ValueError(f"{line!r} is not NAME=VALUE.")
        pairs[name.strip()] = value.strip()
    return pairs or None


def json_or_text(words: str) -> Any:
    """The value of a setting: JSON where it is that, else text."""
    try:
        return json.loads(words, parse_constant=_refused)
    except json.JSONDecodeError:
        return words


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is not a finite number.")


def _settings(text: str) -> dict[str, Any] | None:
    """Lines of NAME=VALUE, whose values are JSON where they can be."""
    pairs = _pairs(text)
    return {name: json_or_text(words) for name, words in pairs.items()} if pairs else None


def _setting(value: Any) -> str:
    """What `json_or_text` reads as this value."""
    plain = isinstance(value, str) and value == value.strip() and "\n" not in value
    if plain and value and json_or_text(value) == value:
        return str(value)
    return json.dumps(value)


def _joined(pairs: Mapping[str, Any], write: Callable[[Any], str] = str) -> str:
    return "\n".join(f"{name}={write(value)}" for name, value in pairs.items())


def _address(data: Any) -> str:
    """Of data that was put, or that is named by a URL."""
    return str(getattr(data, "url", data))


WORDS = Kind(_line, _words, str)
PROSE = Kind(_lines, _words, str)
ONE_OF = Kind(_suggested, _words, str)
WHOLE = Kind(_short, _whole, str)
REAL = Kind(_short, _real, str)
RANKS = Kind(_short, _ranks, str)
LIST = Kind(_line, _list, " ".join)
LINES = Kind(_lines, _each_line, "\n".join)
ARGUMENTS = Kind(_line, _arguments, lambda words: shlex.join(map(str, words)))
PAIRS = Kind(_lines, _pairs, _joined)
DATA = Kind(_lines, _pairs, lambda data: _joined(data, _address))
SETTINGS = Kind(_lines, _settings, lambda config: _joined(config, _setting))
SWITCH = Kind(_box, _switch, bool)

COUNT = "a whole number, 1 or more"
SECONDS = "a number of seconds, 0 or more"

FIELDS = (
    Field("epochs", "Epochs", "Training", WHOLE, COUNT, "10"),
    Field("batch_size", "Batch size", "Training", WHOLE, COUNT, "32"),
    Field("learning_rate", "Learning rate", "Training", REAL, "a number above 0", "0.001"),
    Field(
        "config", "Config", "Training", SETTINGS, "lines of NAME=VALUE", "hidden=128\nnet=resnet"
    ),
    Field("best", "Best", "Training", PAIRS, "lines of METRIC=min or METRIC=max", "accuracy=max"),
    Field("config.seed", "Seed", "Training", WHOLE, "a whole number, 0 or more", "0"),
    Field("config.precision", "Precision", "Training", ONE_OF, "fp32, bf16 or fp16", "fp32"),
    Field(
        "min_gpu_memory", "GPU memory", "Machines", WHOLE, "a number of MiB, 0 or more", "0",
        "MiB; 0: no GPU",
    ),
    Field("min_cpu_cores", "CPU cores", "Machines", WHOLE, "a whole number, 0 to 4096", "1"),
    Field("min_ram", "RAM", "Machines", WHOLE, "a number of MiB, 0 or more", "1", "MiB"),
    Field(
        "n_clients", "Clients", "Machines", WHOLE, "a whole number, 1 to 1024", "1",
        "above 1: distributed",
    ),
    Field(
        "processes_per_client", "Processes", "Machines", RANKS, 'a whole number, 1 to 64, or "gpu"',
        "1", "on each; gpu: one for each GPU",
    ),
    Field("distributed", "Distributed", "Machines", SWITCH, "yes or no", hint="also with one rank"),
    Field("share_gpu", "Share the GPU", "Machines", SWITCH, "yes or no", hint="with other tasks"),
    Field(
        "environment", "Environment", "Machines", ONE_OF, "the name of a Python that machines have",
        "the agent's own",
    ),
    Field("title", "Title", "About", WORDS, "at most 256 characters"),
    Field("project", "Project", "About", WORDS, "at most 128 characters"),
    Field(
        "tags", "Tags", "About", LIST, "words of at most 64 characters, at most 64 of them",
        "baseline, wide",
    ),
    Field("notes", "Notes", "About", PROSE, "at most 4,096 characters"),
    Field(
        "priority", "Priority", "About", WHOLE, "a whole number, -1000 to 1000", "0",
        "among your own",
    ),
    Field(
        "from_checkpoint", "Begin with", "Going on", WORDS,
        'the id of a checkpoint or task, or "ID:best"', "a checkpoint's or task's id",
    ),
    Field(
        "max_retries", "Retries", "Going on", WHOLE, "a whole number, 0 to 100", "0",
        "after failures of your code",
    ),
    Field(
        "config.checkpoint_steps", "Checkpoint", "Going on", WHOLE, COUNT, "as it sees fit",
        "after so many steps",
    ),
    Field(
        "config.checkpoint_seconds", "", "Going on", REAL, SECONDS, "as it sees fit",
        "after so many seconds",
    ),
    Field(
        "config.max_seconds", "Time limit", "Going on", REAL, "a number of seconds above 0", "none",
        "seconds of training",
    ),
    Field(
        "config.hold_seconds", "Hold", "Going on", REAL, SECONDS, "the machine's own",
        "seconds that a pause keeps its machines",
    ),
    Field("args", "Arguments", "Script", ARGUMENTS, "a command line", "--lr 0.1"),
    Field("resume_args", "When resumed", "Script", ARGUMENTS, "a command line", "--resume last.pt"),
    Field(
        "outputs", "Outputs", "Script", LINES, "patterns of files under the working folder",
        "results/*.csv", "files to keep",
    ),
    Field(
        "progress_from", "Progress", "Script", WORDS,
        "a regular expression with groups such as (?P<step>…)", r"step (?P<step>\d+)",
    ),
    Field("env", "Variables", "Script", PAIRS, "lines of NAME=VALUE", "NAME=VALUE"),
    Field(
        "data", "Data", "Data", DATA, "lines of NAME=URL", "train=https://…",
        "what each machine fetches",
    ),
    Field(
        "mounts", "Mounts", "Data", PAIRS, "lines of FOLDER=/PATH, outside of each other",
        "data=/srv/data", "paths of the machine",
    ),
)  # fmt: skip
GROUPS = tuple(dict.fromkeys(field.group for field in FIELDS))
CONFIG = "config."


def gathered(read: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `submit` from the values of fields: settings stand in `config`."""
    value = {name: item for name, item in read.items() if not name.startswith(CONFIG)}
    settings = {name[len(CONFIG) :]: item for name, item in read.items() if name.startswith(CONFIG)}
    if settings:
        value["config"] = {**value.get("config", {}), **settings}
    return value


def spread(value: Mapping[str, Any]) -> dict[str, Any]:
    """The values of fields from the arguments of `submit`."""
    named = {field.name for field in FIELDS}
    requirements = value.get("requirements") or {}
    found = {**value, **requirements}
    found.pop("requirements", None)
    config = dict(found.pop("config", None) or {})
    for name in list(config):
        if CONFIG + name in named:
            found[CONFIG + name] = config.pop(name)
    if config:
        found["config"] = config
    return found
