"""A farm and a task as text: what IPython in a terminal shows."""

from datetime import UTC, datetime
from typing import Any

from IPython.core.formatters import DisplayFormatter
from msgspec.structs import replace

from aifarm.sdk import Farm, FarmUnreachable, Task
from aifarm.sdk.plain import farm_lines, task_lines
from aifarm.wire import rest
from aifarm.wire.agent import Cpu, Gpu, Memory, Resources
from aifarm.wire.types import Requirements

NOW = datetime(2030, 1, 1, tzinfo=UTC)
INFO = rest.TaskFull(
    id="0123456789ab", type="training", name="digits", version="v2", url=None, package_sha256=None,
    status="running", desired="running", attempt=2, cause=None, message=None, progress=41.6,
    metrics={"loss": 0.123456, "accuracy": None}, config={}, requirements=Requirements(),
    distributed=True, n_clients=2, processes_per_client=1, priority=0, share_gpu=False,
    max_retries=0, submitter="ada", clients=["ws1", "ws2", "ws1"], checkpoint_id=None,
    created_at=NOW, updated_at=NOW, started_at=NOW, ended_at=None, title="Wide net", tags=["a"],
)  # fmt: skip
CLIENT = rest.ClientFull(
    id="ws1", status="active", speaks="2", hostname="h", agent_version="1", labels={},
    environments=[], resources=Resources(
        Cpu(cores=4), Memory(8192), (Gpu(0, "RTX", Memory(4096)), Gpu(1, "RTX", Memory(4096)))
    ),
    tasks=[], lends=True, drained=None, last_seen=NOW,
)  # fmt: skip


def test_a_task_is_several_lines_of_what_one_wants_to_know() -> None:
    assert task_lines(INFO).splitlines() == [
        "Task Wide net: running, 42 %",
        "  id         0123456789ab",
        "  package    digits v2",
        "  submitter  ada",
        "  on         ws1, ws2",
        "  attempt    2",
        "  tags       a",
        "  metrics    loss 0.1235  accuracy n/a",
    ]
    waiting = replace(INFO, status="pending", title=None, message="Soon.")
    assert task_lines(waiting, "No client is free.").endswith(
        "  message    Soon.\n  waits      No client is free."
    )


def test_a_farm_is_its_machines_and_what_runs_and_waits() -> None:
    other = replace(CLIENT, id="ws2", status="away", resources=None)
    assert farm_lines("http://farm", [CLIENT, other], [INFO]).splitlines() == [
        "Farm http://farm",
        "Machines",
        "  ws1  active  2 x RTX",
        "  ws2  away",
        "Tasks",
        "  01234567  running       42 %  Wide net  ada",
    ]
    assert farm_lines("http://farm", [], []).splitlines() == [
        "Farm http://farm",
        "No machine yet.",
        "No task runs or waits.",
    ]


class Away:
    """A connection to a farm that does not answer."""

    class address:  # noqa: N801  an attribute
        url = "http://farm"

    def send(self, _: Any) -> Any:
        raise FarmUnreachable("The farm does not answer.")


def in_a_terminal(thing: object) -> str:
    data, _ = DisplayFormatter(active_types=["text/plain"]).format(thing)
    return str(data["text/plain"])


def test_a_terminal_shows_them_as_text_also_while_the_farm_is_away() -> None:
    farm: Any = Farm(Away())  # type: ignore[arg-type]
    assert in_a_terminal(farm) == "<Farm http://farm>\nThe farm does not answer."
    over = Task(Away(), replace(INFO, status="completed"))  # type: ignore[arg-type]
    assert in_a_terminal(over).startswith("Task Wide net: completed, 42 %\n")
