"""The table of runs in a notebook: found, sorted, edited and compared; what is chosen in it is
there in Python."""

from collections.abc import Iterable
from typing import Any

import traitlets

from aifarm.sdk import AIFarmError, Farm, NotFound, Task
from aifarm.sdk.finding import several
from aifarm_jupyter import still
from aifarm_jupyter.beside import Latest
from aifarm_jupyter.widgets import View

ME = "me"
"""The submitter whose token the farm is spoken to with."""

NONE = "No task is like that."


class RunsTable(View):
    """The runs of a farm. What is asked is as in `farm.tasks`, and `submitter="me"` are one's own;
    `columns` are names such as "config.learning_rate" and "metrics.loss.min".

    `selected`: the tasks that are ticked in the table; it can be observed, and set.
    """

    selected = traitlets.List(traitlets.Instance(Task)).tag(
        sync=True,
        to_json=lambda tasks, _: [task.id for task in tasks],
        from_json=lambda ids, table: [table._known[one] for one in ids if one in table._known],
    )

    def __init__(
        self,
        farm: Farm,
        *,
        search: str | None = None,
        status: str | Iterable[str] = (),
        submitter: str | None = None,
        project: str | None = None,
        tags: str | Iterable[str] = (),
        where: str | Iterable[str] = (),
        sort: str | None = None,
        columns: str | Iterable[str] = (),
    ) -> None:
        self._farm = farm
        asked = {
            "search": search,
            "status": ",".join(several(status)),
            "submitter": submitter,
            "project": project,
            "tag": ",".join(several(tags)),
            "where": ", ".join(several(where)),
            "sort": sort,
            "columns": ",".join(several(columns)),
        }

        def picture() -> str:
            me = farm.my_token().name if submitter == ME else submitter
            found = farm.tasks(
                search=search,
                status=status,
                submitter=me,
                project=project,
                tags=tags,
                where=where,
                sort=sort,
                limit=20,
            )
            return still.runs(found) if found or not options else still.problem(NONE)

        options: dict[str, Any] = {name: value for name, value in asked.items() if value}
        self._known: dict[str, Task] = {}
        self._ticked = Latest(self._ask, self._tick)
        super().__init__(farm, "runs", options, picture)
        self.observe(lambda _: self._ticked.forget(), "selected")  # what is set here wins

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """What the page has; tasks that are ticked there, once the farm has told of them."""
        if "selected" in sync_data:
            self._ticked.about(sync_data)
        else:
            super().set_state(sync_data)

    def _ask(self, state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Task]]:
        """With the tasks that are ticked; those that are gone by now are left out."""
        known = {task.id: task for task in self.selected}
        found = {}
        for one in state["selected"]:
            try:
                found[one] = known.get(one) or self._farm.task(one)
            except NotFound:
                continue
            except AIFarmError as error:
                self.log.warning("What is chosen in the table of runs is not known: %s", error)
        return state, found

    def _tick(self, answer: tuple[dict[str, Any], dict[str, Task]]) -> None:
        state, self._known = answer
        super().set_state(state)
