"""What passes to the farm, and what Jupyter's authorizer is asked before it does."""

import re
from typing import Literal, NamedTuple

import msgspec
from tornado.escape import url_unescape

from aifarm.wire.requests import BulkTasks

Action = Literal["read", "write", "execute"]

ALLOWED = re.compile(
    r"^(?:(models)|api/v2/(tasks|clients|packages|metrics|data|events|system|token))(/|$)"
)
"""By the first parts of a path. The agents' socket, tokens of others and the farm's own pages are
not among them."""

RUNS = re.compile(r"^api/v2/tasks(/[^/]+/retry)?$")
"""What is posted there is a new task."""


class Asked(NamedTuple):
    action: Action
    resource: str


def asked(method: str, path: str, body: bytes) -> Asked | None:
    """What a request does, and to what; None where it does not pass.

    `path` as it came, quoted, without a slash at its beginning.
    """
    found = ALLOWED.match(path)
    components = url_unescape(path, plus=False).split("/")
    if found is None or any(one in ("", ".", "..") for one in components):
        return None
    resource = "packages" if found[1] else found[2]
    return Asked(_action(method, path, body), f"aifarm:{resource}")


def _action(method: str, path: str, body: bytes) -> Action:
    """ "execute" is what makes the farm train something new, "write" whatever else changes it."""
    if method in ("GET", "HEAD"):
        return "read"
    if method != "POST":
        return "write"
    if path == "api/v2/tasks/check":  # a dry run
        return "read"
    if RUNS.match(path) or (path == "api/v2/tasks/bulk" and _retries(body)):
        return "execute"
    return "write"


def _retries(body: bytes) -> bool:
    """Whether the farm will read it so. What it cannot read, it will refuse."""
    try:
        return msgspec.json.decode(body, type=BulkTasks).action == "retry"
    except msgspec.MsgspecError:
        return False
