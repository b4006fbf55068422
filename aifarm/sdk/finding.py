"""Which tasks are meant: in the SDK's words, and in the farm's."""

from collections.abc import Iterable
from datetime import datetime
from typing import TypedDict

from aifarm.sdk.call import valid
from aifarm.sdk.errors import InvalidRequest
from aifarm.wire.query import TaskFilter


class Matching(TypedDict, total=False):
    """What `Farm.tasks` finds tasks by, which has it in words."""

    status: str | Iterable[str]
    project: str | None
    tags: str | Iterable[str]
    submitter: str | None
    name: str | Iterable[str]
    search: str | None
    where: str | Iterable[str]
    since: datetime | None
    until: datetime | None
    parent: str | None


def several(given: str | Iterable[str]) -> list[str]:
    """One word, or some."""
    return [given] if isinstance(given, str) else list(given)


def asked(matching: Matching) -> dict[str, object]:
    """The fields of the farm's filter; None is nothing that was asked."""
    return {
        "status": several(matching.get("status", ())),
        "project": matching.get("project"),
        "tag": several(matching.get("tags", ())),
        "submitter": matching.get("submitter"),
        "name": several(matching.get("name", ())),
        "search": matching.get("search"),
        "where": several(matching.get("where", ())),
        "since": matching.get("since"),
        "until": matching.get("until"),
        "parent": matching.get("parent"),
    }


def task_filter(matching: Matching) -> TaskFilter:
    """For what is done to all that match. Raises InvalidRequest, also where everything would."""
    found = valid(TaskFilter, **asked(matching))
    if found == TaskFilter():
        raise InvalidRequest("Say which tasks are meant: this would be every task of the farm.")
    return found
