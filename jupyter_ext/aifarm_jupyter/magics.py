"""`%farm` lists tasks, `%%farm NAME epochs=10 ...` trains the functions of its cell."""

import shlex
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class

from aifarm.sdk import AIFarmError, Farm, connect
from aifarm_jupyter.display import draws
from aifarm_jupyter.fields import CONFIG, FIELDS, gathered, json_or_text
from aifarm_jupyter.runs import ME, RunsTable

OPTIONS = {field.name: field for field in FIELDS}
USAGE = "%%farm NAME [epochs=10] [config.hidden=128] [title='…'] …"


@magics_class
class FarmMagics(Magics):
    """The farm is the one that `aifarm.connect()` finds."""

    _connected: Farm | None = None

    @line_cell_magic
    def farm(self, line: str, cell: str | None = None) -> Any:
        """In a line: the runs, or with `mine` one's own. Over a cell: runs it, publishes
        build_model, build_data and what else a package may have as NAME, and submits a task;
        OPTION=VALUE as in `farm.submit`, `config.NAME=VALUE` for your own hyperparameters."""
        try:
            return self._runs(line.strip()) if cell is None else self._train(line, cell)
        except AIFarmError as error:
            raise UsageError(str(error)) from None

    def _runs(self, line: str) -> Any:
        if line not in ("", "mine"):
            raise UsageError(f"%farm lists tasks, %farm mine your own; over a cell: {USAGE}")
        farm = self._farm()
        if draws():
            return RunsTable(farm, submitter=ME if line else None)
        return farm.tasks(limit=20, submitter=farm.my_token().name if line else None)

    def _train(self, line: str, cell: str) -> Any:
        name, options = parsed(line)
        if not self.shell.run_cell(cell, store_history=False).success:
            raise UsageError("The cell failed, so nothing was published or submitted.")
        farm = self._farm()
        return farm.submit(package=farm.publish_cells(name=name), **options)

    def _farm(self) -> Farm:
        if self._connected is None:
            self._connected = connect()
        return self._connected


def parsed(line: str) -> tuple[str, dict[str, Any]]:
    """The package's name, and the arguments of `submit`. Raises UsageError."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"That line cannot be read: {error}.") from None
    names = [word for word in words if "=" not in word]
    if len(names) != 1:
        raise UsageError(f"Say the package's name: {USAGE}")
    read = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            continue
        try:
            read[key] = _read(key, text)
        except ValueError as error:
            raise UsageError(f"{key}: {error}") from None
    return names[0], gathered(read)


def _read(key: str, text: str) -> Any:
    if key in OPTIONS:
        return OPTIONS[key].kind.read(text)
    if key.startswith(CONFIG) and key != CONFIG:
        return json_or_text(text)
    known = ", ".join(name for name in OPTIONS if not name.startswith(CONFIG))
    raise UsageError(f"There is no option {key}: {known}, or config.NAME for your own.")
