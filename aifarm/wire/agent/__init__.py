"""The agent protocol: every message on the WebSocket between a client and the server.

The first messages of each direction are the documented contract; what stands below the line
"extensions" is spoken only with an agent that said `hello`. Every message about a task may
carry `attempt`, `rank` and `seq`: `seq` counts from 1 without gaps per (task, attempt, rank),
and acknowledgements are cumulative. A contract-only client sends none of them.
"""

from aifarm.wire.agent.assignment import *
from aifarm.wire.agent.from_client import *
from aifarm.wire.agent.from_server import *
from aifarm.wire.agent.resources import *

PROTOCOL = 1
"""Version that `hello` announces; the server refuses an agent it cannot understand."""

MAX_MESSAGE = 1 << 20
"""Bytes in one socket message, either way (SECURITY row 21)."""
