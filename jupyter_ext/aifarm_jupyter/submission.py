"""What the `value` of a form means: a submission, its flaws, and the same in Python."""

from collections.abc import Mapping
from typing import Any

from aifarm.sdk import AIFarmError, Farm, InvalidRequest, Task
from aifarm.sdk.submission import task_body
from aifarm_jupyter.fields import FIELDS

NAMES = "letters, digits, ., _ and -, beginning with a letter or digit"
OF_CODE = {"name": NAMES, "version": NAMES, "url": "an address with http:// or https://"}
"""What says where the code is, and what it has to be."""

MUST = {one.name: one.must for one in FIELDS}

LINE = 88
"""Characters of a call before it has a line for each argument."""

OF_CELLS = ("functions", "verify")
"""Arguments of `publish_cells`; what names functions is the notebook's code."""


def submit(farm: Farm, value: Mapping[str, Any]) -> Task:
    """Submits what a form's `value` says. Raises AIFarmError."""
    options = dict(value)
    functions = options.pop("functions", None)
    if functions is None:
        return farm.submit(**options)
    verify = options.pop("verify", True)
    name, version = options.pop("name"), options.pop("version", None)
    package = farm.publish_cells(*functions, name=name, version=version, verify=verify)
    return farm.submit(package=package, **options)


def field_of(error: AIFarmError) -> str | None:
    """The field of the form that is to blame, where the farm names one."""
    said = str(error.details.get("field", "")) if isinstance(error, InvalidRequest) else ""
    whole = said.removeprefix("requirements.").split("[")[0]
    names = {*MUST, *OF_CODE}
    return next((name for name in (whole, whole.split(".")[0]) if name in names), None)


def refused(value: Mapping[str, Any]) -> dict[str, str]:
    """What the farm would not take, found out here: a sentence by the field."""
    # Without a version it is the latest, which is a valid one.
    options: Any = {"version": "1", **value}
    for name in ("name", *OF_CELLS):
        options.pop(name, None)
    try:
        task_body(value.get("name", "name"), options)
    except InvalidRequest as error:
        field = field_of(error)
        if field in OF_CODE:
            return {field: f"The {field} has to be {OF_CODE[field]}."}
        if field is not None:
            return {field: f"This has to be {MUST[field]}."}
    return {}


def as_python(value: Mapping[str, Any]) -> str:
    """What submits the same as the `value` of a form, where `farm` is the farm."""
    options = dict(value)
    functions = options.pop("functions", None)
    if functions is None:
        return _call("task = farm.submit", [options.pop("name")], options)
    of_cells: dict[str, Any] = {
        name: options.pop(name) for name in ("name", "version", "verify") if name in options
    }
    publish = _call("package = farm.publish_cells", functions, of_cells)
    return f"{publish}\n{_call('task = farm.submit', [], options, 'package=package')}"


def _call(head: str, given: list[Any], named: Mapping[str, Any], *first: str) -> str:
    parts = [*map(repr, given), *first, *(f"{name}={item!r}" for name, item in named.items())]
    short = f"{head}({', '.join(parts)})"
    if len(short) <= LINE:
        return short
    return f"{head}(\n" + "".join(f"    {part},\n" for part in parts) + ")"
