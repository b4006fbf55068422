"""What the server says to a client.

What stands below "extensions" is said only to an agent, which said `hello`.
"""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from aifarm.wire.agent.assignment import AssignedTask, Endpoint
from aifarm.wire.types import (
    JSON,
    ControlAction,
    Count,
    DesiredState,
    HostPath,
    Identifier,
    Natural,
    Timestamp,
)


class ServerMessage(Struct, frozen=True, tag_field="type", omit_defaults=True, kw_only=True):
    timestamp: Timestamp | None = None


class TaskAssignment(ServerMessage, tag="task", frozen=True, kw_only=True):
    data: AssignedTask


class Control(ServerMessage, tag="control", frozen=True, kw_only=True):
    """Desired state of a task on this client. Level-triggered: repeats are harmless."""

    action: ControlAction
    task_id: Identifier
    attempt: Count | UnsetType = UNSET


class TaskResultAck(ServerMessage, tag="task_result_ack", frozen=True, kw_only=True):
    """`received` is true once the result is durable, false when it was refused (stale attempt)."""

    task_id: Identifier
    received: bool


class ErrorBody(Struct, frozen=True):
    code: str
    message: str
    details: dict[str, JSON] = {}


class ErrorMessage(ServerMessage, tag="error", frozen=True, kw_only=True):
    """The contract's error envelope; the connection stays open."""

    error: ErrorBody


# extensions


class Verdict(Struct, frozen=True, omit_defaults=True):
    """What becomes of a rank that `hello` named: go on from `ack_seq`, or stop (stale)."""

    task_id: Identifier
    attempt: Count
    rank: Natural
    verdict: Literal["continue", "stop"]
    ack_seq: Natural = 0
    desired: DesiredState = "running"


class Welcome(ServerMessage, tag="welcome", frozen=True, kw_only=True):
    """Answer to `hello`. `lease` and `heartbeat` in seconds."""

    lease: float
    heartbeat: float
    tasks: tuple[Verdict, ...] = ()


class Ack(ServerMessage, tag="ack", frozen=True, kw_only=True):
    """All of this rank's messages up to `seq` are durable."""

    task_id: Identifier
    attempt: Count
    rank: Natural
    seq: Natural


class Withdraw(ServerMessage, tag="withdraw", frozen=True, kw_only=True):
    """This attempt is over for the farm: stop its worker at once, keep nothing."""

    task_id: Identifier
    attempt: Count
    rank: Natural


class Look(ServerMessage, tag="look", frozen=True, kw_only=True):
    """Asks whether the client can read these paths, now and for as long as this connection
    stands. Answered by `readable`."""

    paths: tuple[HostPath, ...]


class GangStart(ServerMessage, tag="gang_start", frozen=True, kw_only=True):
    """Second phase: every rank of the attempt may start its worker."""

    task_id: Identifier
    attempt: Count
    rank: Natural
    endpoint: Endpoint


FromServer = (
    TaskAssignment
    | Control
    | TaskResultAck
    | ErrorMessage
    | Welcome
    | Ack
    | Withdraw
    | GangStart
    | Look
)
