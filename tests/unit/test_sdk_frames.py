"""Lists and histories as tables; what is submitted, as `submit` and `check` have it."""

import inspect
import sys
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
from msgspec import UNSET

from aifarm.sdk import AIFarmError, AsyncFarm, Farm, InvalidRequest
from aifarm.sdk.frames import History, TaskList
from aifarm.sdk.submission import Submission, task_body
from aifarm.wire.rest import MetricHistory, MetricSeries, MetricSummary, TaskFull


class Listed(NamedTuple):
    info: TaskFull


def listed(**changes: Any) -> Listed:
    fields: dict[str, Any] = dict.fromkeys(TaskFull.__struct_fields__)
    fields |= {"id": "t1", "name": "digits", "status": "running", "progress": 5.0, "tags": ["a"]}
    fields |= {"submitter": "ada", "config": {}, "metrics": {}, "summaries": UNSET}
    fields["created_at"] = datetime.now(UTC)
    return Listed(TaskFull(**{**fields, **changes}))


def test_a_list_becomes_one_row_a_task_with_names_as_filters_know_them() -> None:
    summary = MetricSummary("loss", 3, 0.2, 0.1, 0.9, 7, best=0.1)
    tasks = TaskList(
        [
            listed(config={"net": {"width": 8}, "lr": 0.1}, metrics={"loss": 0.2}),
            listed(id="t2", config={"lr": 0.3}, summaries=[summary]),
        ]
    )
    frame = tasks.to_dataframe()
    assert list(frame["id"]) == ["t1", "t2"]
    assert list(frame.columns)[:6] == ["id", "title", "project", "tags", "status", "submitter"]
    assert frame["config.net.width"][0] == 8
    assert list(frame["config.lr"]) == [0.1, 0.3]
    assert frame["metrics.loss"][0] == 0.2
    assert (frame["metrics.loss.min"][1], frame["metrics.loss.best"][1]) == (0.1, 0.1)


def test_a_notebook_shows_a_table_and_no_markup_of_others() -> None:
    html = TaskList([listed(title="<script>")])._repr_html_()
    assert html.startswith("<table>")
    assert "&lt;script&gt;" in html
    assert "<script>" not in html


def test_an_empty_list_is_an_empty_table() -> None:
    assert len(TaskList[Listed]().to_dataframe()) == 0
    assert repr(TaskList[Listed]()) == "<0 tasks>"


def test_a_history_becomes_one_row_a_point() -> None:
    series = MetricSeries("loss", [1, 2], [0.0, 1.5], [0.5, None], [0.4, None], [0.6, None], 2)
    history = History.of(MetricHistory([series], []))
    assert history["loss"]["step"] == [1, 2]
    frame = history.to_dataframe()
    assert list(frame["step"]) == [1, 2]
    assert frame["time"][1].isoformat() == "1970-01-01T00:00:01.500000+00:00"
    assert len(History().to_dataframe()) == 0


def test_without_pandas_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(AIFarmError, match="pip install pandas"):
        TaskList([listed()]).to_dataframe()


@pytest.mark.parametrize("farm", [Farm, AsyncFarm])
def test_check_takes_what_submit_takes(farm: type) -> None:
    options = set(inspect.signature(farm.submit).parameters) - {"self", "name"}  # type: ignore[attr-defined]
    assert options == set(Submission.__annotations__)


def test_a_submission_is_checked_before_it_is_sent() -> None:
    body = task_body(
        "digits",
        {"n_clients": 3, "min_ram": 5, "requirements": {"min_cpu_cores": 2}, "env": {"A": "1"}},
    )
    assert (body.distributed, body.n_clients) == (True, 3)
    assert (body.requirements.min_ram, body.requirements.min_cpu_cores) == (5, 2)
    assert body.env == {"A": "1"}
    assert task_body("digits", {"tags": (tag for tag in ("a", "b"))}).tags == ["a", "b"]
    with pytest.raises(InvalidRequest, match="tags"):
        task_body("digits", {"tags": ["two words"]})
