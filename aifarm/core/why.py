"""Why a task waits, and what would let it start: worked out when somebody asks, and not before."""

from collections.abc import Iterator, Mapping
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from aifarm.core.client import Client
from aifarm.core.farm import Farm
from aifarm.core.placement import alike
from aifarm.core.room import Lack, Room, TaskClass, class_of, keep_back, missing
from aifarm.core.task import Needs, Task

HINTS = 3
"""What would let a task start is told in so many sentences at most."""


class Miss(Struct, frozen=True):
    """Why a client does not take the task. `never`: it is too small, whatever ends on it.

    `held_by`: (task, its submitter) of those that hold what is missing. `fits`: it is only that
    a gang needs more clients than do fit.
    """

    client_id: str
    reason: str
    never: bool = False
    held_by: tuple[tuple[str, str], ...] = ()
    fits: bool = False


class Explanation(Struct, frozen=True):
    """`fits`: the clients that it could start on now; `could`: those large enough for it, when
    they are free and there. `starts`: enough of them fit now. `hints`: what would let it start."""

    starts: bool
    position: int | None
    fits: tuple[str, ...]
    could: tuple[str, ...]
    misses: tuple[Miss, ...]
    summary: str
    hints: tuple[str, ...] = ()


def explain(farm: Farm, task: Task) -> Explanation:
    """Of a task that waits, or of one that is not submitted yet."""
    kind = class_of(task)
    clients = sorted(farm.clients.values(), key=lambda client: client.id)
    rooms = {client.id: farm.room(client) for client in clients if client.placeable}
    misses = [_miss(farm, client, rooms.get(client.id), task, kind) for client in clients]
    fits = [miss.client_id for miss in misses if miss.fits]
    gangs = alike((rooms[client_id] for client_id in fits), kind)
    together = max(map(len, gangs), default=0)
    starts = together >= task.n_clients
    hints = () if starts else tuple(islice(_hints(farm, rooms, misses, kind, together), HINTS))
    return Explanation(
        starts=starts,
        position=farm.position(task),
        fits=tuple(fits),
        could=tuple(one.client_id for one in misses if not one.fits and not one.never),
        misses=tuple(misses),
        summary=_summary(clients, misses, task, gangs, hints),
        hints=hints,
    )


def _miss(farm: Farm, client: Client, room: Room | None, task: Task, kind: TaskClass) -> Miss:
    """`room`: what is free there, None where nothing can be placed now."""
    never = missing(client.whole, kind)
    if never is not None and never.amount:
        return Miss(client.id, f"too small: {never.words('it has {}')}", never=True)
    if not client.connected:
        return Miss(client.id, "not connected")
    if client.drained:
        return Miss(client.id, f"drained: {client.drained}")
    if not client.serves:
        return Miss(client.id, "its owner has taken it back")
    held_by = _holders(farm, client)
    if never is not None:
        return Miss(client.id, never.words())
    if room is None:
        return Miss(client.id, "busy, or has not asked for a task", held_by=held_by)
    lack = missing(room, kind)
    if lack is not None:
        words = lack.words()
        if lack.what == "gpu_memory" and client.capacity.held:
            words += "; another agent of the same machine has some"
        return Miss(client.id, words, held_by=held_by)
    kept = farm.reserved
    if (
        kept is not None
        and kept.task_id != task.id
        and client.id in kept.client_ids
        and missing(keep_back(room, kept.kind), kind) is not None
    ):
        owner = farm.tasks[kept.task_id].submitter
        words = f"kept free for task {kept.task_id[:8]} of {owner}, which has waited long"
        return Miss(client.id, words, held_by=((kept.task_id, owner),))
    if task.n_clients > 1:
        build = room.environments[kind.needs.environment]
        words = f"fits, but {task.n_clients} clients{' alike' if build else ''} are needed at once"
        return Miss(client.id, words, fits=True)
    return Miss(client.id, "fits; it is given out next", fits=True)


def _holders(farm: Farm, client: Client) -> tuple[tuple[str, str], ...]:
    held = {key.task_id: farm.holds[key].submitter for key in client.holds}
    return tuple(held.items())


# ---------------------------------------------------------------- what would let it start


def _hints(
    farm: Farm, rooms: Mapping[str, Room], misses: list[Miss], kind: TaskClass, together: int
) -> Iterator[str]:
    """Sentences, the nearest way to a start first. `together`: so many clients could work now."""
    if together:
        yield f"It would start now with n_clients {together}."
    elif kind.n_clients == 1:
        yield from _lowered(rooms, kind)
    for miss in misses:
        client = farm.clients[miss.client_id]
        for task_id, submitter in miss.held_by:
            if missing(farm.room(client, without=task_id), kind) is None:
                yield f"{client.id} fits once task {task_id[:8]} of {submitter} ends."
                break
    for miss in misses:
        client = farm.clients[miss.client_id]
        if not (miss.fits or client.serves) and missing(client.whole, kind) is None:
            yield f"{miss.client_id} would fit, but it is {_away(miss.reason)}."


def _away(reason: str) -> str:
    return "taken back by its owner" if reason.startswith("its owner") else reason.rstrip(".")


def _lowered(rooms: Mapping[str, Room], kind: TaskClass) -> Iterator[str]:
    """The one requirement that would have to be less, and how much less at least."""
    best: dict[str, tuple[int, str]] = {}
    for client_id, room in rooms.items():
        lack = missing(room, kind)
        if lack is None or lack.there <= best.get(lack.what, (0, ""))[0]:
            continue
        if _fits_with(room, kind, lack):
            best[lack.what] = (lack.there, client_id)
    for what, (there, client_id) in best.items():
        yield f"It would start now with min_{what} {there} on {client_id}."


def _fits_with(room: Room, kind: TaskClass, lack: Lack) -> bool:
    """Whether that is all that is missing."""
    lowered: Needs = replace(kind.needs, **{lack.what: lack.there})
    return missing(room, kind._replace(needs=lowered)) is None


def _summary(
    clients: list[Client],
    misses: list[Miss],
    task: Task,
    gangs: list[list[Room]],
    hints: tuple[str, ...],
) -> str:
    wanted = "a client" if task.n_clients == 1 else f"{task.n_clients} clients at once"
    if not clients:
        return "No client has ever connected; start an agent: aifarm-agent --server URL."
    if max(map(len, gangs), default=0) >= task.n_clients:
        return "Enough clients are free."
    if sum(map(len, gangs)) >= task.n_clients:
        return _unlike(gangs, task)
    if all(not client.connected for client in clients):
        return f"It waits for {wanted}; none is connected."
    if sum(not miss.never for miss in misses) < task.n_clients:
        large = "No client of this farm is" if task.n_clients == 1 else "Too few clients are"
        return f"{large} large enough for it."
    words = f"It waits for {wanted} that fits and is free."
    return f"{words} {hints[0]}" if hints else words


def _unlike(gangs: list[list[Room]], task: Task) -> str:
    """Enough clients are free, but they cannot work together."""
    found = []
    for rooms in gangs:
        names = ", ".join(room.client_id for room in rooms)
        build = rooms[0].environments[task.needs.environment] or "unknown versions"
        found.append(f"{names}: {'no agent' if rooms[0].fetches_only else build}")
    return (
        f"It waits for {task.n_clients} clients that match: the same versions of Python, torch"
        f" and CUDA ({'; '.join(found)})."
    )
