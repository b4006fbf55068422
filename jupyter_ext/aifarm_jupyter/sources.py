"""Where the code of a task comes from: a package of the farm, this notebook's cells, or a URL."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

import ipywidgets as w
import traitlets

from aifarm.sdk import AIFarmError, Farm, InvalidRequest
from aifarm.sdk.notebook import REQUIRED, Notebook, Offer
from aifarm.wire import rest
from aifarm_jupyter.beside import QUIET, Latest
from aifarm_jupyter.fields import LABELS

WHOLE = w.Layout(width="auto")
INDENTED = w.Layout(margin="0 0 0 9.5em")
BESIDE = w.Layout(width="auto", margin="0 1em 0 0")

TEMPLATE = """\
def build_model(cfg):
    return nn.Linear(cfg.get("inputs", 64), 10)

def build_data(cfg):
    return TensorDataset(x, y)"""


class Source(w.VBox):
    """`value`: its part of the arguments, {} while there is none; `defaults`: what the code
    declares for its config. `fill` shows what arguments say; `look` finds out what is new."""

    value = traitlets.Dict()
    defaults = traitlets.Dict()

    def __init__(self, parts: Sequence[w.Widget]) -> None:
        self._complaint = w.HTML(layout=INDENTED)
        super().__init__([*parts, self._complaint])

    def complain(self, sentence: str) -> None:
        """Says what is wrong with what is filled in here; "" where nothing is."""
        self._complaint.value = told(sentence) if sentence else ""

    def fill(self, value: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def look(self) -> None:
        pass


class Published(Source):
    """A package of the farm, and which of its versions, the newest first."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._packages: dict[str, list[rest.PackageFull]] = {}
        self._name = w.Dropdown(description="Package", style=LABELS, layout=WHOLE)
        self._version = w.Dropdown(description="Version", style=LABELS, layout=WHOLE)
        self._nothing = w.HTML()
        self._listed = Latest(self._list, self._show)
        self._declared = Latest(self._ask, self._told, quiet=QUIET)
        self._choice = w.VBox([self._name, self._version])
        super().__init__([self._choice, self._nothing])
        self._name.observe(self._named, "value")
        self._version.observe(self._chosen, "value")

    def look(self) -> None:
        self._listed.about(None)

    def _list(self, _: None) -> list[rest.PackageFull] | AIFarmError:
        try:
            return self._farm.packages()
        except AIFarmError as error:
            return error

    def _show(self, found: list[rest.PackageFull] | AIFarmError) -> None:
        if isinstance(found, AIFarmError):
            self._nothing.value = told(str(found))
            return
        self._packages = by_name(found)
        name, version = self._name.value, self._version.value
        with self.hold_trait_notifications():  # new options choose the first, for a moment
            self._name.options = list(self._packages)
            self._name.value = name if name in self._packages else next(iter(self._packages), None)
            self._named(keep=version)
        words = (
            ""
            if found
            else "No package is published yet. Choose <b>This notebook's code</b> above, or "
            "publish a folder with <code>farm.publish(FOLDER)</code> and press Look again."
        )
        self._nothing.value = words
        self._choice.layout.display = None if found else "none"

    def fill(self, value: Mapping[str, Any]) -> None:
        name, version = value.get("name"), value.get("version")
        if name not in self._packages:
            self._show(self._list(None))
        if name not in self._packages:
            raise ValueError(f"There is no package {name} on this farm: publish it first.")
        versions = [one.version for one in self._packages[name]]
        if version is not None and version not in versions:
            raise ValueError(f"The package {name} has no version {version}: {', '.join(versions)}.")
        self._name.value = name
        self._version.value = version or versions[0]

    def _named(self, _: Any = None, keep: str | None = None) -> None:
        versions = self._packages.get(self._name.value or "", [])
        names = [one.version for one in versions]
        self._version.options = [(_label(one), one.version) for one in versions]
        self._version.value = keep if keep in names else next(iter(names), None)
        self._chosen()

    def _chosen(self, _: Any = None) -> None:
        name, version = self._name.value, self._version.value
        if not (name and version):
            self.value = {}
            return
        self.value = {"name": name, "version": version}
        self._declared.about((name, version))

    def _ask(self, which: tuple[str, str]) -> dict[str, Any]:
        try:
            manifest = self._farm.package(*which).manifest
        except AIFarmError:
            return {}  # it is only a hint
        return dict(manifest.get("defaults", {})) if isinstance(manifest, dict) else {}

    def _told(self, defaults: dict[str, Any]) -> None:
        self.defaults = defaults


class _Choices(w.VBox):
    """Boxes under a title, and nothing where there are none."""

    def __init__(self, title: str) -> None:
        head = w.HTML(f"<small>{title}</small>", layout=INDENTED)
        self._row = w.HBox(layout=w.Layout(flex_flow="row wrap", margin="0 0 0 9.5em"))
        super().__init__([head, self._row])

    def show(self, boxes: Sequence[w.Checkbox]) -> None:
        self._row.children = boxes
        self.layout.display = None if boxes else "none"


class Cells(Source):
    """Functions and classes of the notebook that this form is shown in."""

    def __init__(self) -> None:
        self._name = _text("Name", "of the package that it becomes")
        self._version = _text("Version", "from its content")
        self._try = w.Checkbox(
            value=True,
            description="Try a first step in a clean process before it leaves",
            style=LABELS,
            layout=WHOLE,
        )
        self._notebook = Notebook([], {})
        self._boxes: dict[str, w.Checkbox] = {}
        self._parts = _Choices("The package's parts")
        self._more = _Choices("Also take along; what the parts use comes by itself")
        self._problems = w.HTML(layout=INDENTED)
        lists = [self._parts, self._more]
        super().__init__([self._name, self._version, *lists, self._problems, self._try])
        for one in (self._name, self._version, self._try):
            one.observe(self._changed, "value")

    def look(self) -> None:
        try:
            self._notebook = Notebook.running()
            offers = self._notebook.offers()
        except AIFarmError as error:
            self._offer([])
            self._problems.value = told(str(error))
            self.value = {}
            return
        self._offer(offers)
        self._changed()

    def _offer(self, offers: Sequence[Offer]) -> None:
        before = self._boxes
        self._boxes = {one.name: _choice(one, before.get(one.name)) for one in offers}
        self._parts.show([self._boxes[one.name] for one in offers if one.part])
        self._more.show([self._boxes[one.name] for one in offers if not one.part])
        for box in self._boxes.values():
            box.observe(self._changed, "value")
        for box in before.values():
            for widget in (box, box.style):
                widget.close()

    def fill(self, value: Mapping[str, Any]) -> None:
        self.look()
        wanted = [str(one) for one in value["functions"]]
        if unknown := [name for name in wanted if name not in self._boxes]:
            raise ValueError(f"No cell that ran defines {unknown[0]}.")
        for name, box in self._boxes.items():
            box.value = name in wanted
        self._name.value = value.get("name") or ""
        self._version.value = value.get("version") or ""
        self._try.value = value.get("verify", True)

    def _changed(self, _: Any = None) -> None:
        names = [name for name, box in self._boxes.items() if box.value]
        refusals = self._refusals(names)
        named = bool(self._name.value.strip())
        self._problems.value = refusals or ("" if named else "Give the package a name.")
        if self._problems.value:
            self.value = {}
            return
        version, verify = self._version.value.strip(), self._try.value
        self.value = {
            "name": self._name.value.strip(),
            "functions": names,
            **({"version": version} if version else {}),
            **({} if verify else {"verify": False}),
        }

    def _refusals(self, names: Sequence[str]) -> str:
        """What keeps these from travelling, in HTML; "" where nothing does."""
        if missing := [name for name in REQUIRED if name not in names]:
            words = f"A package needs {' and '.join(missing)}: define it in a cell, run that, and "
            return told(f"{words}press Look again.") + f"<pre>{escape(TEMPLATE)}</pre>"
        try:
            self._notebook.source(names, None)
        except InvalidRequest as error:
            problems = error.details.get("problems")
            if not isinstance(problems, list):
                return told(error.message)
            lines = "".join(f"<li>{escape(str(one['message']))}</li>" for one in problems)
            return told("This cannot travel:") + f"<ul>{lines}</ul>"
        return ""


class Address(Source):
    """Code that the machines fetch by themselves, as the documented API has it."""

    def __init__(self) -> None:
        self._name = _text("Name", "letters, digits, ., _ and -")
        self._url = _text("URL", "https://…")
        self._version = _text("Version", "")
        super().__init__([self._name, self._url, self._version])
        for one in (self._name, self._url, self._version):
            one.observe(self._changed, "value")

    def fill(self, value: Mapping[str, Any]) -> None:
        self._name.value = value.get("name") or ""
        self._url.value = value["url"]
        self._version.value = value.get("version") or ""

    def _changed(self, _: Any = None) -> None:
        given = {
            "name": self._name.value.strip(),
            "url": self._url.value.strip(),
            "version": self._version.value.strip(),
        }
        whole = given["name"] and given["url"]
        self.value = {name: text for name, text in given.items() if text} if whole else {}


def by_name(packages: Sequence[rest.PackageFull]) -> dict[str, list[rest.PackageFull]]:
    """The versions of each package, the newest first; the package that was published last, too."""
    found: dict[str, list[rest.PackageFull]] = {}
    for package in sorted(packages, key=lambda one: one.created_at, reverse=True):
        found.setdefault(package.name, []).append(package)
    return found


def told(sentence: str) -> str:
    """A complaint, which a screen reader says at once."""
    return (
        f'<span role="alert" style="color:var(--jp-error-color1,#b3261e)">{escape(sentence)}</span>'
    )


def _label(package: rest.PackageFull) -> str:
    here: datetime = package.created_at.astimezone()
    return f"{package.version} · {here:%Y-%m-%d %H:%M} · {package.publisher}"


def _text(label: str, hint: str) -> w.Text:
    return w.Text(
        description=label, placeholder=hint, style=LABELS, layout=WHOLE, continuous_update=False
    )


def _choice(offer: Offer, before: w.Checkbox | None) -> w.Checkbox:
    needed = offer.name in REQUIRED
    return w.Checkbox(
        value=needed or (before.value if before else offer.part),
        disabled=needed,
        indent=False,
        description=f"{offer.name} ({offer.kind})",
        layout=BESIDE,
    )
