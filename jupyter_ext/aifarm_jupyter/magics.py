"""`%farm` lists tasks, `%%farm NAME epochs=10 ...` trains the functions of its cell."""

import shlex
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class

from aifarm.sdk import AIFarmError, Farm, connect
from aifarm_jupyter.fields import FIELDS
from aifarm_jupyter.widgets import RunsTable, TaskMonitor

OPTIONS = {field.name: field for field in FIELDS}


@magics_class
class FarmMagics(Magics):
    """The farm is the one that `aifarm.connect()` finds."""

    _connected: Farm | None = None

    @line_cell_magic
    def farm(self, line: str, cell: str | None = None) -> Any:
        """In a line: the runs. Over a cell: runs it, publishes build_model, build_data and what
        else a package may have as NAME, and submits a task; OPTION=VALUE as in `farm.submit`."""
        try:
            if cell is None:
                return RunsTable(self._farm())
            name, options = parsed(line)
            done = self.shell.run_cell(cell, store_history=False)
            done.raise_error()
            farm = self._farm()
            package = farm.publish_cells(name=name)
            return TaskMonitor(farm.submit(package=package, **options))
        except AIFarmError as error:
            raise UsageError(str(error)) from None

    def _farm(self) -> Farm:
        if self._connected is None:
            self._connected = connect()
        return self._connected


def parsed(line: str) -> tuple[str, dict[str, Any]]:
    """The package's name, and the arguments of `submit`. Raises UsageError."""
    words = shlex.split(line)
    names = [word for word in words if "=" not in word]
    if len(names) != 1:
        raise UsageError("Say the package's name: %%farm NAME [epochs=10] [title='…'] …")
    options = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            continue
        if key not in OPTIONS:
            known = ", ".join(OPTIONS)
            raise UsageError(f"There is no option {key}: {known}.")
        try:
            options[key] = OPTIONS[key].read(text)
        except ValueError as error:
            raise UsageError(f"{key}: {error}") from None
    return names[0], options
