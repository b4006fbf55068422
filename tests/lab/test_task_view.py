"""One task's view, as the dashboard and a notebook show it: curves, log, checkpoints, and why it
waits. A scripted workstation says what happens."""

import re
import time

import pytest
from playwright.sync_api import Locator, Page, Request, expect

from aifarm import Farm, Task
from aifarm.wire import agent as wire
from integration.running import RunningServer
from integration.scripted import ScriptedAgent
from lab.conftest import PATIENCE, history, shown

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

expect.set_options(timeout=PATIENCE)


def drag(page: Page, chart: Locator, start: float, end: float) -> None:
    """Over a part of a chart; both in parts of its width."""
    over = chart.locator(".u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + start * box["width"], middle)
    page.mouse.down()
    page.mouse.move(box["x"] + end * box["width"], middle, steps=5)
    page.mouse.up()


def test_a_range_that_is_dragged_over_is_read_in_full(
    server: RunningServer, agent: ScriptedAgent, task: Task, page: Page
) -> None:
    for begin in range(0, 20_000, 1000):
        agent.points(50.0, *history(range(begin, begin + 1000)))
    view = shown(page, server, task)
    loss = view.get_by_role("img", name="loss")
    expect(loss.locator(".u-legend")).to_contain_text("19,999")

    def fine(request: Request) -> bool:
        return "first_step=" in request.url

    with page.expect_response(lambda answer: fine(answer.request)) as told:
        drag(page, loss, 0.0, 0.1)
    (series,) = told.value.json()["series"]
    assert len(series["step"]) == series["total"] > 1000
    assert 99.0 in series["value"]
    expect(loss.locator(".u-legend")).not_to_contain_text("19,999")
    loss.locator(".u-over").dblclick()
    expect(view.get_by_role("button", name="Whole range")).to_have_count(0)
    page.mouse.move(0, 0)  # where nobody points, the latest is told
    expect(loss.locator(".u-legend")).to_contain_text("19,999")


def test_new_points_are_drawn_as_they_come_and_buttons_stay_under_the_pointer(
    server: RunningServer, agent: ScriptedAgent, task: Task, page: Page
) -> None:
    view = shown(page, server, task)
    expect(view.get_by_text("No metrics yet.")).to_be_visible()
    agent.points(1.0, *history(range(3)))
    legend = view.get_by_role("img", name="loss").locator(".u-legend")
    expect(legend).to_contain_text("step2")
    pause = view.get_by_role("button", name="Pause").element_handle()
    for step in range(3, 40):
        agent.points(1.0 + step, *history(range(step, step + 1)))
    expect(legend).to_contain_text("step39")
    expect(view.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "40")
    assert pause is not None
    assert pause.is_visible()
    pause.click()
    expect(view.get_by_text("It pauses at its next step.")).to_be_visible()
    agent.paused()
    expect(view.locator(".af-badge").first).to_have_text("paused")
    expect(view.get_by_role("button", name="Resume")).to_be_focused()


@pytest.mark.parametrize(
    ("measured", "title", "note"), [(87.0, "GPU use", ""), (None, "processor use", "GPU use: n/a")]
)
def test_how_busy_the_machine_is_stands_on_the_same_axis(
    server: RunningServer,
    agent: ScriptedAgent,
    task: Task,
    page: Page,
    measured: float | None,
    title: str,
    note: str,
) -> None:
    now = time.time()
    agent.points(10.0, *history(range(600), now - 45))
    view = shown(page, server, task)
    expect(view.get_by_role("img", name="loss")).to_be_visible()
    gpu = wire.Gpu(0, "GPU", wire.Memory(4096, 1000), utilization=measured)
    told = wire.Resources(wire.Cpu(cores=4, usage=40.0), wire.Memory(8192, 1), (gpu,))
    agent.beat(cpu_usage=40.0, resources=told)
    legend = view.get_by_role("img", name=title).locator(".u-legend")
    words = f"{agent.name} GPU 087" if measured else f"{agent.name}40"
    expect(legend).to_contain_text(words)
    expect(view.locator(".af-note", has_text=note).last).to_be_attached()
    expect(legend).to_contain_text("step")
    view.get_by_label("over").select_option("elapsed")
    expect(legend).to_contain_text("after")


def test_tasks_are_compared_in_the_same_charts(
    server: RunningServer, farm: Farm, agent: ScriptedAgent, page: Page
) -> None:
    other = farm.submit("model", title="The other")
    agent.take()
    agent.running()
    agent.points(100.0, *history(range(10)), (10, 1.0, {"accuracy": 0.5}))
    agent.end()
    task = farm.submit("model", title="This one")
    agent.take()
    agent.running()
    agent.points(10.0, *history(range(5)))
    view = shown(page, server, task)
    legend = view.get_by_role("img", name="loss").locator(".u-legend")
    expect(legend).to_contain_text("loss")
    field = view.get_by_label("Compare with")
    field.fill("nonsense")
    field.press("Enter")
    expect(view.get_by_role("alert").get_by_text("There is no task nonsense.")).to_be_visible()
    page.faults.clear()  # type: ignore[attr-defined]  # the console tells of the 404
    field.fill(other.id)
    field.press("Enter")
    expect(legend).to_contain_text(f"The other {other.id[:8]}")
    expect(legend).to_contain_text(f"This one {task.id[:8]}")
    expect(view.get_by_role("img", name="accuracy")).to_be_visible()
    view.get_by_role("button", name="No longer compare").click()
    expect(legend).not_to_contain_text("The other")
    expect(view.get_by_role("img", name="accuracy")).to_have_count(0)
    agent.end()


def test_the_log_is_searched_back_to_its_beginning(
    server: RunningServer, agent: ScriptedAgent, task: Task, page: Page
) -> None:
    for begin in range(0, 2000, 500):
        agent.log(*(f"line {number}" for number in range(begin, begin + 500)))
    view = shown(page, server, task)
    view.get_by_role("tab", name="Log").click()
    log = view.get_by_role("log")
    expect(log).to_contain_text("line 1999")
    find = view.get_by_label("Find in the log")
    find.fill("LINE 19")
    expect(view.get_by_text("100 of 100 in the last 500 lines")).to_be_visible()
    find.press("Enter")
    expect(view.get_by_text("1 of 100 in the last 500 lines")).to_be_visible()
    find.fill("line 7")
    expect(view.get_by_text("none in the last 500 lines")).to_be_visible()
    find.press("Shift+Enter")
    expect(log.locator(".af-current")).to_have_text("line 799")
    expect(log.locator("mark").first).to_have_text("line 7")
    find.fill("")
    view.get_by_label("follow").check()
    agent.log("and one more")
    expect(log).to_contain_text("and one more")
    with page.expect_download() as saved:
        view.get_by_role("link", name="Download").click()
    assert len(saved.value.path().read_text().splitlines()) == 2001


def test_checkpoints_are_pinned_and_deleted_with_a_question(
    server: RunningServer, agent: ScriptedAgent, task: Task, page: Page
) -> None:
    agent.checkpoint(b"first", step=1, best=True)
    agent.checkpoint(b"second", step=2)
    view = shown(page, server, task)
    view.get_by_role("tab", name="Checkpoints").click()
    older = view.get_by_role("row").filter(has_text=re.compile("^1"))
    older.get_by_role("button", name="Pin").click()
    expect(older.get_by_text("pinned")).to_be_visible()
    expect(older.get_by_role("button", name="Delete…")).to_have_count(0)
    older.get_by_role("button", name="Unpin").click()
    older.get_by_role("button", name="Delete…").click()
    asked = page.get_by_role("dialog", name="Delete the checkpoint of step 1 for good?")
    expect(asked.get_by_role("button", name="Cancel")).to_be_focused()
    asked.get_by_role("button", name="Delete", exact=True).click()
    expect(older).to_have_count(0)
    assert [one.step for one in task.checkpoints()] == [2]
    line = view.locator(".af-python").inner_text()
    assert line == f'weights = farm.task("{task.id}").checkpoint().state_dict()'


def test_a_waiting_task_says_why(server: RunningServer, farm: Farm, page: Page) -> None:
    task = farm.submit("model", title="Too large", min_cpu_cores=512)
    view = shown(page, server, task)
    why = view.get_by_role("region", name="Why it waits")
    expect(why).to_contain_text(task.why().summary)
    expect(view.get_by_text("Not begun yet.")).to_be_visible()
    task.stop()
    expect(why).to_be_hidden()
    expect(view.get_by_role("button", name="Retry")).to_be_visible()
