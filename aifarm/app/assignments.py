"""What an agent's token reaches: what the clients that connected with it hold, nothing else."""

from collections.abc import Iterator

from aifarm.app.data import SCHEME
from aifarm.app.draft import Draft
from aifarm.app.errors import Forbidden
from aifarm.app.records import TaskRecord
from aifarm.app.scopes import Principal
from aifarm.app.writer import Operation


def need_task(task_id: str, by: Principal) -> Operation:
    """Raises Forbidden unless the task is held."""

    def operation(draft: Draft) -> None:
        if not any(record.task.id == task_id for record in _held(draft, by)):
            raise Forbidden(f"No client of this token holds task {task_id}.")

    return operation


def need_package(name: str, version: str, by: Principal) -> Operation:
    """Raises Forbidden unless a task of this package is held."""

    def operation(draft: Draft) -> None:
        for record in _held(draft, by):
            package = record.spec.package
            if package is not None and (package.name, package.version) == (name, version):
                return
        raise Forbidden(f"No client of this token holds a task of {name} {version}.")

    return operation


def need_data(sha256: str, by: Principal) -> Operation:
    """Raises Forbidden unless a task that names this data is held."""

    def operation(draft: Draft) -> None:
        url = f"{SCHEME}{sha256}"
        for record in _held(draft, by):
            if any(ref.url == url for ref in record.spec.data.values()):
                return
        raise Forbidden(f"No client of this token holds a task that names {url}.")

    return operation


def _held(draft: Draft, by: Principal) -> Iterator[TaskRecord]:
    for client in draft.farm.clients.values():
        if not client.holds or draft.clients[client.id].token_id != by.token_id:
            continue
        for key in client.holds:
            if (record := draft.records.get(key.task_id)) is not None:
                yield record
