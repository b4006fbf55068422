"""The call that does the same as a form, to copy into a cell or a script."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets


class Snippet(anywidget.AnyWidget):
    """Python to read, with a button that copies it."""

    _esm = Path(__file__).with_name("snippet.js").read_text()
    text = traitlets.Unicode().tag(sync=True)


def as_python(value: Mapping[str, Any]) -> str:
    """What submits the same as the `value` of a form, where `farm` is the farm."""
    options = dict(value)
    functions = options.pop("functions", None)
    if functions is None:
        return _call("task = farm.submit", [options.pop("name")], options)
    of_cells = {
        name: options.pop(name) for name in ("name", "version", "verify") if name in options
    }
    publish = _call("package = farm.publish_cells", functions, of_cells)
    return f"{publish}\n{_call('task = farm.submit', [], options, 'package=package')}"


def _call(head: str, given: list[Any], named: Mapping[str, Any], *first: str) -> str:
    parts = [*map(repr, given), *first, *(f"{name}={item!r}" for name, item in named.items())]
    short = f"{head}({', '.join(parts)})"
    if len(short) <= 88:
        return short
    return f"{head}(\n" + "".join(f"    {part},\n" for part in parts) + ")"
