"""A form that submits a task: checked as it is filled in, with the machines that would take it."""

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import ipywidgets as w
import traitlets

from aifarm.sdk import AIFarmError, Farm, Task
from aifarm.wire import rest
from aifarm_jupyter.beside import QUIET, TIMES, Latest, beside
from aifarm_jupyter.fields import CONFIG, FIELDS, GROUPS, gathered, spread
from aifarm_jupyter.fit import fit
from aifarm_jupyter.snippet import Snippet
from aifarm_jupyter.sources import Address, Cells, Published, Source, told
from aifarm_jupyter.submission import (
    OF_CELLS,
    OF_CODE,
    as_python,
    field_of,
    refused,
    submit,
)

SOURCES = {"package": "A package", "cells": "This notebook's code", "url": "A URL"}


class SubmitForm(w.VBox):
    """Everything that `farm.submit` takes.

    `value`: its arguments as they stand, {} while something is wrong or not heard of yet; setting
    it fills the form. With the notebook's code, `functions` and `verify` are those of
    `farm.publish_cells`. `task`: what was submitted last. Both can be observed; `on_submit` is
    called with each task.
    """

    value = traitlets.Dict()
    task = traitlets.Instance(Task, allow_none=True, default_value=None)

    def __init__(
        self,
        farm: Farm,
        value: Mapping[str, Any] | None = None,
        on_submit: Callable[[Task], None] | None = None,
    ) -> None:
        self._farm = farm
        self._on_submit = on_submit
        self._busy = False
        self._filling = True
        self._sources: dict[str, Source] = {
            "package": Published(farm),
            "cells": Cells(),
            "url": Address(),
        }
        self._source = w.ToggleButtons(
            options=[(words, one) for one, words in SOURCES.items()],
            style={"button_width": "auto"},
            tooltips=["Where the code comes from"] * len(SOURCES),
        )
        self._again = w.Button(description="Look again", layout=w.Layout(width="auto"))
        self._inputs = {one.name: one.kind.make(one.label, one.example) for one in FIELDS}
        self._complaints = {name: _complaint() for name in self._inputs}
        self._fits = w.HTML()
        self._check = Latest(self._ask, self._answered, quiet=QUIET, times=TIMES)
        self._snippet = Snippet()
        self._submit = w.Button(description="Submit", button_style="primary")
        self._told = w.HTML()
        super().__init__([self._picker(), self._parts(), self._fits, self._foot()])
        self._source.observe(self._choose, "value")
        self._again.on_click(lambda _: self._look())
        for source in self._sources.values():
            source.observe(self._changed, "value")
            source.observe(self._declared, "defaults")
        for control in self._inputs.values():
            control.observe(self._changed, "value")
        self._submit.on_click(self._send)
        self._filling = False
        self._choose()
        if value is not None:
            self.value = dict(value)

    # ------------------------------------------------------------ how it looks

    def _picker(self) -> w.Widget:
        layout = w.Layout(flex_flow="row wrap", align_items="center")
        head = w.HBox([self._source, self._again], layout=layout)
        return w.VBox([head, *self._sources.values()])

    def _parts(self) -> w.Widget:
        parts = []
        for group in GROUPS:
            rows = [
                w.VBox([_row(self._inputs[one.name], one.hint), self._complaints[one.name]])
                for one in FIELDS
                if one.group == group
            ]
            parts.append(w.VBox(rows))
        return w.Tab(parts, titles=GROUPS)

    def _foot(self) -> w.Widget:
        call = w.Accordion([self._snippet], titles=("The same in Python",))
        return w.VBox([w.HBox([self._submit, self._told]), call])

    # ------------------------------------------------------------ what is filled in

    @property
    def _chosen(self) -> Source:
        return self._sources[self._source.value]

    def _choose(self, _: Any = None) -> None:
        for source in self._sources.values():
            source.layout.display = None if source is self._chosen else "none"
        self._look()
        self._declared()

    def _look(self) -> None:
        self._chosen.look()
        self._changed()
        beside(self._environments, self._offer)

    def _environments(self) -> list[str]:
        try:
            clients = self._farm.clients()
        except AIFarmError:
            return []  # they are only offered
        return sorted({one.name for client in clients for one in client.info.environments})

    def _offer(self, environments: list[str]) -> None:
        self._inputs["environment"].options = environments

    def _declared(self, _: Any = None) -> None:
        """What the code declares stands where nothing is filled in."""
        declared = dict(self._chosen.defaults)
        for one in FIELDS:
            name = one.name.removeprefix(CONFIG)
            control = self._inputs[one.name]
            if one.name != "config" and hasattr(control, "placeholder"):
                known = name in declared and one.group != "About"
                control.placeholder = str(declared.pop(name)) if known else one.example
        kind = {one.name: one for one in FIELDS}["config"]
        self._inputs["config"].placeholder = kind.kind.write(declared) or kind.example

    def _changed(self, _: Any = None) -> None:
        if self._filling:
            return
        value, wrong = self._read()
        self._complain(wrong)
        ready = bool(self._chosen.value) and not wrong
        self._snippet.text = as_python(value) if ready else ""
        self._submit.disabled = not ready or self._busy
        self._told.value = ""
        if ready:
            self._check.about(value)
        else:
            self._check.forget()
            self._fits.value = ""
        self._filling = True
        try:
            self.value = value if ready else {}
        finally:
            self._filling = False

    def _read(self) -> tuple[dict[str, Any], dict[str, str]]:
        """The arguments of `submit`, and a sentence for each field that has none."""
        read, wrong = {}, {}
        for one in FIELDS:
            try:
                found = one.kind.read(self._inputs[one.name].value)
            except ValueError as error:
                wrong[one.name] = str(error)
                continue
            if found is not None:
                read[one.name] = found
        for name in read.get("config", {}):
            if CONFIG + name in read:
                wrong["config"] = f"{name} has a field of its own, which is filled in: say it once."
        value = {**self._chosen.value, **gathered(read)}
        if not wrong:
            wrong = refused(value)
        return value, wrong

    def _complain(self, wrong: Mapping[str, str]) -> None:
        for name, line in self._complaints.items():
            words = wrong.get(name, "")
            line.value = told(words) if words else ""
            line.layout.display = None if words else "none"
        self._chosen.complain(next((wrong[name] for name in OF_CODE if name in wrong), ""))

    @traitlets.observe("value")
    def _set(self, change: Any) -> None:
        if self._filling:
            return
        try:
            self._fill(change.new)
        except ValueError:
            self._changed()  # back to what the form shows
            raise

    def _fill(self, value: Mapping[str, Any]) -> None:
        """Shows `value`. Raises ValueError for what the form does not have."""
        found = spread(value)
        source = "cells" if "functions" in found else "url" if found.get("url") else "package"
        for name in ("name", "version", "url", *OF_CELLS):
            found.pop(name, None)
        if unknown := found.keys() - self._inputs.keys():
            raise ValueError(f"The form has no field {min(unknown)}.")
        self._filling = True
        try:
            self._source.value = source
            if value:
                self._chosen.fill(value)
            for one in FIELDS:
                control, said = self._inputs[one.name], found.get(one.name)
                nothing = control.trait_defaults("value")
                control.value = nothing if said is None else one.kind.write(said)
        finally:
            self._filling = False
        self._choose()

    # ------------------------------------------------------------ the farm

    def _ask(self, value: dict[str, Any]) -> rest.Check | AIFarmError:
        options = {name: item for name, item in value.items() if name not in OF_CELLS}
        unpublished = "functions" in value
        try:
            return self._farm.check(unpublished=unpublished, **options)
        except AIFarmError as error:
            return error

    def _answered(self, answer: rest.Check | AIFarmError) -> None:
        if isinstance(answer, AIFarmError):
            self._fits.value = ""
            self._blame(answer, self._fits)
        else:
            self._complain({})
            self._fits.value = fit(answer)

    def _blame(self, error: AIFarmError, elsewhere: w.HTML) -> None:
        """Says it at the field that the farm names, or `elsewhere`."""
        field = field_of(error)
        if field is not None:
            self._complain({field: error.message})
        else:
            elsewhere.value = told(error.message)

    def _send(self, _: Any) -> None:
        value, wrong = self._read()
        if wrong:
            return
        self._busy = self._submit.disabled = True
        words = "Trying a first step, then submitting…" if "functions" in value else "Submitting…"
        self._told.value = f'<span role="status">{words}</span>'
        beside(lambda: self._submitted(value), self._sent)

    def _submitted(self, value: dict[str, Any]) -> Task | AIFarmError:
        try:
            return submit(self._farm, value)
        except AIFarmError as error:
            return error

    def _sent(self, answer: Task | AIFarmError) -> None:
        self._busy = False
        self._submit.disabled = not self.value
        if isinstance(answer, AIFarmError):
            self._told.value = ""
            self._blame(answer, self._told)
            return
        words = f"Submitted: <code>{escape(answer.id[:8])}</code>"
        self._told.value = f'<span role="status">{words}</span>'
        self.task = answer
        if self._on_submit is not None:
            self._on_submit(answer)


def _complaint() -> w.HTML:
    return w.HTML(layout=w.Layout(display="none", margin="0 0 0 9.5em"))


def _row(control: w.Widget, hint: str) -> w.HBox:
    behind = [w.Label(hint, layout=w.Layout(flex="0 0 auto"))] if hint else []
    return w.HBox([control, *behind], layout=w.Layout(width="100%"))
