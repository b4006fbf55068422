"""The table of runs in a notebook: found, sorted, edited and compared; what is chosen in it is
there in Python."""

from collections.abc import Iterable
from typing import Any

import traitlets

from aifarm.sdk import AIFarmError, Farm, NotFound, Task
from aifarm.sdk.finding import several
from aifarm_jupyter import still
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
        from_json=lambda ids, table: table._found(ids),
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
        super().__init__(farm, "runs", options, picture)

    def _found(self, ids: Iterable[str]) -> list[Task]:
        """The tasks with these ids; those that are gone by now are left out."""
        known = {task.id: task for task in self.selected}
        found = []
        for one in ids:
            try:
                found.append(known.get(one) or self._farm.task(one))
            except NotFound:
                continue
            except AIFarmError as error:
                self.log.warning("What is chosen in the table of runs is not known: %s", error)
        return found
