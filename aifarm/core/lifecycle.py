"""`step`: the only place where a task changes state.

`TRANSITIONS` names, for each state and kind of event, the rule that applies and the states it can
lead to; what is not there is in `IGNORED`, with the reason. The diagram in the docs is drawn from
this table, and a test proves that the two cover every pair.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from aifarm.core.task import (
    FINAL,
    QUARANTINE,
    Assign,
    Cause,
    Checkpointed,
    Command,
    ContactBack,
    ContactLost,
    Desired,
    DesiredSet,
    EndpointOpened,
    Launch,
    LeaseLapsed,
    Note,
    Observed,
    OfAttempt,
    OfRank,
    Phase,
    Placed,
    Rank,
    RankEnded,
    RankKey,
    RankLost,
    State,
    Steer,
    Task,
    TaskEvent,
    Withdraw,
)


class Step(Struct, frozen=True):
    """What an event made of a task. `stale`: it spoke for an attempt that is over."""

    task: Task
    commands: tuple[Command, ...] = ()
    notes: tuple[Note, ...] = ()
    stale: bool = False


class Rule(NamedTuple):
    apply: Callable[..., Step]
    leads_to: frozenset[State]


def step(task: Task, event: TaskEvent) -> Step:
    """Applies one event. Total: an event that has no meaning in this state changes nothing."""
    if isinstance(event, OfAttempt) and _stale(task, event):
        return Step(task, stale=True)
    rule = TRANSITIONS.get((task.state, type(event)))
    return rule.apply(task, event) if rule else Step(task)


# ---------------------------------------------------------------- helpers


def _stale(task: Task, event: OfAttempt) -> bool:
    """Whether it speaks for an attempt that is over, or for a rank that never was."""
    if event.attempt != task.attempt or not task.ranks or task.final:
        return True
    return isinstance(event, OfRank) and event.rank >= len(task.ranks)


def _note(task: Task, kind: str, message: str, client_id: str | None = None) -> Note:
    return Note(
        kind=kind,
        message=message,
        task_id=task.id,
        client_id=client_id,
        attempt=task.attempt or None,
    )


def _keys(task: Task) -> list[tuple[Rank, RankKey]]:
    """The ranks whose workers may still exist."""
    return [
        (rank, RankKey(task.id, task.attempt, number))
        for number, rank in enumerate(task.ranks)
        if not rank.ended
    ]


def _with_rank(task: Task, number: int, rank: Rank) -> Task:
    return replace(task, ranks=(*task.ranks[:number], rank, *task.ranks[number + 1 :]))


def _observed_state(task: Task) -> State:
    """The gang's view is rank 0's; once that has ended, the first rank's that has not."""
    alive = [rank for rank in task.ranks if not rank.ended]
    if any(rank.lost for rank in alive):
        return State.UNREACHABLE
    if alive[0].phase is Phase.ASSIGNED and task.ranks[0].ended:
        return State.RUNNING
    return State(alive[0].phase)


def _clients(task: Task) -> str:
    return ", ".join(dict.fromkeys(rank.client_id for rank in task.ranks))


def _finish(task: Task, state: State, cause: Cause, message: str | None, at: float) -> Step:
    words = {
        State.COMPLETED: "Completed.",
        State.STOPPED: "Stopped.",
        State.FAILED: f"Failed ({cause.value}).",
    }
    ended = replace(
        task,
        state=state,
        cause=cause,
        message=message,
        ranks=tuple(replace(rank, lost=False) for rank in task.ranks),
        revocable=False,
        ended_at=at,
        updated_at=at,
    )
    text = f"{words[state][:-1]}: {message}" if message else words[state]
    return Step(ended, notes=(_note(ended, state.value, text),))


def _requeue(task: Task, kind: str, message: str, at: float) -> Step:
    """The attempt is over, the task is not: it waits for its next one, or stays put if paused."""
    if task.desired is Desired.PAUSED:
        state, message = State.PAUSED, f"{message} The task stays paused."
    else:
        state, message = State.PENDING, f"{message} The task waits for a free client."
    waiting = replace(
        task, state=state, ranks=(), endpoint=None, revocable=False, message=message, updated_at=at
    )
    return Step(waiting, notes=(_note(task, kind, message),))


def _withdrawals(task: Task, but: int | None = None) -> tuple[Command, ...]:
    return tuple(Withdraw(rank.client_id, key) for rank, key in _keys(task) if key.rank != but)


def _end_attempt(task: Task, but: int | None, cause: Cause, message: str, at: float) -> Step:
    """One rank's end ends the attempt on all ranks; budgets decide what comes next."""
    commands = _withdrawals(task, but)
    if task.desired is Desired.STOPPED:
        outcome = _finish(task, State.STOPPED, Cause.STOPPED, message, at)
    elif cause is Cause.AGENT_LOST:
        lost = replace(task, losses=task.losses + 1)
        if lost.losses >= QUARANTINE:
            words = f"quarantined, since {lost.losses} attempts in a row lost their agents: "
            outcome = _finish(lost, State.FAILED, cause, words + message, at)
        else:
            outcome = _requeue(lost, "attempt_lost", message, at)
    elif cause in (Cause.USER_ERROR, Cause.OUT_OF_MEMORY) and task.failures < task.retries:
        failed = replace(task, failures=task.failures + 1)
        words = f"{message} This is retry {failed.failures} of {task.retries}."
        outcome = _requeue(failed, "attempt_failed", words, at)
    elif cause is Cause.OWNER_RETURNED:
        outcome = _requeue(task, "returned", message, at)
    elif cause is Cause.VACATED:
        outcome = _requeue(task, "vacated", message, at)
    else:
        outcome = _finish(task, State.FAILED, cause, message, at)
    return replace(outcome, commands=commands + outcome.commands)


# ---------------------------------------------------------------- rules


def _placed(task: Task, event: Placed) -> Step:
    """Attempt n+1 begins. Placing a revocable task is what takes attempt n away."""
    if not task.waiting:
        return Step(task)
    commands = _withdrawals(task)
    placed = replace(
        task,
        state=State.ASSIGNED,
        attempt=task.attempt + 1,
        ranks=event.ranks,
        endpoint=None,
        revocable=False,
        losses=task.losses + task.revocable,
        message=None,
        updated_at=event.at,
    )
    assigns = tuple(Assign(rank.client_id, key) for rank, key in _keys(placed))
    words = f"Assigned to {_clients(placed)} (attempt {placed.attempt})."
    if task.revocable:
        words = f"Contact with {_clients(task)} did not come back. {words}"
    first = event.ranks[0].client_id
    return Step(placed, commands + assigns, (_note(placed, "assigned", words, first),))


def _endpoint_opened(task: Task, event: EndpointOpened) -> Step:
    ready = replace(task, endpoint=(event.address, event.port), updated_at=event.at)
    return Step(ready, tuple(Launch(rank.client_id, key) for rank, key in _keys(ready)))


def _observed(task: Task, event: Observed) -> Step:
    rank = task.ranks[event.rank]
    if rank.ended or (rank.phase is event.phase and not rank.lost):
        return Step(task)
    seen = _with_rank(task, event.rank, replace(rank, phase=event.phase, lost=False))
    state = _observed_state(seen)
    starts = task.started_at is None and event.phase is Phase.RUNNING
    seen = replace(
        seen,
        state=state,
        revocable=False,
        started_at=event.at if starts else task.started_at,
        updated_at=event.at,
    )
    if state is task.state:
        return Step(seen)
    words = {State.RUNNING: "Running", State.PAUSED: "Paused", State.ASSIGNED: "Starting"}[state]
    return Step(seen, notes=(_note(seen, state.value, f"{words} on {_clients(seen)}."),))


def _rank_ended(task: Task, event: RankEnded) -> Step:
    rank = task.ranks[event.rank]
    if rank.ended:
        return Step(task)
    who = f"{rank.client_id}: " if task.world_size == 1 else f"rank {event.rank}: "
    if event.cut_off:
        return _cut_off(task, event)
    if event.cause not in (Cause.COMPLETED, Cause.STOPPED, Cause.VACATED):
        words = event.message or event.cause.value
        return _end_attempt(task, event.rank, event.cause, f"{who}{words.rstrip('.')}.", event.at)
    if event.cause is Cause.STOPPED and task.desired is not Desired.STOPPED:
        words = f"{rank.client_id} gave the task back."
        return _end_attempt(task, event.rank, Cause.OWNER_RETURNED, words, event.at)
    phase = Phase.COMPLETED if event.cause is Cause.COMPLETED else Phase.STOPPED
    ended = _with_rank(task, event.rank, replace(rank, phase=phase, lost=False))
    if not all(rank.ended for rank in ended.ranks):
        return Step(replace(ended, state=_observed_state(ended), updated_at=event.at))
    if all(rank.phase is Phase.COMPLETED for rank in ended.ranks):
        return _finish(ended, State.COMPLETED, Cause.COMPLETED, None, event.at)
    if task.desired is Desired.STOPPED:
        return _finish(ended, State.STOPPED, Cause.STOPPED, None, event.at)
    if any(rank.phase is Phase.CUT_OFF for rank in ended.ranks):
        words = "The ranks lost contact with each other."
        return _end_attempt(ended, event.rank, Cause.AGENT_LOST, words, event.at)
    words = event.message or f"Held for its limit: it no longer holds {_clients(task)}."
    return _end_attempt(ended, event.rank, Cause.VACATED, words, event.at)


def _cut_off(task: Task, event: RankEnded) -> Step:
    """A rank that lost its peers is a symptom: wait for the peer that knows the reason."""
    rank = task.ranks[event.rank]
    ended = _with_rank(task, event.rank, replace(rank, phase=Phase.CUT_OFF, lost=False))
    if any(not rank.ended and not rank.lost for rank in ended.ranks):
        return Step(replace(ended, state=_observed_state(ended), updated_at=event.at))
    missing = [rank.client_id for rank in ended.ranks if rank.lost]
    words = f"Lost {', '.join(missing)}." if missing else "The ranks lost contact with each other."
    return _end_attempt(ended, event.rank, Cause.AGENT_LOST, words, event.at)


def _rank_lost(task: Task, event: RankLost) -> Step:
    if task.ranks[event.rank].ended:
        return Step(task)
    return _end_attempt(task, event.rank, Cause.AGENT_LOST, event.message, event.at)


def _contact_lost(task: Task, event: ContactLost) -> Step:
    rank = task.ranks[event.rank]
    if rank.ended or rank.lost:
        return Step(task)
    lost = _with_rank(task, event.rank, replace(rank, lost=True))
    lost = replace(lost, state=State.UNREACHABLE, updated_at=event.at)
    if all(rank.ended or rank.lost for rank in lost.ranks) and any(
        rank.phase is Phase.CUT_OFF for rank in lost.ranks
    ):
        return _end_attempt(lost, None, Cause.AGENT_LOST, f"Lost {rank.client_id}.", event.at)
    words = f"Lost contact with {rank.client_id}; training may go on there."
    return Step(lost, notes=(_note(lost, "unreachable", words, rank.client_id),))


def _contact_back(task: Task, event: ContactBack) -> Step:
    rank = task.ranks[event.rank]
    if not rank.lost:
        return Step(task)
    back = _with_rank(task, event.rank, replace(rank, lost=False))
    state = _observed_state(back)
    back = replace(back, state=state, revocable=False, updated_at=event.at)
    words = f"{rank.client_id} is back; the same attempt goes on."
    return Step(back, notes=(_note(back, "contact_back", words, rank.client_id),))


def _lease_lapsed(task: Task, event: LeaseLapsed) -> Step:
    """One rank alone becomes revocable; a gang cannot go on without one of its ranks."""
    rank = task.ranks[event.rank]
    if not rank.lost or task.revocable:
        return Step(task)
    message = f"{rank.client_id} did not come back within its lease."
    last = task.losses + 1 >= QUARANTINE
    if task.desired is Desired.STOPPED or task.world_size > 1 or last:
        return _end_attempt(task, None, Cause.AGENT_LOST, message, event.at)
    revocable = replace(task, revocable=True, updated_at=event.at)
    words = f"{message} Another client may take over from the last checkpoint."
    return Step(revocable, notes=(_note(task, "lease_lapsed", words, rank.client_id),))


def _desired_set(task: Task, event: DesiredSet) -> Step:
    """A stop, once wished, is not taken back: the ranks may have obeyed already."""
    if event.desired is task.desired or task.desired is Desired.STOPPED:
        return Step(task)
    wished = replace(task, desired=event.desired, updated_at=event.at)
    verb = {Desired.RUNNING: "Resume", Desired.PAUSED: "Pause", Desired.STOPPED: "Stop"}
    words = f"{verb[event.desired]} asked for by {event.by}"
    note = _note(task, "control", f"{words}: {event.reason}" if event.reason else f"{words}.")
    if task.ranks:
        if event.desired is Desired.STOPPED and task.revocable:
            ended = _end_attempt(wished, None, Cause.STOPPED, "Its client is gone.", event.at)
            return replace(ended, notes=(note, *ended.notes))
        return Step(
            wished,
            tuple(Steer(rank.client_id, key, event.desired) for rank, key in _keys(wished)),
            (note,),
        )
    if event.desired is Desired.STOPPED:
        ended = _finish(wished, State.STOPPED, Cause.STOPPED, event.reason, event.at)
        return replace(ended, notes=(note, *ended.notes))
    state = State.PAUSED if event.desired is Desired.PAUSED else State.PENDING
    return Step(replace(wished, state=state, message=None), notes=(note,))


def _checkpointed(task: Task, event: Checkpointed) -> Step:
    return Step(replace(task, losses=0, updated_at=event.at))


# ---------------------------------------------------------------- the table

_P, _A, _R, _H, _U = (
    State.PENDING,
    State.ASSIGNED,
    State.RUNNING,
    State.PAUSED,
    State.UNREACHABLE,
)
_LIVE = frozenset({_A, _R, _H, _U})
_STARTED = frozenset({_R, _H})
_OVER = frozenset({State.PENDING, State.PAUSED, State.FAILED, State.STOPPED})
_ENDED = _OVER | {State.COMPLETED}

TRANSITIONS: Mapping[tuple[State, type[TaskEvent]], Rule] = {
    (_P, Placed): Rule(_placed, frozenset({_A})),
    (_U, Placed): Rule(_placed, frozenset({_A, _U})),
    (_P, DesiredSet): Rule(_desired_set, frozenset({_P, _H, State.STOPPED})),
    **{(state, EndpointOpened): Rule(_endpoint_opened, frozenset({state})) for state in _LIVE},
    (_U, LeaseLapsed): Rule(_lease_lapsed, frozenset({_U}) | _OVER),
    (_U, ContactBack): Rule(_contact_back, _LIVE),
    **{(state, DesiredSet): Rule(_desired_set, frozenset({state})) for state in (_A, _R)},
    (_H, DesiredSet): Rule(_desired_set, frozenset({_P, _H, State.STOPPED})),
    (_U, DesiredSet): Rule(_desired_set, frozenset({_U, State.STOPPED})),
    (_A, Observed): Rule(_observed, _STARTED | {_A}),
    (_R, Observed): Rule(_observed, _STARTED),
    (_H, Observed): Rule(_observed, _STARTED),
    (_U, Observed): Rule(_observed, _LIVE),
    (_A, RankEnded): Rule(_rank_ended, _STARTED | {_A} | _ENDED),
    (_R, RankEnded): Rule(_rank_ended, _STARTED | _ENDED),
    (_H, RankEnded): Rule(_rank_ended, _STARTED | _ENDED),
    (_U, RankEnded): Rule(_rank_ended, _LIVE | _ENDED),
    **{(state, RankLost): Rule(_rank_lost, _OVER | {state}) for state in _LIVE},
    **{(state, ContactLost): Rule(_contact_lost, _OVER | {_U, state}) for state in _LIVE},
    **{(state, Checkpointed): Rule(_checkpointed, frozenset({state})) for state in _LIVE},
}

_EVENTS: tuple[type[TaskEvent], ...] = TaskEvent.__args__

IGNORED: Mapping[tuple[State, type[TaskEvent]], str] = {
    **{(state, event): "final is final" for state in FINAL for event in _EVENTS},
    **{(state, Placed): "it holds its clients already" for state in (_A, _R)},
    (_H, Placed): "it is to be resumed first",
    **{
        (_P, event): "no rank of it exists"
        for event in _EVENTS
        if event not in (Placed, DesiredSet)
    },
    **{(state, LeaseLapsed): "contact is back" for state in (_A, _R, _H)},
    **{(state, ContactBack): "contact was not lost" for state in (_A, _R, _H)},
}
