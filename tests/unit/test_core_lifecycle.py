"""A task's life: every state that can be reached, then the promises one by one."""

from collections import defaultdict
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from aifarm.core.lifecycle import IGNORED, TRANSITIONS, Step, step
from aifarm.core.task import (
    FINAL,
    QUARANTINE,
    Assign,
    Cause,
    Checkpointed,
    ContactBack,
    ContactLost,
    Desired,
    DesiredSet,
    EndpointOpened,
    Launch,
    LeaseLapsed,
    Needs,
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

EVENTS: tuple[type[TaskEvent], ...] = TaskEvent.__args__

# ---------------------------------------------------------------- every reachable state


def placed(task: Task, *, clients: str = "c") -> Placed:
    return Placed(at=1.0, ranks=tuple(Rank(f"{clients}{n}") for n in range(task.world_size)))


def every_event(task: Task) -> Iterator[TaskEvent]:
    """All that can happen to a task, its current attempt and each of its ranks."""
    at, attempt = 1.0, task.attempt
    yield placed(task)
    yield EndpointOpened(at=at, attempt=attempt, address="host", port=1)
    yield Checkpointed(at=at, attempt=attempt, step=1)
    for desired in Desired:
        yield DesiredSet(at=at, desired=desired, by="ada")
    for rank in range(task.world_size):
        for phase in (Phase.RUNNING, Phase.PAUSED):
            yield Observed(at=at, attempt=attempt, rank=rank, phase=phase)
        for cause in Cause:
            yield RankEnded(at=at, attempt=attempt, rank=rank, cause=cause)
        yield RankEnded(at=at, attempt=attempt, rank=rank, cause=Cause.AGENT_LOST, cut_off=True)
        yield RankLost(at=at, attempt=attempt, rank=rank, message="gone.")
        for event in (ContactLost, ContactBack, LeaseLapsed):
            yield event(at=at, attempt=attempt, rank=rank)


def gang_events(task: Task) -> Iterator[TaskEvent]:
    """Without what a single task shows as well: with all of it three ranks would take minutes."""
    ends = (Cause.COMPLETED, Cause.STOPPED, Cause.VACATED, Cause.USER_ERROR)
    for event in every_event(task):
        match event:
            case RankEnded(cut_off=False, cause=cause) if cause not in ends:
                pass
            case Checkpointed():
                pass
            case Observed(phase=Phase.PAUSED) | EndpointOpened() if task.world_size > 2:
                pass
            case DesiredSet(desired=Desired.RUNNING) if task.world_size > 2:
                pass
            case _:
                yield event


Seen = list[tuple[Task, TaskEvent, Step]]


def explore(start: Task, events: object) -> Seen:
    """Every step from every task that can be reached, but for words and the attempt's number."""

    def essence(task: Task) -> Task:
        return replace(task, attempt=min(task.attempt, 1), message=None)

    known, todo, seen = {start}, [start], []
    while todo:
        task = todo.pop()
        for event in events(task):  # type: ignore[operator]
            result = step(task, event)
            seen.append((task, event, result))
            after = essence(result.task)
            if after not in known:
                known.add(after)
                todo.append(after)
    return seen


@pytest.fixture(scope="module")
def seen() -> Seen:
    gang = Task("t", "ada", 0.0, losses=QUARANTINE - 2)
    return [
        *explore(Task("t", "ada", 0.0, retries=1), every_event),
        *explore(replace(gang, n_clients=2), gang_events),
        *explore(replace(gang, n_clients=3), gang_events),
    ]


def test_every_pair_has_a_rule_or_a_reason_and_none_has_both() -> None:
    pairs = {(state, event) for state in State for event in EVENTS}
    assert set(TRANSITIONS) | set(IGNORED) == pairs
    assert not set(TRANSITIONS) & set(IGNORED)


def test_rules_lead_exactly_where_the_table_says(seen: Seen) -> None:
    reached = defaultdict(set)
    for task, event, result in seen:
        if not result.stale:
            reached[task.state, type(event)].add(result.task.state)
    assert {pair: set(rule.leads_to) for pair, rule in TRANSITIONS.items()} == {
        pair: states for pair, states in reached.items() if pair in TRANSITIONS
    }


def test_ignored_events_change_nothing(seen: Seen) -> None:
    for task, event, result in seen:
        if (task.state, type(event)) in IGNORED:
            assert result.task is task
            assert not result.commands
            assert not result.notes


def test_final_is_final(seen: Seen) -> None:
    for task, _, result in seen:
        if task.state in FINAL:
            assert result.task is task
            assert not result.commands


def test_what_a_stale_attempt_says_changes_nothing(seen: Seen) -> None:
    tasks = {task for task, _, _ in seen}
    for task in tasks:
        for event in every_event(task):
            if isinstance(event, OfAttempt):
                for attempt in (task.attempt - 1, task.attempt + 1):
                    assert step(task, replace(event, attempt=attempt)) == Step(task, stale=True)


def test_a_rank_that_never_was_changes_nothing(seen: Seen) -> None:
    for task, event, _ in seen:
        if isinstance(event, OfRank):
            event = replace(event, rank=task.world_size)
            assert step(task, event) == Step(task, stale=True)


def test_tasks_are_always_consistent(seen: Seen) -> None:
    for task in {result.task for _, _, result in seen}:
        live = [rank for rank in task.ranks if not rank.ended]
        assert len(task.ranks) in (0, task.world_size)
        assert task.final == (task.cause is not None) == (task.ended_at is not None)
        if task.state is State.PENDING:
            assert not task.ranks
            assert task.desired is Desired.RUNNING
        elif not task.final:
            assert live or (task.state is State.PAUSED and task.desired is Desired.PAUSED)
            assert any(rank.lost for rank in live) == (task.state is State.UNREACHABLE)
        if task.state in (State.RUNNING, State.COMPLETED):
            assert task.started_at is not None or any(rank.ended for rank in task.ranks)
        if task.revocable:
            assert task.state is State.UNREACHABLE
        if not task.ranks:
            assert task.endpoint is None


def test_only_placement_begins_an_attempt_and_only_of_a_task_that_waits(seen: Seen) -> None:
    for task, event, result in seen:
        begun = result.task.attempt - task.attempt
        assert begun == int(isinstance(event, Placed) and task.waiting)


def test_an_attempt_that_ends_withdraws_every_rank_that_may_live(seen: Seen) -> None:
    for task, event, result in seen:
        over = result.task.attempt != task.attempt or not result.task.ranks or result.task.final
        if not task.ranks or task.final or not over:
            continue
        told = {command.key.rank for command in result.commands if isinstance(command, Withdraw)}
        live = {number for number, rank in enumerate(task.ranks) if not rank.ended}
        if isinstance(event, RankEnded | RankLost):
            live.discard(event.rank)
        assert told == live


def test_a_change_of_state_is_told(seen: Seen) -> None:
    """But for the quiet end of a rank: its gang's view passes to another."""
    for task, event, result in seen:
        if result.task.state is not task.state and not isinstance(event, RankEnded):
            assert result.notes, (task, event)
        for note in result.notes:
            assert note.message.endswith(".")
            assert note.message == note.message.strip()


def test_a_stop_is_never_taken_back(seen: Seen) -> None:
    for task, _, result in seen:
        if task.desired is Desired.STOPPED:
            assert result.task.desired is Desired.STOPPED
            assert result.task.state not in (State.PENDING,)


def test_a_lost_rank_waits_for_its_client_its_lease_or_somebody_who_resumes(seen: Seen) -> None:
    """Nobody is forgotten: once every lease of the lost has lapsed, the attempt is over, or it
    may be placed elsewhere as soon as the task is to run."""
    for task in {task for task, _, _ in seen}:
        if task.state is not State.UNREACHABLE:
            continue
        for number, rank in enumerate(task.ranks):
            if rank.lost:
                task = step(task, LeaseLapsed(at=1.0, attempt=task.attempt, rank=number)).task
        over = task.final or not task.ranks
        assert over or task.waiting or (task.revocable and task.desired is Desired.PAUSED)


# ---------------------------------------------------------------- one promise at a time


class Life:
    """Drives one task, and keeps what was said and ordered."""

    def __init__(self, **fields: object) -> None:
        self.task = Task("t", "ada", 0.0, **fields)  # type: ignore[arg-type]
        self.now = 0.0
        self.last = Step(self.task)

    def happens(self, event: TaskEvent) -> "Life":
        self.last = step(self.task, event)
        self.task = self.last.task
        return self

    def _of(self, kind: type[OfAttempt], **fields: object) -> "Life":
        self.now += 1.0
        fields.setdefault("attempt", self.task.attempt)
        return self.happens(kind(at=self.now, **fields))

    def place(self, clients: str = "c") -> "Life":
        return self.happens(placed(self.task, clients=clients))

    def runs(self, *ranks: int) -> "Life":
        for rank in ranks or range(self.task.world_size):
            self._of(Observed, rank=rank, phase=Phase.RUNNING)
        return self

    def holds(self, rank: int = 0) -> "Life":
        return self._of(Observed, rank=rank, phase=Phase.PAUSED)

    def ends(self, cause: Cause, rank: int = 0, **fields: object) -> "Life":
        return self._of(RankEnded, rank=rank, cause=cause, **fields)

    def cut_off(self, rank: int) -> "Life":
        return self.ends(Cause.AGENT_LOST, rank, cut_off=True)

    def lost(self, rank: int = 0) -> "Life":
        return self._of(RankLost, rank=rank, message="c0 restarted, and the worker was gone.")

    def away(self, rank: int = 0) -> "Life":
        return self._of(ContactLost, rank=rank)

    def back(self, rank: int = 0) -> "Life":
        return self._of(ContactBack, rank=rank)

    def lapses(self, rank: int = 0) -> "Life":
        return self._of(LeaseLapsed, rank=rank)

    def checkpoint(self) -> "Life":
        return self._of(Checkpointed, step=10)

    def wish(self, desired: Desired, reason: str | None = None) -> "Life":
        return self.happens(DesiredSet(at=self.now, desired=desired, by="ada", reason=reason))

    @property
    def state(self) -> State:
        return self.task.state

    @property
    def story(self) -> str:
        return " ".join(note.message for note in self.last.notes)


def running(**fields: object) -> Life:
    return Life(**fields).place().runs()


def test_a_task_runs_to_its_end() -> None:
    life = Life()
    assert life.task.waiting
    life.place()
    assert (life.state, life.task.attempt) == (State.ASSIGNED, 1)
    assert life.last.commands == (Assign("c0", RankKey("t", 1, 0)),)
    life.runs()
    assert life.state is State.RUNNING
    life.ends(Cause.COMPLETED)
    assert (life.state, life.task.cause) == (State.COMPLETED, Cause.COMPLETED)
    assert life.task.started_at is not None
    assert life.task.ended_at is not None


@pytest.mark.parametrize("cause", [Cause.USER_ERROR, Cause.OUT_OF_MEMORY])
def test_an_error_of_the_task_itself_is_not_retried_unless_asked_for(cause: Cause) -> None:
    life = running().ends(cause, message="ZeroDivisionError: division by zero")
    assert (life.state, life.task.cause) == (State.FAILED, cause)
    assert life.task.message == "c0: ZeroDivisionError: division by zero."


@pytest.mark.parametrize("cause", [Cause.USER_ERROR, Cause.OUT_OF_MEMORY])
def test_retries_are_spent_one_by_one(cause: Cause) -> None:
    life = running(retries=2)
    for spent in (1, 2):
        life.ends(cause)
        assert (life.state, life.task.failures) == (State.PENDING, spent)
        life.place().runs()
    life.ends(cause)
    assert (life.state, life.task.attempt) == (State.FAILED, 3)


@pytest.mark.parametrize("cause", [Cause.PACKAGE_INVALID, Cause.TIMEOUT])
def test_what_would_fail_again_is_not_retried_at_all(cause: Cause) -> None:
    assert running(retries=3).ends(cause).state is State.FAILED


def test_a_lost_agent_is_always_retried_until_quarantine() -> None:
    life = Life()
    for attempt in range(1, QUARANTINE):
        life.place().runs().lost()
        assert (life.state, life.task.losses) == (State.PENDING, attempt)
    life.place().runs().lost()
    assert (life.state, life.task.cause) == (State.FAILED, Cause.AGENT_LOST)
    assert "quarantined, since 5 attempts in a row" in life.story


def test_a_checkpoint_starts_the_count_of_losses_anew() -> None:
    life = Life()
    for _ in range(3 * QUARANTINE):
        life.place().runs().checkpoint().lost()
        assert life.state is State.PENDING


def test_an_agent_that_always_comes_back_late_never_costs_the_task_its_life() -> None:
    life = running()
    for _ in range(3 * QUARANTINE):
        life.away().lapses()
        assert life.task.waiting
        life.back()
    assert (life.state, life.task.attempt, life.task.losses) == (State.RUNNING, 1, 0)


def test_each_attempt_taken_from_a_silent_client_counts_once() -> None:
    life = Life()
    for attempt in range(1, QUARANTINE):
        life.place(f"c{attempt}-").runs().away().lapses().lapses()
        assert life.task.losses == attempt - 1
    life.place("last").runs().away().lapses()
    assert life.state is State.FAILED
    assert "quarantined, since 5 attempts in a row" in life.story


def test_an_owner_s_return_is_free() -> None:
    life = Life()
    for _ in range(3 * QUARANTINE):
        life.place().runs().ends(Cause.OWNER_RETURNED)
        assert (life.state, life.task.losses, life.task.failures) == (State.PENDING, 0, 0)


def test_a_task_that_was_held_for_its_limit_stays_paused_and_holds_no_client() -> None:
    life = running().wish(Desired.PAUSED).holds().ends(Cause.VACATED)
    assert (life.state, life.task.ranks, life.task.waiting) == (State.PAUSED, (), False)
    assert life.story == "Held for its limit: it no longer holds c0. The task stays paused."
    life.wish(Desired.RUNNING)
    assert (life.state, life.task.waiting) == (State.PENDING, True)
    assert (life.place().task.attempt, life.task.losses, life.task.failures) == (2, 0, 0)


def test_a_resume_that_comes_too_late_makes_one_new_attempt() -> None:
    life = running().wish(Desired.PAUSED).holds().wish(Desired.RUNNING).ends(Cause.VACATED)
    assert (life.state, life.task.waiting) == (State.PENDING, True)
    assert life.place().task.attempt == 2


def test_a_stop_that_comes_while_it_is_vacated_is_a_stop() -> None:
    life = running().wish(Desired.PAUSED).holds().wish(Desired.STOPPED).ends(Cause.VACATED)
    assert (life.state, life.task.cause) == (State.STOPPED, Cause.STOPPED)


def test_a_client_that_stops_unasked_gives_the_task_back() -> None:
    life = running().ends(Cause.STOPPED)
    assert (life.state, life.task.losses, life.task.failures) == (State.PENDING, 0, 0)
    assert life.story == "c0 gave the task back. The task waits for a free client."


def test_a_paused_task_whose_attempt_is_lost_stays_paused() -> None:
    life = running().wish(Desired.PAUSED).holds().lost()
    assert (life.state, life.task.waiting) == (State.PAUSED, False)
    assert life.story.endswith("The task stays paused.")
    assert life.wish(Desired.RUNNING).task.waiting


# ---------------------------------------------------------------- contact


def test_a_lapsed_lease_makes_an_attempt_revocable_not_dead() -> None:
    life = running().away()
    assert not life.task.waiting
    life.lapses()
    assert (life.state, life.task.waiting, life.task.attempt) == (State.UNREACHABLE, True, 1)
    life.back()
    assert (life.state, life.task.waiting, life.task.attempt) == (State.RUNNING, False, 1)


def test_a_revocable_attempt_ends_when_another_client_takes_over() -> None:
    life = running().away().lapses().place("d")
    assert (life.state, life.task.attempt, life.task.losses) == (State.ASSIGNED, 2, 1)
    assert life.last.commands == (
        Withdraw("c0", RankKey("t", 1, 0)),
        Assign("d0", RankKey("t", 2, 0)),
    )
    assert life.story.startswith("Contact with c0 did not come back.")
    assert life.ends(Cause.COMPLETED, attempt=1).last.stale
    assert life.state is State.ASSIGNED


def test_a_client_heard_of_again_has_a_whole_lease_again() -> None:
    life = running().away().lapses().runs()
    assert (life.state, life.task.revocable) == (State.RUNNING, False)
    assert not life.away().task.waiting


def test_a_paused_task_out_of_contact_is_not_given_away() -> None:
    life = running().wish(Desired.PAUSED).away().lapses()
    assert not life.task.waiting
    assert life.wish(Desired.RUNNING).task.waiting


def test_a_result_counts_even_where_contact_was_not_yet_known_to_be_back() -> None:
    assert running().away().lapses().ends(Cause.COMPLETED).state is State.COMPLETED


def test_a_task_that_starts_held_has_a_start_once_it_runs() -> None:
    life = Life().place().wish(Desired.PAUSED).holds()
    assert life.task.started_at is None
    life.wish(Desired.RUNNING).runs()
    assert life.task.started_at is not None


# ---------------------------------------------------------------- races (FAULTS rows 24, 27, 28)


@pytest.mark.parametrize("desired", [Desired.PAUSED, Desired.STOPPED])
def test_a_control_that_races_completion_leaves_one_final_state(desired: Desired) -> None:
    first = running().ends(Cause.COMPLETED).wish(desired)
    assert first.state is State.COMPLETED
    assert not first.last.commands
    second = running().wish(desired).ends(Cause.COMPLETED).wish(Desired.RUNNING)
    assert (second.state, second.task.desired) == (State.COMPLETED, desired)


def test_a_stop_is_sent_and_final_once_obeyed() -> None:
    life = running().wish(Desired.STOPPED, "enough")
    assert life.last.commands == (Steer("c0", RankKey("t", 1, 0), Desired.STOPPED),)
    assert life.story == "Stop asked for by ada: enough"
    assert life.state is State.RUNNING
    assert life.ends(Cause.STOPPED).state is State.STOPPED


def test_a_stop_of_what_holds_no_client_is_final_at_once() -> None:
    assert Life().wish(Desired.STOPPED).state is State.STOPPED
    assert Life().wish(Desired.PAUSED).wish(Desired.STOPPED).state is State.STOPPED


def test_a_stop_while_disconnected_is_kept_and_applied_on_return() -> None:
    life = running().away().wish(Desired.STOPPED)
    assert (life.state, life.task.desired) == (State.UNREACHABLE, Desired.STOPPED)
    assert life.back().ends(Cause.STOPPED).state is State.STOPPED


def test_a_stop_while_disconnected_is_final_when_nobody_returns() -> None:
    assert running().away().wish(Desired.STOPPED).lapses().state is State.STOPPED
    assert running().away().lapses().wish(Desired.STOPPED).state is State.STOPPED


def test_what_fails_while_it_is_being_stopped_is_stopped_and_not_tried_again() -> None:
    life = running(retries=3).wish(Desired.STOPPED).ends(Cause.USER_ERROR)
    assert (life.state, life.task.cause) == (State.STOPPED, Cause.STOPPED)
    assert running().wish(Desired.STOPPED).lost().state is State.STOPPED


def test_a_pause_before_the_first_placement_keeps_the_task_out_of_the_queue() -> None:
    life = Life().wish(Desired.PAUSED)
    assert (life.state, life.task.waiting) == (State.PAUSED, False)
    assert life.place().task.attempt == 0
    assert life.wish(Desired.RUNNING).state is State.PENDING


def test_a_repeated_wish_is_silent() -> None:
    life = running().wish(Desired.PAUSED).wish(Desired.PAUSED)
    assert not life.last.commands
    assert not life.last.notes


# ---------------------------------------------------------------- gangs


def gang(size: int = 3) -> Life:
    return running(n_clients=size, needs=Needs(cpu_cores=2))


def test_a_gang_meets_where_rank_0_says() -> None:
    life = Life(n_clients=3).place()
    life.happens(EndpointOpened(at=0.0, attempt=1, address="10.0.0.1", port=29500))
    assert life.task.endpoint == ("10.0.0.1", 29500)
    assert life.last.commands == tuple(Launch(f"c{n}", RankKey("t", 1, n)) for n in range(3))


@pytest.mark.parametrize("state", ["assigned", "running", "paused", "unreachable"])
def test_a_gang_may_meet_in_any_state(state: str) -> None:
    life = Life(n_clients=2).place()
    {"running": life.runs, "paused": life.holds, "unreachable": life.away}.get(state, str)()
    assert life.state == state
    life.happens(EndpointOpened(at=0.0, attempt=1, address="h", port=1))
    assert (life.task.endpoint, life.state) == (("h", 1), state)


def test_each_attempt_of_a_gang_meets_anew() -> None:
    life = gang()
    life.happens(EndpointOpened(at=0.0, attempt=1, address="h", port=1))
    assert life.lost(1).place().task.endpoint is None


def test_a_gang_is_complete_only_when_every_rank_has_reported() -> None:
    life = gang()
    for rank in (1, 2):
        assert life.ends(Cause.COMPLETED, rank).state is State.RUNNING
    assert life.ends(Cause.COMPLETED, 0).state is State.COMPLETED


def test_a_gang_s_view_is_rank_0_s() -> None:
    life = Life(n_clients=3).place().runs(1, 2)
    assert life.state is State.ASSIGNED
    assert life.runs(0).state is State.RUNNING
    assert life.holds(1).state is State.RUNNING
    assert life.holds(0).state is State.PAUSED


def test_a_gang_runs_until_its_last_rank_has_ended() -> None:
    """Also where rank 0 was quick and another's first word is still on its way."""
    life = Life(n_clients=2).place().runs(0).ends(Cause.COMPLETED, 0)
    assert life.state is State.RUNNING
    assert life.runs(1).ends(Cause.COMPLETED, 1).state is State.COMPLETED


def test_one_rank_lost_ends_the_attempt_on_all() -> None:
    life = gang().lost(1)
    assert (life.state, life.task.losses) == (State.PENDING, 1)
    assert [command.key.rank for command in life.last.commands] == [0, 2]
    assert all(isinstance(command, Withdraw) for command in life.last.commands)


def test_the_loss_of_a_rank_that_had_ended_is_no_loss() -> None:
    assert gang().ends(Cause.COMPLETED, 1).lost(1).state is State.RUNNING


def test_a_rank_cut_off_waits_for_the_peer_that_knows_the_reason() -> None:
    life = gang().cut_off(1).cut_off(2)
    assert (life.state, life.task.losses) == (State.RUNNING, 0)
    life.ends(Cause.USER_ERROR, 0, message="NaN in the loss")
    assert (life.state, life.task.cause) == (State.FAILED, Cause.USER_ERROR)
    assert life.task.message == "rank 0: NaN in the loss."


def test_ranks_that_all_were_cut_off_try_again() -> None:
    life = gang().cut_off(0).cut_off(1).cut_off(2)
    assert (life.state, life.task.losses) == (State.PENDING, 1)
    assert life.story.startswith("The ranks lost contact with each other.")


def test_a_rank_cut_off_from_one_that_is_away_names_it() -> None:
    for life in (gang(2).away(0).cut_off(1), gang(2).cut_off(1).away(0)):
        assert (life.state, life.task.losses) == (State.PENDING, 1)
        assert "Lost c0." in life.story


def test_completion_of_the_others_does_not_hide_a_rank_cut_off() -> None:
    life = gang(2).cut_off(1).ends(Cause.COMPLETED, 0)
    assert (life.state, life.task.cause) == (State.PENDING, None)


def test_a_gang_is_out_of_contact_while_one_rank_is() -> None:
    life = gang().away(2)
    assert life.state is State.UNREACHABLE
    assert life.away(1).back(2).state is State.UNREACHABLE
    assert life.back(1).state is State.RUNNING


def test_a_gang_cannot_go_on_without_one_of_its_ranks() -> None:
    life = gang().away(2).lapses(2)
    assert (life.state, life.task.losses) == (State.PENDING, 1)
    assert [command.key.rank for command in life.last.commands] == [0, 1, 2]


def test_a_gang_is_stopped_when_every_rank_is() -> None:
    life = gang().wish(Desired.STOPPED)
    assert len(life.last.commands) == 3
    life.ends(Cause.STOPPED, 0).ends(Cause.COMPLETED, 1)
    assert life.state is State.RUNNING
    assert life.ends(Cause.STOPPED, 2).state is State.STOPPED


def test_a_gang_is_vacated_when_every_rank_has_let_go() -> None:
    """Nobody is withdrawn before: rank 0 still stores the checkpoint when the others are gone."""
    life = gang().wish(Desired.PAUSED).holds(0).holds(1).holds(2)
    assert life.ends(Cause.VACATED, 1).last.commands == ()
    assert life.ends(Cause.VACATED, 2).checkpoint().state is State.PAUSED
    assert life.task.ranks
    assert life.ends(Cause.VACATED, 0).last.commands == ()
    assert (life.state, life.task.ranks) == (State.PAUSED, ())


def test_a_rank_that_is_lost_while_its_gang_is_vacated_costs_no_more_than_ever() -> None:
    life = gang(2).wish(Desired.PAUSED).holds(0).holds(1).ends(Cause.VACATED, 0).lost(1)
    assert (life.state, life.task.ranks, life.task.losses) == (State.PAUSED, (), 1)
