"""What the farm promises when clients come, go, ask, fail and come back: one case at a time."""

import pytest

from aifarm.core.client import NOTHING, Client, HeldRank, Outcome, Verdict
from aifarm.core.farm import DRAIN_AFTER, Farm
from aifarm.core.placement import Usage
from aifarm.core.room import Capacity
from aifarm.core.task import (
    QUARANTINE,
    Assign,
    Cause,
    Desired,
    DesiredSet,
    EndpointOpened,
    Needs,
    Note,
    Observed,
    Phase,
    RankEnded,
    RankKey,
    State,
    Steer,
    Task,
    Withdraw,
)
from aifarm.core.why import explain
from core_world import snapshot

ROOM = Capacity(cpu_cores=4, ram=4, gpus=(8, 16))


class Story:
    """A farm, told what happens in the words of its tests."""

    def __init__(self, *agents: str) -> None:
        self.farm = Farm()
        for name in agents:
            self.join(name)

    def _batch(self, outcome: Outcome) -> Outcome:
        outcome += self.farm.place(1.0)
        self.farm.commit()
        return outcome

    def submit(self, task_id: str = "t", **fields: object) -> Outcome:
        fields = {"submitter": "ada", "created_at": 0.0, **fields}
        task = Task(task_id, **fields)  # type: ignore[arg-type]
        return self._batch(self.farm.submit(task, Note("submitted", "Submitted.", task_id)))

    def join(
        self, name: str, *held: HeldRank, room: Capacity = ROOM
    ) -> tuple[Outcome, tuple[Verdict, ...]]:
        outcome, verdicts = self.farm.join(name, room, held, 1.0)
        return self._batch(outcome), verdicts

    def meet(self, name: str) -> Outcome:
        return self._batch(self.farm.meet(name, 1.0))

    def ask(self, name: str) -> Outcome:
        return self._batch(self.farm.ask(name, 1.0))

    def leave(self, name: str) -> Outcome:
        return self._batch(self.farm.leave(name, 1.0))

    def lapse(self, name: str) -> Outcome:
        return self._batch(self.farm.lapse(name, 1.0))

    def drain(self, name: str, reason: str | None) -> Outcome:
        return self._batch(self.farm.drain(name, reason))

    def resize(self, name: str, room: Capacity) -> Outcome:
        self.farm.resize(name, room)
        return self._batch(NOTHING)

    def why(self) -> list[tuple[str, str]]:
        misses = explain(self.farm, self.task()).misses
        return [(miss.client_id, miss.reason) for miss in misses]

    def wish(self, desired: Desired, task_id: str = "t") -> Outcome:
        event = DesiredSet(at=1.0, desired=desired, by="ada")
        return self._batch(self.farm.apply(task_id, event))

    def runs(self, key: RankKey, phase: Phase = Phase.RUNNING) -> Outcome:
        seen = Observed(at=1.0, attempt=key.attempt, rank=key.rank, phase=phase)
        return self._batch(self.farm.apply(key.task_id, seen))

    def meets_at(self, key: RankKey) -> Outcome:
        opened = EndpointOpened(at=1.0, attempt=key.attempt, address="10.0.0.1", port=29500)
        return self._batch(self.farm.apply(key.task_id, opened))

    def ends(self, key: RankKey, cause: Cause) -> Outcome:
        ended = RankEnded(at=1.0, attempt=key.attempt, rank=key.rank, cause=cause)
        return self._batch(self.farm.end_rank(key, ended))

    def task(self, task_id: str = "t") -> Task:
        return self.farm.tasks[task_id]

    def client(self, name: str) -> Client:
        return self.farm.clients[name]


FIRST = RankKey("t", 1, 0)


def assigned(outcome: Outcome) -> list[tuple[str, RankKey]]:
    return [(c.client_id, c.key) for c in outcome.commands if isinstance(c, Assign)]


# ---------------------------------------------------------------- nothing waits in vain


def test_a_task_that_fits_is_given_out_at_once() -> None:
    assert assigned(Story("a").submit()) == [("a", FIRST)]


def test_a_waiting_task_is_given_to_a_client_that_joins() -> None:
    story = Story()
    assert assigned(story.submit()) == []
    outcome, _ = story.join("a")
    assert assigned(outcome) == [("a", FIRST)]


def test_a_waiting_task_gets_what_another_has_freed() -> None:
    story = Story("a")
    story.submit(needs=Needs(cpu_cores=4))
    assert assigned(story.submit("next", needs=Needs(cpu_cores=4))) == []
    assert assigned(story.ends(FIRST, Cause.COMPLETED)) == [("a", RankKey("next", 1, 0))]


def test_a_waiting_task_is_given_to_a_client_that_grows_or_is_lent_again() -> None:
    story = Story("a")
    story.submit(needs=Needs(cpu_cores=8))
    assert assigned(story.resize("a", Capacity(8, 8))) == [("a", FIRST)]
    story = Story("a")
    story.drain("a", "repairs")
    assert assigned(story.submit()) == []
    assert assigned(story.drain("a", None)) == [("a", FIRST)]


def test_an_owner_who_takes_the_machine_back_gets_no_new_work_and_may_lend_it_again() -> None:
    story = Story("a")
    story.submit("before")
    reclaimed = story._batch(story.farm.lend("a", False))
    assert [note.kind for note in reclaimed.notes] == ["reclaimed"]
    assert assigned(story.submit()) == []
    assert story.task("before").state is State.ASSIGNED
    assert story.why() == [("a", "its owner has taken it back")]
    assert story._batch(story.farm.lend("a", False)) == NOTHING
    assert assigned(story._batch(story.farm.lend("a", True))) == [("a", FIRST)]


def test_what_an_owner_gives_back_goes_elsewhere() -> None:
    story = Story("a")
    story.submit()
    story.farm.lend("a", False)
    story.ends(FIRST, Cause.OWNER_RETURNED)
    assert story.task().state is State.PENDING
    outcome, _ = story.join("b")
    assert assigned(outcome) == [("b", RankKey("t", 2, 0))]


def test_a_resumed_task_is_given_out() -> None:
    story = Story("a")
    story.drain("a", "repairs")
    story.submit()
    story.wish(Desired.PAUSED)
    story.drain("a", None)
    assert story.task().state is State.PAUSED
    assert assigned(story.wish(Desired.RUNNING)) == [("a", FIRST)]


def test_a_task_out_of_contact_moves_when_its_lease_has_lapsed_and_a_client_is_free() -> None:
    story = Story("a")
    story.submit()
    story.runs(FIRST)
    story.leave("a")
    outcome, _ = story.join("b")
    assert assigned(outcome) == []
    assert assigned(story.lapse("a")) == [("b", RankKey("t", 2, 0))]


def test_what_a_batch_that_failed_had_given_out_is_given_out_by_the_next() -> None:
    story = Story("a")
    farm = story.farm
    before = snapshot(farm)
    farm.submit(Task("t", "ada", 0.0), Note("submitted", "Submitted.", "t"))
    assert assigned(farm.place(1.0))
    farm.rollback()
    assert snapshot(farm) == before
    assert assigned(story.submit()) == [("a", FIRST)]


def test_placing_again_is_free_while_nothing_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story("a")
    story.submit(needs=Needs(cpu_cores=3))
    story.submit("next", needs=Needs(cpu_cores=3))
    monkeypatch.setattr("aifarm.core.farm.plan", lambda *_: pytest.fail("planned again"))
    assert story.farm.place(1.0) == NOTHING


# ---------------------------------------------------------------- agents come back


def test_an_agent_that_knows_its_ranks_goes_on_from_what_is_durable() -> None:
    story = Story("a")
    story.submit()
    story.runs(FIRST)
    assert story.farm.accept(FIRST, 1, 7) == "new"
    story.leave("a")
    story.wish(Desired.PAUSED)
    assert story.task().state is State.UNREACHABLE
    _, verdicts = story.join("a", HeldRank(FIRST, Phase.RUNNING))
    assert verdicts == (Verdict(FIRST, goes_on=True, seq=7, desired=Desired.PAUSED),)
    assert (story.task().state, story.task().attempt) == (State.RUNNING, 1)


def test_an_assignment_lost_on_the_way_is_sent_again() -> None:
    story = Story("a")
    story.submit()
    story.leave("a")
    outcome, _ = story.join("a")
    assert assigned(outcome) == [("a", FIRST)]
    assert (story.task().state, story.task().losses) == (State.ASSIGNED, 0)


def test_an_agent_that_lost_its_worker_says_so_by_silence() -> None:
    story = Story("a", "b")
    story.submit(needs=Needs(gpu_memory=16))
    story.runs(FIRST)
    (holder,) = (name for name in "ab" if story.client(name).holds)
    outcome, verdicts = story.join(holder)
    assert verdicts == ()
    assert story.task().losses == 1
    assert [key for _, key in assigned(outcome)] == [RankKey("t", 2, 0)]


def test_an_agent_is_told_to_stop_an_attempt_that_was_placed_elsewhere() -> None:
    story = Story("a")
    story.submit()
    story.leave("a")
    story.lapse("a")
    story.join("b")
    assert FIRST in story.farm.holds, "its worker may still be there"
    outcome, verdicts = story.join("a", HeldRank(FIRST, Phase.RUNNING))
    assert verdicts == (Verdict(FIRST, goes_on=False, seq=0, desired=Desired.STOPPED),)
    assert not outcome.stale
    assert story.ends(FIRST, Cause.STOPPED).stale
    assert FIRST not in story.farm.holds
    assert story.task().ranks[0].client_id == "b"


def test_an_agent_that_forgot_a_stale_attempt_holds_nothing() -> None:
    story = Story("a")
    story.submit()
    story.leave("a")
    story.lapse("a")
    story.join("b")
    outcome, _ = story.join("a")
    assert story.client("a").holds == ()
    assert not outcome.stale
    assert story.task().attempt == 2


def test_an_agent_does_not_go_on_with_what_another_client_holds() -> None:
    story = Story("a")
    story.submit()
    story.runs(FIRST)
    story.farm.accept(FIRST, 1, 3)
    _, verdicts = story.join("b", HeldRank(FIRST, Phase.RUNNING))
    assert verdicts == (Verdict(FIRST, goes_on=False, seq=0, desired=Desired.STOPPED),)
    assert story.task().ranks[0].client_id == "a"


def test_a_result_that_waits_in_the_outbox_is_waited_for() -> None:
    story = Story("a", "b")
    story.submit()
    story.runs(FIRST)
    holder = story.task().ranks[0].client_id
    story.leave(holder)
    _, verdicts = story.join(holder, HeldRank(FIRST, None))
    assert verdicts[0].goes_on
    story.ends(FIRST, Cause.COMPLETED)
    assert story.farm.tasks == {}
    assert story.farm.holds == {}


# ---------------------------------------------------------------- gangs come back


def gang() -> Story:
    story = Story("a", "b")
    story.submit(n_clients=2)
    assert [rank.client_id for rank in story.task().ranks] == ["a", "b"]
    return story


SECOND = RankKey("t", 1, 1)


def test_a_rank_that_missed_where_its_gang_meets_is_told_again() -> None:
    story = gang()
    story.leave("b")
    story.meets_at(FIRST)
    outcome, _ = story.join("b", HeldRank(SECOND, Phase.ASSIGNED))
    assert outcome.commands == (Assign("b", SECOND),)
    assert story.task().endpoint is not None


def test_a_rank_that_missed_its_assignment_gets_it_again_though_its_gang_has_met() -> None:
    story = gang()
    story.leave("b")
    story.meets_at(FIRST)
    outcome, _ = story.join("b")
    assert outcome.commands == (Assign("b", SECOND),)
    assert story.task().attempt == 1


def test_rank_0_s_agent_takes_the_meeting_place_with_it() -> None:
    story = gang()
    story.meets_at(FIRST)
    story.leave("a")
    outcome, _ = story.join("a")
    assert Withdraw("b", SECOND) in outcome.commands
    assert (story.task().attempt, story.task().losses, story.task().endpoint) == (2, 1, None)


def test_a_gang_waits_until_all_its_clients_are_free() -> None:
    story = Story("a")
    assert assigned(story.submit(n_clients=2)) == []
    outcome, _ = story.join("b")
    assert [key for _, key in assigned(outcome)] == [FIRST, SECOND]


def test_ranks_withdrawn_hold_their_clients_until_their_workers_are_gone() -> None:
    story = gang()
    story.runs(FIRST)
    outcome = story.ends(FIRST, Cause.USER_ERROR)
    assert Withdraw("b", SECOND) in outcome.commands
    assert list(story.farm.holds) == [SECOND]
    assert story.ends(SECOND, Cause.STOPPED).stale
    assert story.farm.holds == {}


# ---------------------------------------------------------------- clients of the documented page


def page() -> Story:
    """A contract-only client that runs task t."""
    story = Story()
    story.meet("p")
    story.resize("p", ROOM)
    story.submit()
    story.ask("p")
    story.runs(FIRST)
    return story


def test_a_contract_only_client_gets_one_task_for_each_request() -> None:
    story = Story()
    story.meet("p")
    story.resize("p", ROOM)
    assert assigned(story.submit()) == []
    assert assigned(story.ask("p")) == [("p", FIRST)]
    assert assigned(story.submit("next")) == []


def test_a_request_stays_open_until_there_is_work() -> None:
    story = Story()
    story.meet("p")
    story.ask("p")
    assert assigned(story.submit()) == [("p", FIRST)]


def test_a_client_of_unknown_capacity_gets_only_the_least() -> None:
    story = Story()
    story.meet("p")
    story.ask("p")
    for needs in (Needs(cpu_cores=2), Needs(ram=2), Needs(gpu_memory=1)):
        assert assigned(story.submit(repr(needs), needs=needs)) == []


def test_a_new_request_gives_up_the_task_before() -> None:
    story = page()
    outcome = story.ask("p")
    assert assigned(outcome) == [("p", RankKey("t", 2, 0))]
    assert list(story.farm.holds) == [RankKey("t", 2, 0)]
    assert not outcome.stale


def test_controls_of_a_contract_only_client_count_as_obeyed_when_sent() -> None:
    story = page()
    assert story.wish(Desired.PAUSED).commands == (Steer("p", FIRST, Desired.PAUSED),)
    assert story.task().state is State.PAUSED
    story.wish(Desired.RUNNING)
    assert story.task().state is State.RUNNING
    story.wish(Desired.STOPPED)
    assert story.farm.tasks == {}
    assert story.farm.holds == {}


@pytest.mark.parametrize(
    ("before", "wished", "after"),
    [
        (Desired.RUNNING, Desired.PAUSED, State.PAUSED),
        (Desired.PAUSED, Desired.RUNNING, State.RUNNING),
        (Desired.RUNNING, Desired.STOPPED, None),
    ],
)
def test_a_control_missed_while_away_is_sent_on_return(
    before: Desired, wished: Desired, after: State | None
) -> None:
    story = page()
    story.wish(before)
    story.leave("p")
    assert story.wish(wished).commands == (Steer("p", FIRST, wished),)
    assert story.task().state is State.UNREACHABLE
    assert story.meet("p").commands == (Steer("p", FIRST, wished),)
    assert (story.task().state if after else story.farm.tasks) == (after or {})


def test_a_task_that_moved_on_while_its_client_was_away_is_withdrawn_on_return() -> None:
    """Also from one that is paused, and so would never speak of it again."""
    story = page()
    story.wish(Desired.PAUSED)
    story.leave("p")
    story.lapse("p")
    story.wish(Desired.RUNNING)
    story.join("a")
    assert story.task().attempt == 2
    assert story.meet("p").commands == (Withdraw("p", FIRST),)
    assert story.client("p").holds == ()


def test_no_control_is_sent_on_return_where_nothing_changed() -> None:
    story = page()
    story.leave("p")
    assert story.meet("p").commands == ()
    assert story.task().state is State.UNREACHABLE
    story.runs(FIRST)
    assert story.task().state is State.RUNNING


def test_a_lease_that_ends_just_when_its_client_is_back_changes_nothing() -> None:
    story = page()
    story.leave("p")
    story.meet("p")
    assert story.lapse("p") == NOTHING
    assert not story.task().waiting


def test_a_gang_is_never_made_of_agents_and_contract_only_clients() -> None:
    """Agents would wait for ever for the meeting place of one that knows no such thing."""
    story = Story("a")
    story.meet("p")
    story.ask("p")
    assert assigned(story.submit(n_clients=2)) == []
    story.meet("q")
    assert {name for name, _ in assigned(story.ask("q"))} == {"p", "q"}


def test_a_package_that_only_clients_can_fetch_goes_to_those_who_do() -> None:
    story = Story("a")
    assert assigned(story.submit(packaged=False)) == []
    story.meet("p")
    assert assigned(story.ask("p")) == [("p", FIRST)]


# ---------------------------------------------------------------- who is to blame (FAULTS 30, 31)


def test_an_agent_that_fails_different_tasks_in_a_row_is_drained() -> None:
    story = Story("a")
    for number in range(DRAIN_AFTER):
        assert story.client("a").drained is None
        story.submit(f"t{number}")
        story.ends(RankKey(f"t{number}", 1, 0), Cause.AGENT_LOST)
        story.wish(Desired.STOPPED, f"t{number}")
        story.ends(RankKey(f"t{number}", 2, 0), Cause.STOPPED)
    assert story.client("a").drained == "it could not run 3 attempts in a row."
    assert assigned(story.submit("next")) == []


def test_one_machine_that_can_run_nothing_does_not_cost_a_task_its_life() -> None:
    story = Story("bad", "good")
    story.submit()
    for attempt in range(1, DRAIN_AFTER + 1):
        (rank,) = story.task().ranks
        if rank.client_id == "good":
            break
        story.ends(RankKey("t", attempt, 0), Cause.AGENT_LOST)
    (rank,) = story.task().ranks
    assert rank.client_id == "good"
    assert story.task().losses < QUARANTINE


def test_a_task_that_completes_clears_its_agent() -> None:
    story = Story("a")
    for number in range(2 * DRAIN_AFTER):
        cause = Cause.COMPLETED if number % DRAIN_AFTER == 0 else Cause.AGENT_LOST
        story.submit(f"t{number}")
        story.ends(RankKey(f"t{number}", 1, 0), cause)
        if cause is Cause.AGENT_LOST:
            story.wish(Desired.STOPPED, f"t{number}")
            story.ends(RankKey(f"t{number}", 2, 0), Cause.STOPPED)
    assert story.client("a").drained is None


def test_errors_of_the_tasks_own_code_are_not_their_agent_s_fault() -> None:
    story = Story("a")
    for number in range(2 * DRAIN_AFTER):
        story.submit(f"t{number}")
        story.ends(RankKey(f"t{number}", 1, 0), Cause.USER_ERROR)
    assert story.client("a").drained is None
    assert story.client("a").failures == 0


def test_a_task_that_kills_its_agents_is_quarantined_and_they_are_not_blamed() -> None:
    story = Story("a")
    story.submit()
    for attempt in range(1, QUARANTINE + 1):
        assert story.task().attempt == attempt
        story.runs(RankKey("t", attempt, 0))
        outcome, _ = story.join("a")
    assert story.farm.tasks == {}
    assert "quarantined" in outcome.notes[-1].message
    assert story.client("a").failures == 0
    assert story.client("a").drained is None


def test_the_reason_somebody_gave_for_a_drain_is_kept() -> None:
    story = Story("a")
    for number in range(DRAIN_AFTER):
        story.submit(f"t{number}")
    story.drain("a", "the disk is being replaced")
    for number in range(DRAIN_AFTER):
        story.ends(RankKey(f"t{number}", 1, 0), Cause.AGENT_LOST)
    assert story.client("a").drained == "the disk is being replaced"


# ---------------------------------------------------------------- accounts


def test_a_machine_that_never_returns_does_not_cost_its_submitter_the_next_turn() -> None:
    story = Story("a")
    story.submit(needs=Needs(gpu_memory=16))
    assert story.farm._queue.usage == {"ada": Usage(1, 1)}
    story.leave("a")
    assert story.farm._queue.usage == {"ada": Usage(1, 1)}
    story.lapse("a")
    assert story.farm._queue.usage == {}
    story.join("b")
    assert story.farm._queue.usage == {"ada": Usage(1, 1)}
    story.ends(RankKey("t", 2, 0), Cause.COMPLETED)
    assert story.farm._queue.usage == {}


@pytest.mark.parametrize(
    ("seq", "seq_to", "answer", "after"),
    [(4, 4, "new", 4), (3, 3, "seen", 3), (5, 5, "gap", 3), (4, 9, "new", 9), (2, 6, "new", 6)],
)
def test_messages_count_up_without_gaps(seq: int, seq_to: int, answer: str, after: int) -> None:
    story = Story("a")
    story.submit()
    assert story.farm.accept(FIRST, 1, 3) == "new"
    assert story.farm.accept(FIRST, seq, seq_to) == answer
    assert story.farm.holds[FIRST].seq == after


@pytest.mark.parametrize("key", [RankKey("t", 1, 1), RankKey("t", 2, 0), RankKey("x", 1, 0)])
def test_the_end_of_a_rank_that_nobody_holds_changes_nothing(key: RankKey) -> None:
    story = Story("a")
    story.submit()
    before = snapshot(story.farm)
    assert story.ends(key, Cause.USER_ERROR).stale
    assert story.farm.lose_rank(key, "gone.", 1.0).stale
    assert story.farm.accept(key, 1, 1) == "seen"
    assert snapshot(story.farm) == before


def test_tasks_that_share_a_gpu_divide_its_memory() -> None:
    story = Story()
    story.join("a", room=Capacity(4, 4, gpus=(8,)))
    for number in range(3):
        story.submit(f"t{number}", needs=Needs(gpu_memory=4), share_gpu=True)
    assert [story.task(f"t{number}").state for number in range(3)] == [
        State.ASSIGNED,
        State.ASSIGNED,
        State.PENDING,
    ]
    assert story.farm.room(story.client("a")).shared == {0: 0}


def test_a_gpu_that_went_away_is_not_given_out() -> None:
    story = Story()
    story.join("a", room=Capacity(4, 4, gpus=(8,)))
    story.submit(needs=Needs(gpu_memory=0), share_gpu=True)
    assert story.task().ranks[0].gpus == (0,)
    story.resize("a", Capacity(4, 4))
    room = story.farm.room(story.client("a"))
    assert (room.gpus, room.shared) == ({}, {})


def test_what_is_committed_and_final_leaves_the_memory() -> None:
    story = Story("a")
    story.submit()
    ended = RankEnded(at=1.0, attempt=1, rank=0, cause=Cause.COMPLETED)
    story.farm.end_rank(FIRST, ended)
    assert story.task().final
    assert story.farm.commit() == {"t"}
    assert story.farm.tasks == {}
    assert story.wish(Desired.STOPPED).stale


def test_after_a_restart_nobody_is_connected_and_leases_decide() -> None:
    story = gang()
    story.runs(FIRST)
    farm = Farm()
    farm.load(
        story.farm.tasks.values(),
        [Client("a", drained="repairs"), Client("b", speaks="agent")],
        story.farm.holds.values(),
    )
    assert farm.clients["a"].holds == (FIRST,)
    assert not any(client.placeable for client in farm.clients.values())
    for name in "ab":
        farm.leave(name, 1.0)
    assert farm.tasks["t"].state is State.UNREACHABLE
    farm.lapse("b", 1.0)
    assert farm.tasks["t"].state is State.PENDING


# ---------------------------------------------------------------- why


def test_a_waiting_task_says_of_each_client_what_it_misses() -> None:
    story = Story("busy", "drained", "gone", "small")
    story.meet("silent")
    story.drain("drained", "repairs")
    story.leave("gone")
    story.resize("small", Capacity(2, 4))
    story.submit("other", needs=Needs(cpu_cores=3))
    story.submit(needs=Needs(cpu_cores=4))
    assert story.why() == [
        ("busy", "needs 4 CPU cores, 1 free"),
        ("drained", "drained: repairs"),
        ("gone", "not connected"),
        ("silent", "too small: needs 4 CPU cores, it has 1"),
        ("small", "too small: needs 4 CPU cores, it has 2"),
    ]


def test_a_waiting_gang_says_where_it_would_fit() -> None:
    story = Story("a")
    story.submit(n_clients=2)
    assert story.why() == [("a", "fits, but 2 clients are needed at once")]
