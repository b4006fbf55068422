"""A form that submits a task: checked as it is filled in, with the machines that would take it."""

import threading
from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets as w
import traitlets

from aifarm.sdk import AIFarmError, Farm, InvalidRequest, Task
from aifarm.wire import rest
from aifarm_jupyter.fields import FIELDS, GROUPS, WIDE

QUIET = 0.4
"""Seconds without a change before the farm is asked what fits."""


class SubmitForm(w.VBox):
    """Everything that `farm.submit` takes. `value`: its arguments as they stand, {} while
    something is wrong; `task`: what was submitted last. `on_submit` is called with each task."""

    value = traitlets.Dict()
    task = traitlets.Instance(Task, allow_none=True, default_value=None)

    def __init__(self, farm: Farm, on_submit: Callable[[Task], None] | None = None) -> None:
        self._farm = farm
        self._on_submit = on_submit
        self._timer: threading.Timer | None = None
        self._packages = _by_name(farm.packages())
        self._name = w.Dropdown(options=list(self._packages), layout=WIDE)
        self._version = w.Dropdown(layout=WIDE)
        self._inputs = {field.name: field.make() for field in FIELDS}
        self._complaints = {name: _complaint() for name in ("package", *self._inputs)}
        self._fits = w.HTML()
        self._call = w.Textarea(disabled=True, layout=WIDE, rows=4)
        self._submit = w.Button(description="Submit", button_style="primary")
        self._told = w.HTML()
        super().__init__([self._picker(), self._parts(), self._foot()])
        self._name.observe(self._choose_name, "value")
        self._version.observe(self._changed, "value")
        for one in self._inputs.values():
            one.observe(self._changed, "value")
        self._submit.on_click(self._send)
        self._choose_name()

    # ------------------------------------------------------------ how it looks

    def _picker(self) -> w.Widget:
        if not self._packages:
            words = "No package is published yet: <code>farm.publish(folder)</code> makes one."
            return w.HTML(f"<p>{words}</p>")
        return w.VBox(
            [
                _row("Package", self._name),
                _row("Version", self._version),
                self._complaints["package"],
            ]
        )

    def _parts(self) -> w.Widget:
        parts = []
        for group in GROUPS:
            rows = []
            for one in FIELDS:
                if one.group == group:
                    row = _row(one.label, self._inputs[one.name], one.hint)
                    rows.append(w.VBox([row, self._complaints[one.name]]))
            parts.append(w.VBox(rows))
        return w.Tab(parts, titles=GROUPS)

    def _foot(self) -> w.Widget:
        call = w.Accordion([self._call], titles=("The same in Python",))
        return w.VBox([self._fits, w.HBox([self._submit, self._told]), call])

    # ------------------------------------------------------------ what it means

    def _choose_name(self, _: Any = None) -> None:
        versions = self._packages.get(self._name.value or "", [])
        self._version.options = [one.version for one in reversed(versions)]
        if versions:
            self._version.value = versions[-1].version
        self._changed()

    def _changed(self, _: Any = None) -> None:
        value, wrong = self._read()
        self._complain(wrong)
        self.value = {} if wrong else value
        self._call.value = _python(value)
        self._submit.disabled = bool(wrong) or not self._packages
        if self._timer is not None:
            self._timer.cancel()
        if self._packages and not wrong:
            self._timer = threading.Timer(QUIET, self._preview, (value,))
            self._timer.daemon = True
            self._timer.start()

    def _read(self) -> tuple[dict[str, Any], dict[str, str]]:
        """The arguments of `submit`, and a sentence for each field that has none."""
        value: dict[str, Any] = {"name": self._name.value, "version": self._version.value}
        wrong = {}
        for field in FIELDS:
            try:
                read = field.read(self._inputs[field.name].value)
            except ValueError as error:
                wrong[field.name] = str(error)
                continue
            if read is not None:
                value[field.name] = read
        return value, wrong

    def _complain(self, wrong: dict[str, str]) -> None:
        for name, line in self._complaints.items():
            words = wrong.get(name, "")
            line.value = f'<span role="alert">{escape(words)}</span>' if words else ""
            line.layout.display = "block" if words else "none"

    # ------------------------------------------------------------ the farm

    def _preview(self, value: dict[str, Any]) -> None:
        try:
            self._fits.value = _fit(self._farm.check(**value))
            self._complain({})
        except AIFarmError as error:
            self._fits.value = ""
            self._blame(error)

    def _blame(self, error: AIFarmError) -> None:
        """At the field that the farm names, else below the form."""
        field = str(error.details.get("field", "")) if isinstance(error, InvalidRequest) else ""
        name = field.removeprefix("requirements.").split(".")[0].split("[")[0]
        if name in self._complaints:
            self._complain({name: error.message})
        else:
            self._told.value = f'<span role="alert">{escape(error.message)}</span>'

    def _send(self, _: Any) -> None:
        value, wrong = self._read()
        if wrong:
            return self._complain(wrong)
        self._submit.disabled = True
        self._told.value = "Submitting…"
        try:
            self.task = self._farm.submit(**value)
        except AIFarmError as error:
            self._told.value = ""
            self._blame(error)
        else:
            self._told.value = f"Submitted: <code>{self.task.id[:8]}</code>"
            if self._on_submit is not None:
                self._on_submit(self.task)
        finally:
            self._submit.disabled = False
        return None


def _by_name(packages: list[rest.PackageFull]) -> dict[str, list[rest.PackageFull]]:
    found: dict[str, list[rest.PackageFull]] = {}
    for package in packages:
        found.setdefault(package.name, []).append(package)
    return found


def _row(label: str, control: w.Widget, hint: str = "") -> w.HBox:
    words = w.Label(label, layout=w.Layout(flex="0 0 9em"))
    behind = [w.Label(hint, layout=w.Layout(flex="0 0 auto"))] if hint else []
    return w.HBox([words, control, *behind], layout=WIDE)


def _complaint() -> w.HTML:
    return w.HTML(layout=w.Layout(display="none", margin="0 0 0 9em"))


def _fit(check: rest.Check) -> str:
    """In words: where it would start, and what the others lack."""
    if check.would_start:
        words = f"Would start now on one of: <b>{escape(', '.join(check.fits))}</b>."
    else:
        place = f" It would be number {check.position} in the queue." if check.position else ""
        words = escape(check.summary) + escape(place)
    lacks = "".join(
        f"<li><b>{escape(one.client)}</b>: {escape(one.reason)}</li>"
        for one in check.misses
        if one.client not in check.fits
    )
    hints = "".join(f"<p>{escape(hint)}</p>" for hint in check.hints)
    return f"<p>{words}</p>{hints}" + (f"<ul>{lacks}</ul>" if lacks else "")


def _python(value: dict[str, Any]) -> str:
    """The call that submits the same."""
    rest_of = ",\n".join(f"    {name}={item!r}" for name, item in value.items() if name != "name")
    return f"task = farm.submit(\n    {value['name']!r},\n{rest_of},\n)"
