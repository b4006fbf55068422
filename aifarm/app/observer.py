"""Who hears what the farm measures of itself. The server's is `web.monitor`."""

from collections.abc import Callable

from aifarm.app.draft import Changes
from aifarm.app.records import TaskRecord


class Observer:
    """Listens to nothing. Both calls stand on paths that are hot: they are quick, never raise."""

    def committed(self, operations: int, seconds: float) -> None:
        """A batch of so many operations was written in so long. Called on the writer's thread."""

    def delivered(self, changes: Changes, before: Callable[[str], TaskRecord | None]) -> None:
        """A batch is about to become the view; `before` still shows what a task was."""
