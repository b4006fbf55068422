"""Lines of a worker's journal, for tests that look at them."""

import json

from aifarm.train.journal import pack
from aifarm_agent.journal import parse


def points_of(line):
    """[(step, time, {name: value})] of a decoded line."""
    return parse(json.dumps(line).encode()).points if line["type"] == "points" else []


def points_line(step, at, progress=45.5, **metrics):
    """A line that holds one point."""
    rows = pack([(step, at, metrics)])
    return {"type": "points", "progress": progress, "names": list(metrics), "rows": rows}
