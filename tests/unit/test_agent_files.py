"""Reading run folders: the journal and the log."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from aifarm.wire.agent import Resumed, TaskProgress
from aifarm.wire.codec import decode_client, encode
from aifarm_agent import events, journal
from aifarm_agent.events import Mark
from aifarm_agent.journal import Journal, parse
from aifarm_agent.logtail import LAST, LINE, LogTail, cut
from journal_lines import points_line

POINTS = points_line(1, 0.5, loss=0.1)


def line(**fields):
    return json.dumps(fields).encode() + b"\n"


def segment(folder, number, *lines):
    folder.mkdir(exist_ok=True)
    with open(folder / f"{number:08d}.jsonl", "ab") as file:
        file.write(b"".join(lines))


def reports(folder, mark=None):
    reader = Journal(folder, mark)
    found = []
    while new := reader.read():
        found += new
    return found


# ---------------------------------------------------------------- the journal


def test_every_kind_of_line_becomes_its_report():
    sha = "0" * 64
    assert parse(line(type="started", time=1, pid=2, provenance={"torch": "2"})) == events.Started(
        {"torch": "2"}
    )
    assert parse(line(**POINTS)) == events.Points(45.5, [(1, 0.5, {"loss": 0.1})], 0)
    assert parse(line(type="running", step=3)) == events.Running(3)
    found = {"loss": "nan", "expected": 0.5, "verified": False}
    assert parse(line(type="paused", step=3, resumed=found)) == events.Paused(
        3, Resumed(None, 0.5, False)
    )
    assert parse(line(type="paused", step=3)) == events.Paused(3)
    assert parse(
        line(type="checkpoint", path="/c.pt", step=1, epoch=1, size=9, sha256=sha, metrics={})
    ) == events.CheckpointWritten(events.Checkpoint("/c.pt", 1, 9, sha, 1))
    assert parse(line(type="finished", metrics={"final_loss": 1})) == events.Finished(
        {"final_loss": 1.0}
    )
    assert parse(line(type="stopped", step=4)) == events.Stopped(4)
    assert parse(
        line(type="failed", cause="user_error", message="No.", traceback="…")
    ) == events.Failed("user_error", "No.")


def test_what_is_no_number_travels_as_null():
    (report,) = [parse(line(**points_line(1, 0.5, a=math.nan, b=-math.inf)))]
    assert report.points == [(1, 0.5, {"a": None, "b": None})]


def test_progress_stays_within_its_bounds():
    assert parse(line(**POINTS | {"progress": 100.0000001})).progress == 100.0


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_fail(data):
    assert parse(data) is None or data


def test_a_line_that_the_server_would_refuse_is_left_out(tmp_path):
    bad = [
        line(**points_line(-1, 0.5, loss=0.1)),
        line(**points_line(1, math.nan, loss=0.1)),
        line(**POINTS | {"names": ["loss", "accuracy"]}),
        line(**POINTS | {"rows": "no base64"}),
        line(type="unheard_of"),
        b"\xff\xfe\n",
        b"\n",
    ]
    segment(tmp_path / "j", 1, *bad, line(**POINTS))
    ((report, mark),) = reports(tmp_path / "j")
    told = TaskProgress(
        task_id="t", attempt=1, rank=0, seq=1, progress=report.progress, points=report.points
    )
    assert decode_client(encode(told)) == told
    assert mark.offset == sum(map(len, bad)) + len(line(**POINTS))


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 5), st.data())
def test_reading_goes_on_from_any_mark(tmp_path_factory, steps, per_segment, data):
    folder = tmp_path_factory.mktemp("run") / "j"
    for index, step in enumerate(steps):
        segment(folder, 1 + index // per_segment, line(type="running", step=step))
    found = reports(folder)
    assert [report.step for report, _ in found] == steps
    position = data.draw(st.integers(0, len(found)))
    mark = found[position - 1][1] if position else None
    assert [report.step for report, _ in reports(folder, mark)] == steps[position:]


def test_half_a_line_waits_for_its_other_half(tmp_path):
    whole = line(type="running", step=7)
    reader = Journal(tmp_path / "j", None)
    assert reader.read() == []
    segment(tmp_path / "j", 1, whole[:9])
    assert reader.read() == []
    segment(tmp_path / "j", 1, whole[9:])
    ((report, mark),) = reader.read()
    assert report == events.Running(7)
    assert mark == Mark("journal", 1, len(whole))


def test_a_torn_line_at_the_end_of_a_segment_is_passed_over(tmp_path):
    segment(tmp_path / "j", 1, line(type="running", step=1), b'{"type":"runn')
    segment(tmp_path / "j", 2, line(type="running", step=2))
    assert [report.step for report, _ in reports(tmp_path / "j")] == [1, 2]


def test_lines_longer_than_a_window_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "WINDOW", 16)
    segment(tmp_path / "j", 1, line(**POINTS), line(type="running", step=2))
    assert [type(report) for report, _ in reports(tmp_path / "j")] == [
        events.Points,
        events.Running,
    ]


def test_only_segments_before_the_stored_mark_are_removed(tmp_path):
    folder = tmp_path / "j"
    for number in (1, 2, 3):
        segment(folder, number, line(type="running", step=number))
    reader = Journal(folder, None)
    marks = [reader.read()[0][1] for _ in range(3)]
    assert reader.discardable
    reader.discard(marks[1])
    assert sorted(path.name for path in folder.iterdir()) == ["00000002.jsonl", "00000003.jsonl"]
    reader.discard(marks[2])
    assert not reader.discardable


def test_a_provenance_too_large_for_a_message_loses_its_packages():
    packages = {f"package{n}": "1" * 100 for n in range(5000)}
    report = parse(line(type="started", provenance={"torch": "2", "packages": packages}))
    assert report == events.Started({"torch": "2"})


# ---------------------------------------------------------------- the log


@given(st.binary(max_size=300).map(lambda data: data * 100), st.booleans())
def test_cutting_loses_no_byte_and_caps_every_line(data, final):
    lines, taken = cut(data, final)
    assert taken <= len(data)
    assert taken == len(data) or not final
    assert b"\n" not in data[taken:]
    assert all(len(line) <= LINE for line in lines)
    assert len(lines) >= data[:taken].count(b"\n")


@given(st.text(st.characters(exclude_characters="\n\r", codec="utf-8"), min_size=1))
def test_a_long_line_is_cut_between_characters(text):
    text = text * (3 * LINE // len(text.encode()) + 1)
    lines, _ = cut(text.encode(), final=True)
    assert "".join(lines) == text


def test_of_a_progress_bar_the_last_state_remains():
    assert cut(b"10%\r50%\r100%\r\ndone\n", final=False) == (["100%", "done"], 19)


def test_a_bar_in_progress_is_one_open_line_that_is_told_now_and_then(tmp_path):
    log = tmp_path / "log"
    tail = LogTail(log, None)
    log.write_bytes(b"begins\n" + b"".join(b"\r%d%%" % n for n in range(100)))
    lines, mark = tail.read()
    assert (lines, tail.open) == (["begins"], "99%")
    assert [tail.news(now) for now in (10.0, 10.5, 11.5)] == [True, False, False]
    with log.open("ab") as file:
        file.write(b"\r100%")
    assert tail.read()[0] == []
    assert [tail.news(now) for now in (10.9, 11.1)] == [False, True]
    assert LogTail(log, mark).read(final=True)[0] == ["100%"]
    with log.open("ab") as file:
        file.write(b"\r\ndone\n")
    assert tail.read()[0] == ["100%", "done"]
    assert tail.open == ""


def test_a_reader_far_behind_goes_on_near_the_end_and_counts_what_it_left_out(tmp_path):
    (tmp_path / "log").write_text("".join(f"{n}\n" for n in range(300_000)))
    tail = LogTail(tmp_path / "log", None)
    lines, _ = tail.read()
    missing = int(lines[0].split()[1])
    assert lines[1] == str(missing)
    while new := tail.read()[0]:
        lines += new
    assert [int(line) for line in lines[1:]] == list(range(missing, 300_000))


def test_a_line_without_end_is_told_at_the_end_only(tmp_path):
    (tmp_path / "log").write_text("one\ntw")
    tail = LogTail(tmp_path / "log", None)
    assert tail.read() == (["one"], Mark("log", 1, 4))
    assert tail.read()[0] == []
    assert tail.read(final=True) == (["tw"], Mark("log", 1, 6))


def test_a_log_is_read_on_from_its_mark(tmp_path):
    (tmp_path / "log").write_text("one\ntwo\n")
    assert LogTail(tmp_path / "log", Mark("log", 1, 4)).read()[0] == ["two"]


def test_of_a_huge_rest_the_last_is_told_with_what_was_left_out(tmp_path):
    (tmp_path / "log").write_text("x" * 99 + "\n" + "spam\n" * (LAST // 4) + "last words")
    lines, mark = LogTail(tmp_path / "log", None).read(final=True)
    assert "left out" in lines[0]
    assert lines[-1] == "last words"
    assert mark.offset == (tmp_path / "log").stat().st_size


def test_a_missing_log_has_no_lines(tmp_path):
    assert LogTail(tmp_path / "log", None).read(final=True) == ([], Mark("log", 1, 0))
