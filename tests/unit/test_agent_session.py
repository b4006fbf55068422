"""What the session answers to single messages and reports."""

import pytest

from aifarm.wire import agent as wire
from aifarm.wire.codec import encode
from aifarm.wire.types import Requirements
from aifarm_agent import events
from aifarm_agent.batches import output_messages
from aifarm_agent.events import Checkpoint, Identity, Mark, RankKey, Restored
from aifarm_agent.outbox import Outbox
from aifarm_agent.rank import HOLD_LIMIT
from aifarm_agent.session import WITHOUT_RESERVE, Session

KEY = RankKey("t1", 1, 0)
SHA = "0" * 64
CHECKPOINT = Checkpoint("/run/step.pt", 3, 9, SHA, best=True)
ENDPOINT = wire.Endpoint("10.0.0.1", 29_500)


def assignment(key=KEY, config=None, **farm):
    package = wire.PackageRef("model", "1", SHA, 1)
    fields = {"attempt": key.attempt, "rank": key.rank, "world_size": 1, "package": package} | farm
    task = wire.AssignedTask(
        id=key.task_id,
        type="training",
        config=config or {},
        requirements=Requirements(),
        farm=wire.FarmAssignment(**fields),
    )
    return wire.TaskAssignment(data=task)


class Agent:
    """A session with its outbox; what it wants done is kept in `effects` until taken."""

    def __init__(self, outbox=None, offline_limit=float("inf"), **resources):
        self.outbox = outbox or Outbox(":memory:")
        self.resources = wire.Resources(**resources)
        self.session = Session(
            Identity("ws1", "machine", "boot", "host", "1", {"room": "7"}),
            self.outbox,
            lambda: self.resources,
            offline_limit=offline_limit,
        )
        self.now = 100.0
        self.effects = []

    def connect(self, *verdicts, heartbeat=10):
        self.effects += self.session.connected(self.now)
        self.receive(wire.Welcome(lease=60, heartbeat=heartbeat, tasks=verdicts))
        return self.take()

    def receive(self, message):
        self.effects += self.session.received(message, self.now)
        return self

    def report(self, *reports, key=KEY, mark=None):
        for report in reports:
            self.effects += self.session.reported(key, report, self.now, mark)
        return self

    def wait(self, seconds):
        self.now += seconds
        self.effects += self.session.tick(self.now)
        return self

    def take(self, kind=None):
        """The effects since the last call; those of `kind`, if given."""
        taken, self.effects = self.effects, []
        return [effect for effect in taken if kind is None or isinstance(effect, kind)]

    def said(self):
        return [effect.message for effect in self.take(events.Send)]

    def ack(self, seq, key=KEY):
        return self.receive(wire.Ack(task_id=key[0], attempt=key[1], rank=key[2], seq=seq))

    def run(self, key=KEY, **farm):
        """Up to a running worker."""
        self.receive(assignment(key, **farm)).report(events.Prepared(), events.Started(), key=key)
        self.take()
        return self


@pytest.fixture
def agent():
    agent = Agent()
    agent.connect()
    return agent


def test_hello_says_who_and_names_every_rank_that_is_still_known():
    outbox = Outbox(":memory:")
    before = Agent(outbox)
    before.connect()
    for task, end in (("ends", events.Finished()), ("runs", None)):
        key = RankKey(task, 1, 0)
        before.run(key)
        if end:
            before.report(end, key=key)
    after = Agent(outbox)
    after.session.restored([Restored(RankKey("runs", 1, 0), True)])
    (send,) = after.session.connected(0.0)
    hello = send.message
    assert (hello.client_id, hello.machine_id, hello.boot_id) == ("ws1", "machine", "boot")
    assert hello.labels == {"room": "7"}
    assert {(held.task_id, held.state, held.last_seq) for held in hello.tasks} == {
        ("ends", "ended", 2),
        ("runs", "running", 1),
    }


def test_a_rank_goes_from_assignment_to_acknowledged_result(agent):
    (prepare,) = agent.receive(assignment()).take()
    assert isinstance(prepare, events.Prepare)
    (launch,) = agent.report(events.Prepared()).take()
    assert launch == events.Launch(KEY, None, "running")
    (state,) = agent.report(events.Started({"torch": "2"})).said()
    assert (state.seq, state.state, state.provenance) == (1, "running", {"torch": "2"})
    (result,) = agent.report(events.Finished({"final_loss": 0.1})).said()
    assert (result.seq, result.status, result.metrics) == (2, "completed", {"final_loss": 0.1})
    assert agent.ack(1).take() == []
    assert agent.ack(2).take() == [events.Forget(KEY)]
    assert agent.session.ranks == {}


def test_heartbeats_come_at_the_servers_interval_and_carry_the_load():
    gpu = wire.Gpu(0, "GPU", wire.Memory(100, 1), utilization=80.0)
    agent = Agent(cpu=wire.Cpu(8, 45.0), ram=wire.Memory(1000, 250), gpu=(gpu,))
    agent.connect(heartbeat=3)
    assert agent.wait(2.9).said() == []
    (beat,) = agent.wait(0.1).said()
    info = beat.system_info
    assert (info.cpu_usage, info.ram_usage, info.gpu_usage) == (45.0, 25.0, 80.0)
    assert agent.session.due() == agent.now + 3


def test_nothing_is_sent_before_the_server_answered_hello(agent):
    agent.run()
    agent.session.disconnected(agent.now)
    agent.report(events.Paused(1))
    agent.session.connected(agent.now)
    assert agent.wait(1).said() == []
    agent.receive(
        wire.Welcome(
            lease=60, heartbeat=10, tasks=(wire.Verdict(*KEY, verdict="continue", ack_seq=1),)
        )
    )
    assert [message.seq for message in agent.said()] == [2]


def test_a_silent_server_is_left_after_a_while():
    agent = Agent()
    agent.session.connected(agent.now)
    (effect,) = agent.wait(11).take()
    assert isinstance(effect, events.Disconnect)
    assert agent.session.due() == float("inf")


def test_points_of_a_short_while_travel_in_one_message_with_the_latest_values(agent):
    agent.run()
    agent.report(
        events.Points(10.0, [(1, 0.5, {"loss": 3.0, "accuracy": 0.1})]),
        events.Points(20.0, [(2, 0.6, {"loss": 2.0})]),
    )
    assert agent.said() == []
    (progress,) = agent.wait(0.1).said()
    assert progress.progress == 20.0
    assert progress.metrics == {"loss": 2.0, "accuracy": 0.1}
    assert [step for step, _, _ in progress.points] == [1, 2]


def test_an_end_does_not_overtake_what_was_gathered(agent):
    agent.run()
    agent.report(
        events.Points(10.0, [(1, 0.5, {"loss": 3.0})]),
        events.LogLines(["last words"]),
        events.Failed("user_error", "It failed."),
    )
    progress, log, result = agent.said()
    assert progress.points
    assert log.lines == ["last words"]
    assert (result.status, result.cause, result.message) == ("failed", "user_error", "It failed.")


def test_a_result_waits_for_the_checkpoints_that_it_implies(agent):
    agent.run()
    agent.report(events.CheckpointWritten(CHECKPOINT))
    assert agent.take() == [events.Upload(KEY, CHECKPOINT)]
    assert agent.report(events.Finished()).said() == []
    checkpoint, result = agent.report(events.CheckpointStored("u1", CHECKPOINT)).said()
    assert (checkpoint.upload_id, checkpoint.step, checkpoint.sha256) == ("u1", 3, SHA)
    assert checkpoint.best
    assert (result.status, result.checkpoint_path) == ("completed", "/run/step.pt")


def test_uploads_go_on_after_a_restart():
    outbox = Outbox(":memory:")
    before = Agent(outbox)
    before.connect()
    before.run().report(events.CheckpointWritten(CHECKPOINT), events.Finished())
    after = Agent(outbox)
    after.session.restored([])
    assert events.Upload(KEY, CHECKPOINT) in after.connect(
        wire.Verdict(*KEY, verdict="continue", ack_seq=1)
    )
    after.report(events.CheckpointStored("u1", CHECKPOINT))
    assert [type(message).__name__ for message in after.said()] == ["TaskCheckpoint", "TaskResult"]


KEEPS = wire.Program(outputs=["out/**"])
FILE = wire.OutputFile("out/a", 1, SHA, "u1")


def collected(*files, gone=(), final=False, said=()):
    return events.OutputsCollected(list(files), list(gone), final, list(said))


def test_outputs_are_collected_with_checkpoints_and_when_it_is_time(agent):
    agent.run(program=KEEPS)
    agent.report(events.CheckpointWritten(CHECKPOINT))
    assert agent.take() == [events.Upload(KEY, CHECKPOINT), events.Collect(KEY, False)]
    assert agent.report(events.OutputsDue()).take() == []  # one at a time
    (told,) = agent.report(collected(FILE, gone=["out/b"])).said()
    assert (told.files, told.removed, told.final) == ([FILE], ["out/b"], False)
    assert agent.report(events.OutputsDue()).take() == [events.Collect(KEY, False)]
    assert agent.report(collected()).said() == []


@pytest.mark.parametrize("end", [events.Finished(), events.Died(signal=9), events.Stopped(5)])
def test_a_result_waits_for_the_outputs_that_the_end_left(agent, end):
    agent.run(program=KEEPS)
    assert agent.report(end).take() == [events.Collect(KEY, True)]
    line, outputs, result = agent.report(
        collected(FILE, final=True, said=["out/b is not kept."])
    ).said()
    assert line.lines == ["[aifarm] out/b is not kept."]
    assert outputs.final
    assert isinstance(result, wire.TaskResult)


def test_an_end_during_a_collection_is_followed_by_the_last_one(agent):
    agent.run(program=KEEPS)
    assert agent.report(events.OutputsDue()).take() == [events.Collect(KEY, False)]
    assert agent.report(events.Finished()).take() == []
    assert events.Collect(KEY, True) in agent.report(collected(FILE)).take()
    (result,) = agent.report(collected(final=True)).said()
    assert result.status == "completed"


def test_what_a_task_keeps_is_collected_after_a_restart():
    outbox = Outbox(":memory:")
    before = Agent(outbox)
    before.connect()
    before.run(program=KEEPS).report(events.Finished())
    after = Agent(outbox)
    after.session.restored([Restored(KEY, True)])
    verdict = wire.Verdict(*KEY, verdict="continue", ack_seq=1)
    assert events.Collect(KEY, True) in after.connect(verdict)
    (result,) = after.report(collected(final=True)).said()
    assert result.status == "completed"


def test_nothing_is_collected_of_a_withdrawn_rank_nor_of_one_that_never_ran(agent):
    agent.run(program=KEEPS).report(events.OutputsDue()).take()
    agent.receive(wire.Withdraw(task_id="t1", attempt=1, rank=0)).take()
    assert agent.report(collected(FILE)).said() == []
    (result,) = agent.report(events.Died(signal=9)).said()
    assert result.cause == "withdrawn"
    other = RankKey("t2", 1, 0)
    agent.receive(assignment(other, program=KEEPS)).take()
    (result,) = agent.report(events.Failed("package_invalid", "No."), key=other).said()
    assert result.status == "failed"


def test_rank_0_alone_says_what_a_task_keeps(agent):
    other = RankKey("t1", 1, 1)
    agent.run(other, program=KEEPS)
    assert agent.report(events.OutputsDue(), key=other).take() == []


def test_final_weights_are_collected_of_every_task(agent):
    agent.run().report(events.WeightsWritten())
    assert agent.report(events.Finished()).take() == [events.Collect(KEY, True)]


def test_many_outputs_travel_in_messages_that_fit():
    long = "\N{MOUSE}" * 500
    files = [wire.OutputFile(f"{long}{number}", 1, SHA, "u" * 100) for number in range(600)]
    told = output_messages(KEY, collected(*files, final=True))
    assert [len(message.files) for message in told] == [250, 250, 100]
    assert [message.final for message in told] == [False, False, True]
    assert all(len(encode(message)) < wire.MAX_MESSAGE for message in told)


@pytest.mark.parametrize(
    ("end", "status", "cause"),
    [
        (events.Failed("package_invalid", "No such module."), "failed", "package_invalid"),
        (events.Failed("agent_lost", "No torch."), "failed", "agent_lost"),
        (events.Died(code=3), "failed", "user_error"),
        (events.Died(signal=9), "failed", "user_error"),
        (events.Died(signal=9, out_of_memory=True), "failed", "out_of_memory"),
        (events.Died(), "failed", "agent_lost"),
        (events.Stopped(5), "stopped", "owner_returned"),
    ],
)
def test_how_an_unwanted_end_is_told(agent, end, status, cause):
    agent.run()
    (result,) = agent.report(end).said()
    assert (result.status, result.cause) == (status, cause)
    assert result.message


def test_a_signal_is_named(agent):
    (result,) = agent.run().report(events.Died(signal=11)).said()
    assert result.message == "The worker was killed by signal 11 (SIGSEGV)."


@pytest.mark.parametrize(
    ("action", "desired"), [("pause", "paused"), ("resume", "running"), ("stop", "stopped")]
)
def test_controls_steer_a_running_worker(agent, action, desired):
    agent.run()
    agent.receive(wire.Control(action=action, task_id="t1"))
    assert agent.take() == [events.Steer(KEY, desired)]


def test_a_control_for_another_attempt_changes_nothing(agent):
    agent.run()
    assert agent.receive(wire.Control(action="stop", task_id="t1", attempt=2)).take() == []


def test_a_stop_while_preparing_ends_without_a_worker(agent):
    agent.receive(assignment()).take()
    assert agent.receive(wire.Control(action="stop", task_id="t1")).take() == [events.Kill(KEY)]
    assert agent.report(events.Prepared()).take() == []
    (result,) = agent.report(events.Died()).said()
    assert (result.status, result.cause) == ("stopped", "stopped")


def test_a_pause_while_preparing_starts_the_worker_held(agent):
    agent.receive(assignment()).receive(wire.Control(action="pause", task_id="t1")).take()
    assert agent.report(events.Prepared()).take() == [events.Launch(KEY, None, "paused")]


def test_the_observed_state_is_told_once_per_change(agent):
    agent.run()
    agent.report(events.Running(1), events.Paused(4), events.Paused(4), events.Running(4))
    assert [(message.state, message.step) for message in agent.said()] == [
        ("paused", 4),
        ("running", 4),
    ]


def test_a_withdrawn_rank_is_killed_and_keeps_nothing(agent):
    agent.run().report(events.CheckpointWritten(CHECKPOINT)).take()
    withdraw = wire.Withdraw(task_id="t1", attempt=1, rank=0)
    assert agent.receive(withdraw).take() == [events.Kill(KEY)]
    assert agent.receive(withdraw).take() == []
    (result,) = agent.report(events.Died(signal=9)).said()
    assert (result.status, result.cause) == ("stopped", "withdrawn")


def test_a_stale_verdict_kills_the_worker(agent):
    agent.run()
    agent.session.disconnected(agent.now)
    effects = agent.connect(wire.Verdict(*KEY, verdict="stop"))
    assert events.Kill(KEY) in effects


def test_a_withdrawal_of_a_rank_that_never_came_is_answered(agent):
    (result,) = agent.receive(wire.Withdraw(task_id="t9", attempt=1, rank=0)).said()
    assert (result.task_id, result.seq, result.cause) == ("t9", 1, "withdrawn")


def test_a_new_attempt_takes_the_old_one_away(agent):
    agent.run()
    kill, prepare = agent.receive(assignment(RankKey("t1", 2, 0))).take()
    assert kill == events.Kill(KEY)
    assert prepare.key == RankKey("t1", 2, 0)


def test_a_repeated_assignment_starts_nothing_anew(agent):
    agent.run()
    assert agent.receive(assignment()).take(events.Prepare) == []
    agent.report(events.Finished()).ack(2).take()
    assert agent.receive(assignment()).take() == []


def test_a_gang_starts_in_two_phases(agent):
    first, second = RankKey("t1", 1, 0), RankKey("t1", 1, 1)
    agent.receive(assignment(first, world_size=2)).receive(assignment(second, world_size=2))
    kinds = [type(effect).__name__ for effect in agent.take()]
    assert kinds == ["Prepare", "OpenEndpoint", "Prepare"]
    (opened,) = agent.report(events.EndpointOpened("10.0.0.1", 29_500), key=first).said()
    assert (opened.address, opened.port) == ("10.0.0.1", 29_500)
    assert agent.report(events.Prepared(), key=first).take() == []
    for key in (first, second):
        agent.receive(wire.GangStart(task_id="t1", attempt=1, rank=key.rank, endpoint=ENDPOINT))
    assert agent.take() == [events.Launch(first, ENDPOINT, "running")]
    agent.report(events.Prepared(), key=second)
    assert agent.take() == [events.Launch(second, ENDPOINT, "running")]


def test_an_endpoint_may_come_with_a_repeated_assignment(agent):
    agent.receive(assignment(world_size=2)).report(events.Prepared()).take()
    agent.receive(assignment(world_size=2, endpoint=ENDPOINT))
    assert agent.take() == [events.Launch(KEY, ENDPOINT, "running")]


def test_an_owner_gives_tasks_back_after_a_checkpoint(agent):
    agent.run()
    lends_no_more = events.Send(wire.Lending(lends=False))
    assert agent.session.give_back(agent.now) == [lends_no_more, events.Steer(KEY, "stopped")]
    (result,) = agent.report(events.Stopped(7)).said()
    assert (result.status, result.cause) == ("stopped", "owner_returned")
    other = RankKey("t2", 1, 0)
    (result,) = agent.receive(assignment(other)).said()
    assert (result.task_id, result.cause) == ("t2", "owner_returned")


def test_a_task_that_finishes_while_it_is_given_back_is_completed(agent):
    agent.run()
    agent.session.give_back(agent.now)
    (result,) = agent.report(events.Finished()).said()
    assert result.status == "completed"


def test_what_a_resume_found_is_told_once_whatever_the_state_was(agent):
    found = wire.Resumed(0.5, 0.5, True)
    (told,) = agent.run().report(events.Running(7, found), events.Running(7)).said()
    assert (told.state, told.step, told.resumed) == ("running", 7, found)
    (told,) = agent.report(events.Paused(7, wire.Resumed())).said()
    assert (told.state, told.resumed) == ("paused", wire.Resumed())


def held(agent, **config):
    agent.run(**config).receive(wire.Control(action="pause", task_id="t1", attempt=1))
    agent.report(events.Paused(7)).take()
    return agent


def test_a_task_that_is_held_for_its_limit_leaves_after_a_checkpoint(agent):
    held(agent)
    assert agent.session.due() == 0.0
    assert agent.wait(0).take(events.Steer) == []
    assert agent.wait(HOLD_LIMIT - 1).take(events.Steer) == []
    assert agent.wait(1).take(events.Steer) == [events.Steer(KEY, "stopped")]
    agent.receive(wire.Control(action="resume", task_id="t1", attempt=1))  # too late
    assert agent.take(events.Steer) == []
    agent.report(events.CheckpointWritten(CHECKPOINT), events.Stopped(7))
    assert agent.take(events.Send) == []
    *_, result = agent.report(events.CheckpointStored("u1", CHECKPOINT)).said()
    assert (result.status, result.cause) == ("stopped", "vacated")


def test_a_task_may_ask_to_be_held_for_less_but_not_for_more(agent):
    held(agent, config={"hold_seconds": 10})
    assert agent.wait(0).wait(10).take(events.Steer) == [events.Steer(KEY, "stopped")]
    other = Agent()
    other.connect()
    held(other, config={"hold_seconds": 10 * HOLD_LIMIT})
    assert other.wait(0).wait(HOLD_LIMIT).take(events.Steer) == [events.Steer(KEY, "stopped")]


def test_a_resume_begins_the_time_on_hold_anew(agent):
    held(agent).wait(0).wait(HOLD_LIMIT - 1)
    agent.receive(wire.Control(action="resume", task_id="t1", attempt=1))
    agent.report(events.Running(7)).receive(
        wire.Control(action="pause", task_id="t1", attempt=1)
    ).report(events.Paused(8)).wait(0).take()
    assert agent.wait(HOLD_LIMIT - 1).take(events.Steer) == []
    assert agent.wait(1).take(events.Steer) == [events.Steer(KEY, "stopped")]


def test_a_held_task_leaves_while_the_server_is_away(agent):
    held(agent).wait(0)
    agent.session.disconnected(agent.now)
    assert agent.session.due() == agent.now + HOLD_LIMIT
    assert agent.wait(HOLD_LIMIT).take(events.Steer) == [events.Steer(KEY, "stopped")]


def test_a_held_rank_whose_gang_leaves_says_the_same_as_the_others(agent):
    (result,) = held(agent).report(events.Stopped(7)).said()
    assert (result.status, result.cause) == ("stopped", "vacated")


def test_how_long_a_task_may_be_held_outlives_its_agent():
    outbox = Outbox(":memory:")
    before = Agent(outbox)
    before.connect()
    held(before, config={"hold_seconds": 10})
    after = Agent(outbox)
    after.session.restored([Restored(KEY, True)])
    assert after.wait(0).wait(10).take(events.Steer) == [events.Steer(KEY, "stopped")]


def test_a_lost_worker_is_told_on_return():
    outbox = Outbox(":memory:")
    before = Agent(outbox)
    before.connect()
    before.run()
    after = Agent(outbox)
    after.session.restored([])
    after.connect(wire.Verdict(*KEY, verdict="continue", ack_seq=1))
    outbox_messages = [item.message for item in outbox.pending(KEY, 1, 10, 1 << 20)]
    assert [(m.status, m.cause) for m in outbox_messages] == [("failed", "agent_lost")]


def fetching(outbox, **farm):
    """An agent on `outbox` is told to run a rank, and says that it fetches what that needs."""
    agent = Agent(outbox)
    agent.connect()
    agent.receive(assignment(**farm)).report(events.LogLines(["fetching"])).wait(1).take()
    return agent


def test_what_an_agent_was_fetching_is_fetched_by_the_next_one():
    outbox = Outbox(":memory:")
    fetching(outbox)
    after = Agent(outbox)
    after.session.restored([])
    (send,) = after.session.connected(after.now)
    assert [(held.state, held.last_seq) for held in send.message.tasks] == [("starting", 1)]
    after.connect(wire.Verdict(*KEY, verdict="continue", ack_seq=1))
    for assigned in (assignment(), assignment()):  # the second of them is late
        after.receive(assigned)
    (prepare,) = after.take()
    assert isinstance(prepare, events.Prepare)
    assert after.report(events.Prepared()).take() == [events.Launch(KEY, None, "running")]
    (state,) = after.report(events.Started()).said()
    assert (state.seq, state.state) == (2, "running")


@pytest.mark.parametrize("stands", [True, False])
def test_where_a_gang_was_to_meet_decides_whether_the_next_agent_can_go_on(stands):
    outbox = Outbox(":memory:")
    fetching(outbox, world_size=2).report(events.EndpointOpened("10.0.0.1", 29_500))
    after = Agent(outbox)
    after.session.restored([Restored(KEY, stands, begun=False)])
    after.connect(wire.Verdict(*KEY, verdict="continue", ack_seq=2))
    after.receive(assignment(world_size=2, endpoint=ENDPOINT))
    kinds = [type(effect) for effect in after.take() if not isinstance(effect, events.Send)]
    assert kinds == ([events.Prepare] if stands else [])
    results = [m.message for m in outbox.pending(KEY, 2, 10, 1 << 20)]
    assert [one.cause for one in results] == ([] if stands else ["agent_lost"])


def test_what_was_fetched_for_a_task_that_was_stopped_meanwhile_is_not_fetched_again():
    outbox = Outbox(":memory:")
    fetching(outbox)
    after = Agent(outbox)
    after.session.restored([])
    effects = after.connect(wire.Verdict(*KEY, verdict="continue", ack_seq=1, desired="stopped"))
    assert events.Kill(KEY) in effects
    assert after.receive(assignment(desired="stopped")).take(events.Prepare) == []
    (result,) = after.report(events.Died()).said()
    assert (result.status, result.cause) == ("stopped", "stopped")


def test_what_is_not_acknowledged_in_time_is_sent_again(agent):
    agent.run()
    assert agent.wait(9).said() == []
    assert [message.seq for message in agent.wait(1).said() if hasattr(message, "seq")] == [1]


def test_a_repeated_acknowledgement_tells_of_a_gap_and_is_answered_at_once(agent):
    agent.run().report(events.Paused(1), events.Running(1)).take()
    agent.ack(1)
    assert agent.said() == []
    agent.ack(1)
    assert [message.seq for message in agent.said()] == [2, 3]
    agent.ack(1)
    assert agent.said() == []  # not for each of the answers to one gap


def test_only_so_much_is_in_flight_at_once(agent):
    agent.run()
    for step in range(1200):
        agent.report(events.Paused(step), events.Running(step))
    sent = [message.seq for message in agent.said()]
    assert sent == list(range(2, 2 + len(sent)))
    assert len(sent) < 1000
    assert next(message.seq for message in agent.ack(sent[-1]).said()) == sent[-1] + 1


def test_bytes_in_flight_are_bounded_too(agent):
    agent.run()
    for step in range(30):
        agent.report(events.Points(1.0, [(step, 0.5, {"x" * 50_000: 1.0})])).wait(0.1)
    sent = sum(len(encode(message)) for message in agent.said())
    assert 2**19 < sent < 2**20


def test_a_log_is_left_on_disk_while_the_server_does_not_take_it(agent):
    agent.run()
    assert agent.session.wants_log(KEY)
    for number in range(64):
        agent.report(events.LogLines([f"line {number}"])).wait(0.1)
    assert not agent.session.wants_log(KEY)
    agent.ack(40)
    assert agent.session.wants_log(KEY)


def test_marks_are_stored_with_what_was_made_of_the_file(agent):
    agent.run()
    agent.report(events.Points(1.0, [(1, 0.5, {})]), mark=Mark("journal", 1, 70))
    assert "journal" not in agent.outbox.marks(KEY)
    agent.wait(0.1)
    assert agent.outbox.marks(KEY) == {"journal": Mark("journal", 1, 70)}


def test_thinned_points_are_told_in_the_log():
    agent = Agent(Outbox(":memory:", limit=20_000))
    agent.connect()
    agent.run()
    agent.session.disconnected(agent.now)
    for step in range(0, 2000, 10):
        points = [(step + i, 0.5, {"loss": 1.0}) for i in range(10)]
        agent.report(events.Points(1.0, points)).wait(0.1)
    said = [
        effect.message
        for effect in agent.connect(wire.Verdict(*KEY, verdict="continue", ack_seq=1))
        if isinstance(effect, events.Send)
    ]
    kept = [step for m in said if isinstance(m, wire.TaskProgress) for step, _, _ in m.points]
    assert kept[-1] == 1999
    (log,) = [m for m in said if isinstance(m, wire.TaskLog)]
    assert str(2000 - len(kept)) in log.lines[0]
    progress = [m for m in said if isinstance(m, wire.TaskProgress)]
    ends = [1] + [m.seq_to or m.seq for m in progress]
    assert [m.seq for m in [*progress, log]] == [seq + 1 for seq in ends]


# ---------------------------------------------------------------- a server that stays away


def test_without_a_limit_tasks_go_on_for_as_long_as_the_server_is_away(agent):
    agent.run()
    agent.effects += agent.session.disconnected(agent.now)
    assert agent.session.due() == float("inf")
    assert agent.wait(10**9).take() == []


@pytest.fixture
def limited():
    agent = Agent(offline_limit=30.0)
    agent.connect()
    return agent.run()


def test_beyond_the_limit_a_task_writes_a_checkpoint_ends_and_waits_in_the_outbox(limited):
    limited.effects += limited.session.disconnected(limited.now)
    assert limited.session.due() == limited.now + 30
    assert limited.wait(29).take() == []
    assert limited.wait(1).take() == [events.Steer(KEY, "stopped")]
    assert limited.wait(10).take() == []
    stored = events.CheckpointStored("u1", CHECKPOINT)
    limited.report(events.CheckpointWritten(CHECKPOINT), events.Stopped(), stored)
    limited.take()
    limited.connect(wire.Verdict(task_id="t1", attempt=1, rank=0, verdict="continue", ack_seq=1))
    checkpoint, result = (m.message for m in limited.outbox.pending(KEY, 1, 9, 10**6))
    assert checkpoint.upload_id == "u1"
    assert (result.status, result.cause) == ("stopped", "owner_returned")
    assert result.message == "The server was away for too long."


def test_a_server_that_is_back_in_time_finds_its_tasks(limited):
    limited.effects += limited.session.disconnected(limited.now)
    limited.wait(20)
    limited.connect(wire.Verdict(task_id="t1", attempt=1, rank=0, verdict="continue", ack_seq=1))
    assert limited.wait(20).take(events.Steer) == []
    limited.effects += limited.session.disconnected(limited.now)
    assert limited.wait(20).take(events.Steer) == []


def test_failed_tries_to_connect_do_not_begin_the_limit_anew(limited):
    limited.effects += limited.session.disconnected(limited.now)
    for _ in range(3):
        limited.wait(9)
        limited.effects += limited.session.connected(limited.now)
        limited.effects += limited.session.disconnected(limited.now)
    limited.take()
    assert limited.wait(3).take() == [events.Steer(KEY, "stopped")]


def test_without_a_server_and_without_room_for_the_outbox_no_task_goes_on(agent):
    agent.run()
    assert agent.session.reserve(False, agent.now) == []
    agent.effects += agent.session.disconnected(agent.now)
    assert agent.wait(WITHOUT_RESERVE - 1).take() == []
    agent.effects += agent.session.reserve(True, agent.now)
    assert agent.session.due() == float("inf")
    agent.effects += agent.session.reserve(False, agent.now)
    assert agent.wait(1).take() == [events.Steer(KEY, "stopped")]


def test_what_training_survives_is_told_to_the_story(agent):
    agent.run()
    (note,) = agent.report(events.Remark("checkpoint_failed", "No room.")).said()
    assert (note.kind, note.message, note.seq) == ("checkpoint_failed", "No room.", 2)
    costs = {"compute": 0.1, "gradients": 4.0, "bandwidth": 110.0, "latency": 0.001}
    (measured,) = agent.report(events.Measured(**costs)).said()
    assert {name: getattr(measured, name) for name in costs} == costs
