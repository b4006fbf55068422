"""Live views in a notebook: a task, the runs, the farm.

What they show comes from the Jupyter server's extension, on a socket that the browser opens by
itself: it stays live while the kernel is busy, and after the kernel is gone. Where no extension is
in reach (another notebook's program), the kernel's own connection feeds them.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from aifarm.sdk import AIFarmError, Farm, Task
from aifarm_jupyter import still

LOADER = Path(__file__).with_name("loader.js").read_text()

EVERY = 2.0
"""Seconds between two pictures of a view that the kernel feeds."""


class View(anywidget.AnyWidget):
    """`view` names one of the front end's, `options` is what it shows; `html` a still picture."""

    # Text, not a path: a widget that watches a file for changes is never collected.
    _esm = LOADER
    view = traitlets.Unicode().tag(sync=True)
    options = traitlets.Dict().tag(sync=True)
    html = traitlets.Unicode().tag(sync=True)

    def __init__(self, view: str, options: dict[str, Any], picture: Callable[[], str]) -> None:
        self._picture = picture
        self._alone: threading.Thread | None = None
        super().__init__(view=view, options=options, html=self._still())
        self.on_msg(self._heard)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """With a picture for where no widget runs: a saved notebook, an export."""
        self.html = self._still()
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        if data is None:
            return bundle
        return {**data, "text/html": self.html}, metadata

    def _still(self) -> str:
        try:
            return self._picture()
        except AIFarmError as error:
            return still.problem(str(error))

    def _heard(self, _: Any, content: dict[str, Any], __: Any) -> None:
        """The page found no extension: it is fed from here, for as long as it is shown."""
        if content.get("type") == "alone" and self._alone is None:
            self._alone = threading.Thread(target=self._feed, name="aifarm-view", daemon=True)
            self._alone.start()

    def _feed(self) -> None:
        ended = threading.Event()
        while self.comm is not None and not ended.wait(EVERY):
            self.html = self._still()


class TaskMonitor(View):
    """One task: state, progress, curves, log, checkpoints and story, and what can be done."""

    def __init__(self, task: Task) -> None:
        super().__init__("task", {"id": task.id}, lambda: still.task(task))


class FarmView(View):
    """What runs, what waits, and the machines."""

    def __init__(self, farm: Farm) -> None:
        super().__init__("farm", {}, lambda: still.farm(farm))
