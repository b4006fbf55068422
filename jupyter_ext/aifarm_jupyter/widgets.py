"""Live views in a notebook: a task, the runs, the farm.

What they show comes from the Jupyter server's extension, on a socket that the browser opens by
itself: it stays live while the kernel is busy, and after the kernel is gone. Where no extension is
in reach (another notebook's program), or it has another farm, the kernel's own connection takes its
place.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from aifarm.sdk import AIFarmError, Farm, Task
from aifarm.sdk.config import FARM_FILE_VARIABLE, from_farm_file
from aifarm_jupyter import still
from aifarm_jupyter.bridge import Bridge

LOADER = Path(__file__).with_name("loader.js").read_text()

MIME = "application/vnd.aifarm.view+json"
"""What Lab's extension draws without a kernel."""


class View(anywidget.AnyWidget):
    """`view` names one of the front end's, `options` is what it shows, `url` the farm; `html` a
    still picture."""

    # Text, not a path: a widget that watches a file for changes is never collected.
    _esm = LOADER
    alone = False
    """Whether the kernel has no part in it once it is shown: Lab's extension then draws it by
    itself, and it is there again after a reload without its kernel."""

    view = traitlets.Unicode().tag(sync=True)
    options = traitlets.Dict().tag(sync=True)
    url = traitlets.Unicode().tag(sync=True)
    html = traitlets.Unicode().tag(sync=True)

    def __init__(
        self, of: Farm | Task, view: str, options: dict[str, Any], picture: Callable[[], str]
    ) -> None:
        self._picture = picture
        self._bridge: Bridge | None = None
        self._address = of._http.address
        super().__init__(view=view, options=options, url=self._address.url, html=self._still())
        self.on_msg(self._heard)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """With a picture for where no widget runs: a saved notebook, an export."""
        self.html = self._still()
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        if data is None:
            return bundle
        return {**data, **self._drawn(), "text/html": self.html}, metadata

    def _drawn(self) -> dict[str, Any]:
        """The view for Lab's extension, where that speaks for the same farm."""
        file = os.environ.get(FARM_FILE_VARIABLE)
        server = from_farm_file(Path(file)) if file and self.alone else None
        if server is None or server.url != self.url:
            return {}
        return {MIME: {"view": self.view, "options": self.options}}

    def close(self) -> None:
        if self._bridge is not None:
            self._bridge.close()
        super().close()

    def _still(self) -> str:
        try:
            return self._picture()
        except AIFarmError as error:
            return still.problem(str(error))

    def _heard(self, _: Any, content: dict[str, Any], __: Any) -> None:
        """The page asks this kernel, for want of an extension."""
        if self._bridge is None:
            self._bridge = Bridge(self._address, self.send)
        self._bridge.heard(content)


class TaskMonitor(View):
    """One task: state, progress, curves, log, checkpoints and story, and what can be done.

    `compare`: tasks, or their ids, whose curves are drawn beside its own.
    """

    alone = True

    def __init__(self, task: Task, compare: Iterable[Task | str] = ()) -> None:
        others = [other if isinstance(other, str) else other.id for other in compare]
        options = {"id": task.id, "compare": others}
        super().__init__(task, "task", options, lambda: still.task(task))


class FarmView(View):
    """What runs, what waits, and the machines."""

    alone = True

    def __init__(self, farm: Farm) -> None:
        super().__init__(farm, "farm", {}, lambda: still.farm(farm))
