"""What a task's `progress_from` may be."""

import re

from aifarm.app.errors import InvalidRequest


def check(pattern: str | None) -> None:
    """Raises InvalidRequest unless the regular expression, where there is one, has a group for the
    step or for a metric. Compiling a stranger's pattern may take a second: not for the event loop.
    """
    if pattern is None:
        return
    try:
        names = re.compile(pattern).groupindex.keys()
    except (re.error, OverflowError, RecursionError):
        names = set()  # type: ignore[assignment]
    if not names - {"total"}:
        raise InvalidRequest(
            "progress_from is no regular expression that finds a step or a metric: write Python's, "
            "with a named group for each, such as "
            r"(?P<step>\d+)/(?P<total>\d+) loss (?P<loss>\S+).",
            field="progress_from",
            expected="a regular expression with a group named step, or like a metric",
        )
