"""A notebook's code on its way into a package: taken from its cells, and tried before it leaves."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from pprint import pformat
from tempfile import TemporaryDirectory
from typing import Any

from msgspec import Struct

from aifarm.packages import CannotTravel, Source, defined, extract
from aifarm.sdk.alike import check_code, check_model, check_values
from aifarm.sdk.errors import AIFarmError, InvalidRequest
from aifarm.wire.types import JSON

REQUIRED = ("build_model", "build_data")
OPTIONAL = {
    **dict.fromkeys(("build_optimizer", "build_scheduler", "loss", "metrics"), "function"),
    "defaults": "value",
}
"""What else a package is made of, and as what it counts: elsewhere in a notebook `loss` is a
number."""

ENTRY = "model.py"

# Magics that run the rest of their cell as if it stood there without them.
TRANSPARENT = ("%%time", "%%capture", "%%prun", "%%farm")

# The kernel's own: a window to draw in, and what a training process never has.
LEFT_BEHIND = ("MPLBACKEND", "PYTHONSTARTUP", "AIFARM_TOKEN", "AIFARM_FARM_FILE")


class Offer(Struct, frozen=True):
    """What cells define and a package may take along, a "function", "class" or "value"; `part`:
    by its name it has a place there."""

    name: str
    kind: str
    part: bool


class Notebook(Struct, frozen=True):
    """`cells` as they ran, and the `names` that they left behind; no names where it is not this
    process that they ran in."""

    cells: Sequence[str]
    names: Mapping[str, object]

    @classmethod
    def running(cls) -> "Notebook":
        """The one that this code runs in. Raises InvalidRequest where there is none."""
        shell = _ipython()
        if shell is None:
            raise InvalidRequest(
                "No notebook runs here: publish a folder, a .py file or its text with publish(), "
                "or give the cells."
            )
        cells = shell.history_manager.input_hist_raw[1:]
        return cls([python(cell) for cell in cells], shell.user_ns)

    @classmethod
    def of(cls, cells: Sequence[str] | None) -> "Notebook":
        return cls.running() if cells is None else cls([python(cell) for cell in cells], {})

    def source(
        self,
        functions: Sequence[Callable[..., object] | str],
        defaults: Mapping[str, JSON] | None,
    ) -> Source:
        """The package's file: what `functions` need, by default all that a package may have.

        Raises InvalidRequest, whose `details` have each problem.
        """
        wanted = [self._name(function) for function in functions] or self._found()
        if missing := [name for name in REQUIRED if name not in wanted]:
            raise InvalidRequest(
                f"A package needs the functions build_model and build_data: define {missing[0]}."
            )
        try:
            source = extract(self.cells, wanted)
        except CannotTravel as error:
            problems = [
                {"name": one.name, "cell": one.cell, "line": one.line, "message": one.sentence}
                for one in error.problems
            ]
            raise InvalidRequest(str(error), {"problems": problems}) from None
        if defaults is None:
            return source
        declared = f"\n\ndefaults = {pformat(dict(defaults), sort_dicts=False)}\n"
        return Source(source.text + declared, source.values, source.places)

    def offers(self) -> list[Offer]:
        """What a package's parts may be, in their order, then the other functions and classes of
        the cells."""
        last = {name: was[-1] for name, was in defined(self.cells).items()}
        required = [name for name in REQUIRED if last.get(name)]
        optional = [name for name, kind in OPTIONAL.items() if last.get(name) == kind]
        others = [name for name, kind in last.items() if kind in ("function", "class")]
        parts = [*required, *optional]
        return [Offer(name, last[name], name in parts) for name in dict.fromkeys([*parts, *others])]

    def _name(self, function: Callable[..., object] | str) -> str:
        if isinstance(function, str):
            return function
        name = getattr(function, "__name__", "")
        if self.names and self.names.get(name) is not function:
            raise InvalidRequest(
                f"{name or repr(function)} is not what this notebook means by that name now: give "
                "the function that it has, or the name."
            )
        return str(name)

    def _found(self) -> list[str]:
        """All that a package may have. Raises InvalidRequest for a function that is none now."""
        kinds = defined(self.cells)
        found = [name for name in REQUIRED if name in kinds]
        for name, kind in OPTIONAL.items():
            was = kinds.get(name, [])
            if was[-1:] == [kind]:
                found.append(name)
            elif kind == "function" and kind in was:
                raise InvalidRequest(
                    f"`{name}` was a function, and is none now: define it again, or name the "
                    "functions that the package is to have."
                )
        return found


def try_out(
    notebook: Notebook, source: Source, model: object = None, timeout: float | None = None
) -> None:
    """Tries the package in a clean process of this interpreter: import, model, data, one step.

    Its functions and values must be those of the notebook, and its model's state have the entries
    and shapes of `model`, where one is given. Raises InvalidRequest with the place in the notebook.
    """
    if notebook.names:
        check_code(source, notebook.names)
    found = _rehearsed(source, timeout)
    if failed := found.get("failed"):
        place = source.place(failed["line"]) if failed["line"] else None
        where = f" (In [{place[0]}] line {place[1]})" if place else ""
        hint = ""
        if failed["reason"].startswith("KeyError"):
            hint = (
                " A setting that the task is given later needs a value for this trial: define "
                "defaults = {...} in a cell, or pass it to publish_cells."
            )
        raise InvalidRequest(
            f"In a clean process, {failed['doing']} failed: {failed['reason']}{where}.{hint}",
            {"cell": place and place[0], "line": place and place[1]},
        )
    check_values(source, notebook.names, found["values"])
    if model is not None:
        check_model(model, found["model"])


def _rehearsed(source: Source, timeout: float | None) -> dict[str, Any]:
    """What `aifarm.train.rehearsal` says of it."""
    environ = {name: value for name, value in os.environ.items() if name not in LEFT_BEHIND}
    home = str(Path(__file__).resolve().parents[2])  # where aifarm.train is
    path = os.environ.get("PYTHONPATH")
    environ["PYTHONPATH"] = os.pathsep.join([home, path] if path else [home])
    with TemporaryDirectory(prefix="aifarm-") as folder:
        (Path(folder) / ENTRY).write_text(source.text, encoding="utf-8")
        result = Path(folder) / "result.json"
        # -P: modules that lie beside the notebook do not travel, so they must not be found here.
        command = [sys.executable, "-P", "-m", "aifarm.train.rehearsal"]
        try:
            done = subprocess.run(
                [*command, folder, ENTRY, str(result)],
                env=environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise InvalidRequest(
                f"In a clean process, the first step took more than {timeout:g} s: give it longer "
                "(timeout=...), or leave the trial out (verify=False)."
            ) from None
        if not result.exists():
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise InvalidRequest(
                f"In a clean process, Python ended with {done.returncode}: {last:.400}"
            )
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return found


def python(cell: str) -> str:
    """A cell's text as Python: its commands (`%` and `!`) become calls of get_ipython().

    Raises AIFarmError where IPython is not installed.
    """
    try:
        transformer = import_module("IPython.core.inputtransformer2").TransformerManager()
    except ImportError:
        raise AIFarmError("Cells are read by IPython, which is not installed here.") from None
    if cell.startswith(TRANSPARENT):
        cell = "pass\n" + cell.partition("\n")[2]  # the other lines keep their numbers
    blank = cell[: len(cell) - len(cell.lstrip())].count("\n")  # IPython drops these
    return "\n" * blank + str(transformer.transform_cell(cell))


def _ipython() -> Any:
    """The shell that this process is, or None."""
    module = sys.modules.get("IPython")
    return module.get_ipython() if module else None
