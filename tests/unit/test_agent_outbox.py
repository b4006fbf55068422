"""The outbox: numbering, thinning when it is full, and what survives."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aifarm.wire.agent import MAX_MESSAGE, TaskCheckpoint, TaskLog, TaskProgress, TaskResult
from aifarm.wire.codec import encode
from aifarm_agent.batches import log_messages, progress_messages
from aifarm_agent.events import Mark, RankKey
from aifarm_agent.outbox import Outbox, OutboxError
from aifarm_agent.thinning import thin

KEY = RankKey("t1", 1, 0)
OTHER = RankKey("t2", 1, 0)
WHO = KEY._asdict()
ALL = (10**6, 1 << 40)


def progress(*steps):
    points = [(step, 0.5, {"loss": float(step)}) for step in steps]
    return TaskProgress(**WHO, progress=50.0, metrics={"loss": float(steps[-1])}, points=points)


def messages(outbox, key=KEY, after=0):
    return [item.message for item in outbox.pending(key, after, *ALL)]


# ---------------------------------------------------------------- thinning


@given(
    st.lists(st.lists(st.integers(0, 999), max_size=8), min_size=1, max_size=8), st.integers(2, 5)
)
def test_a_thinned_message_covers_all_numbers_and_keeps_the_last_point(batches, every):
    told = [
        TaskProgress(
            **WHO,
            seq=seq,
            progress=float(seq),
            points=[(step, 0.5, {"loss": float(step)}) for step in steps],
        )
        for seq, steps in enumerate(batches, 1)
    ]
    thinned = thin(told, every)
    points = [point for message in told for point in message.points]
    assert (thinned.seq, thinned.seq_to) == (1, len(batches))
    assert thinned.progress == told[-1].progress
    assert thinned.points[:1] == points[:1]
    assert thinned.points[-1:] == points[-1:]
    assert set(map(str, thinned.points)) <= set(map(str, points))
    assert len(thinned.points) <= len(points) / every + 2


def test_a_full_outbox_thins_progress_evenly_and_drops_nothing_else():
    outbox = Outbox(":memory:", limit=50_000)
    checkpoint = TaskCheckpoint(**WHO, upload_id="u", step=1, size=1, sha256="0" * 64)
    for step in range(5000):
        outbox.append(KEY, progress(step))
        if step % 1000 == 500:
            outbox.append(KEY, checkpoint)
    outbox.append(KEY, TaskResult(**WHO, status="completed"))
    told = messages(outbox)
    assert sum(len(encode(message)) for message in told) < 60_000
    covered = [seq for m in told for seq in range(m.seq, (getattr(m, "seq_to", None) or m.seq) + 1)]
    assert covered == list(range(1, 5007))
    assert sum(isinstance(message, TaskCheckpoint) for message in told) == 5
    assert isinstance(told[-1], TaskResult)
    steps = [step for m in told if isinstance(m, TaskProgress) for step, _, _ in m.points]
    assert steps[0] == 0
    assert steps[-1] == 4999
    halves = [sum(step < 2500 for step in steps), sum(step >= 2500 for step in steps)]
    assert max(halves) < 5 * min(halves)
    assert outbox.take_dropped(KEY) == 5000 - len(steps)
    assert outbox.take_dropped(KEY) == 0


def test_what_may_have_arrived_is_never_thinned():
    outbox = Outbox(":memory:", limit=5_000)
    for step in range(20):
        outbox.append(KEY, progress(step))
    sent = messages(outbox)
    for step in range(20, 200):
        outbox.append(KEY, progress(step))
    assert messages(outbox)[:20] == sent


def test_what_was_sent_is_known_after_a_restart(tmp_path):
    outbox = Outbox(tmp_path / "outbox", limit=5_000)
    for step in range(20):
        outbox.append(KEY, progress(step))
    sent = messages(outbox)
    outbox.close()
    outbox = Outbox(tmp_path / "outbox", limit=5_000)
    for step in range(20, 200):
        outbox.append(KEY, progress(step))
    assert messages(outbox)[:20] == sent


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["progress", "log", "sent", "ack"]), max_size=150))
def test_numbers_stay_contiguous_whatever_happens(actions):
    outbox = Outbox(":memory:", limit=3_000)
    acked = 0
    for number, action in enumerate(actions):
        match action:
            case "progress":
                outbox.append(KEY, progress(number))
            case "log":
                outbox.append(KEY, TaskLog(**WHO, lines=[f"line {number}"]))
            case "sent":
                outbox.pending(KEY, acked, 3, 1 << 20)
            case "ack":
                acked = max(acked, *(p.seq_to for p in outbox.pending(KEY, acked, 2, 1 << 20)), 0)
                outbox.ack(KEY, acked)
    told = messages(outbox, after=acked)
    ends = [acked] + [getattr(m, "seq_to", None) or m.seq for m in told]
    assert [m.seq for m in told] == [end + 1 for end in ends[:-1]]
    assert ends[-1] == outbox.last_seq(KEY)


# ---------------------------------------------------------------- keeping


def test_ranks_are_numbered_apart():
    outbox = Outbox(":memory:")
    for key in (KEY, OTHER, KEY):
        outbox.append(key, TaskLog(**key._asdict(), lines=["x"]))
    assert [m.seq for m in messages(outbox)] == [1, 2]
    assert [m.seq for m in messages(outbox, OTHER)] == [1]


def test_a_window_is_read_at_a_time():
    outbox = Outbox(":memory:")
    for step in range(10):
        outbox.append(KEY, progress(step))
    size = outbox.pending(KEY, 0, 1, 1)[0].size
    assert [p.seq_to for p in outbox.pending(KEY, 2, 3, 1 << 20)] == [3, 4, 5]
    assert [p.seq_to for p in outbox.pending(KEY, 2, 10, 2 * size)] == [3, 4]
    assert [p.seq_to for p in outbox.pending(KEY, 2, 10, 1)] == [3]


def test_everything_is_found_again(tmp_path):
    outbox = Outbox(tmp_path / "outbox")
    with outbox.transaction():
        outbox.append(KEY, progress(1))
        outbox.mark(KEY, Mark("journal", 2, 70))
        outbox.save(KEY, b"memo")
    outbox._db.close()
    outbox = Outbox(tmp_path / "outbox")
    assert outbox.ranks() == [(KEY, b"memo")]
    assert outbox.marks(KEY) == {"journal": Mark("journal", 2, 70)}
    assert outbox.last_seq(KEY) == 1
    assert messages(outbox)[0].points == [(1, 0.5, {"loss": 1.0})]


def test_a_forgotten_rank_leaves_nothing(tmp_path):
    outbox = Outbox(tmp_path / "outbox")
    outbox.append(KEY, progress(1))
    outbox.mark(KEY, Mark("log", 1, 7))
    outbox.forget(KEY)
    outbox.close()
    outbox = Outbox(tmp_path / "outbox")
    assert outbox.ranks() == []
    for table in ("rank", "message", "mark"):
        assert outbox._db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_a_transaction_that_failed_is_never_committed(tmp_path):
    outbox = Outbox(tmp_path / "outbox")
    outbox.append(KEY, progress(1))

    def fails_halfway():
        with outbox.transaction():
            outbox.append(KEY, progress(2))
            raise KeyError

    with pytest.raises(KeyError):
        fails_halfway()
    with pytest.raises(OutboxError):
        outbox.append(KEY, progress(3))
    outbox.close()
    assert [m.seq for m in messages(Outbox(tmp_path / "outbox"))] == [1]


def test_a_full_disk_is_one_sentence(tmp_path):
    outbox = Outbox(tmp_path / "outbox")
    outbox.append(KEY, progress(1))
    (pages,) = outbox._db.execute("PRAGMA page_count").fetchone()
    outbox._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(OutboxError, match="cannot be written: database or disk is full"):
        outbox.append(KEY, TaskLog(**WHO, lines=["x" * 100_000]))


def test_a_damaged_file_is_one_sentence(tmp_path):
    (tmp_path / "outbox").write_bytes(b"no database" * 1000)
    with pytest.raises(OutboxError, match="cannot be opened"):
        Outbox(tmp_path / "outbox")


# ---------------------------------------------------------------- cutting


def test_many_points_are_cut_into_messages_that_fit():
    points = [(step, 0.5, {"loss": 1.0, "x" * 100: 2.0}) for step in range(20_000)]
    cut, lost = progress_messages(KEY, 50.0, points)
    assert lost == 0
    assert [point for message in cut for point in message.points] == points
    assert max(len(encode(message)) for message in cut) <= MAX_MESSAGE // 4


def test_a_point_that_fits_nowhere_is_counted():
    points = [(1, 0.5, {"x": 1.0}), (2, 0.5, {"y" * 300_000: 1.0}), (3, 0.5, {"x": 2.0})]
    cut, lost = progress_messages(KEY, 50.0, points)
    assert lost == 1
    assert [step for message in cut for step, _, _ in message.points] == [1, 3]


@given(st.lists(st.text(max_size=30), max_size=50).map(lambda lines: lines * 20))
def test_log_lines_keep_their_order_in_messages_that_fit(lines):
    cut = list(log_messages(KEY, lines))
    assert [line for message in cut for line in message.lines] == lines
    assert all(0 < len(message.lines) <= 200 for message in cut)


def test_log_messages_fit_even_when_every_character_is_escaped():
    cut = list(log_messages(KEY, ["\x00" * 8192] * 200))
    assert max(len(encode(message)) for message in cut) < MAX_MESSAGE
