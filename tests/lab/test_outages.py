"""What a page shows after its farm was out of reach, or told it of things late."""

import time

import pytest
from playwright.sync_api import Page, expect

from aifarm import Farm, Task
from aifarm.wire import agent as wire
from integration.running import RunningServer
from integration.scripted import ScriptedAgent
from lab.conftest import PATIENCE, history, shown
from lab.line import AWAY, Late, Line, Messages

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

expect.set_options(timeout=PATIENCE)


def used(percent: float) -> wire.Resources:
    gpu = wire.Gpu(0, "GPU", wire.Memory(4096, 1000), utilization=percent)
    return wire.Resources(wire.Cpu(cores=4, usage=40.0), wire.Memory(8192, 1), (gpu,))


def drawn(page: Page) -> None:
    """Returns when charts show what the page knows: at the next frame it is put into them."""
    page.evaluate(
        "() => new Promise((on) => requestAnimationFrame(() => requestAnimationFrame(on)))"
    )


def test_a_task_that_ended_meanwhile_is_over_and_its_story_whole(
    server: RunningServer, agent: ScriptedAgent, task: Task, page: Page
) -> None:
    line = Line(page)
    view = shown(page, server, task)
    view.get_by_role("tab", name="Story").click()
    story = view.locator(".af-story li")
    expect(story.first).to_be_visible()
    line.cut()
    agent.end()

    def begun_anew(messages: Messages) -> Messages:
        """As of a server that knows of no task that is over."""
        return [{**one, "tasks": []} if one["type"] == "snapshot" else one for one in messages]

    line.told = begun_anew
    line.mend()
    expect(view.locator(".af-badge").first).to_have_text("completed")
    expect(view.get_by_role("button", name="Retry")).to_be_visible()
    expect(story).to_contain_text([event.message for event in task.events()])


def test_the_log_is_that_of_an_attempt_which_ran_meanwhile(
    server: RunningServer, farm: Farm, agent: ScriptedAgent, page: Page
) -> None:
    task = farm.submit("model", title="Tried twice", max_retries=1)
    agent.take()
    agent.running()
    agent.log("first try")
    line = Line(page)
    view = shown(page, server, task)
    view.get_by_role("tab", name="Log").click()
    log = view.get_by_role("log")
    expect(log).to_contain_text("first try")
    line.cut()
    agent.end("failed", cause="user_error", message="broken")
    agent.take()
    agent.running()
    agent.log("second try")
    agent.end()
    line.mend()
    expect(log).to_contain_text("second try")
    expect(log).not_to_contain_text("first try")


def test_a_comparison_has_the_points_of_the_time_without_the_farm(
    server: RunningServer, farm: Farm, agent: ScriptedAgent, task: Task, page: Page
) -> None:
    agent.points(10.0, *history(range(10)))
    line = Line(page)
    shown(page, server, task)
    page.get_by_role("navigation").get_by_role("link", name="Tasks").click()
    page.get_by_role("checkbox", name="Choose all of this page").check()
    page.get_by_role("button", name="Compare").click()
    legend = page.get_by_role("region", name="Compared").locator(".u-legend")
    expect(legend).to_contain_text("step9")
    line.cut()
    agent.points(20.0, *history(range(10, 20)))
    line.mend()
    expect(legend).to_contain_text("step19")


def test_curves_of_a_hidden_tab_are_whole_when_it_is_looked_at(
    server: RunningServer, agent: ScriptedAgent, task: Task, page: Page
) -> None:
    agent.points(1.0, *history(range(10)))
    view = shown(page, server, task)
    legend = view.get_by_role("img", name="loss").locator(".u-legend")
    expect(legend).to_contain_text("step9")
    view.evaluate("element => (element.style.display = 'none')")
    agent.points(77.0, *history(range(10, 20)))
    expect(view.locator("[role=progressbar]").first).to_have_attribute("aria-valuenow", "77")
    drawn(page)
    view.evaluate("element => (element.style.display = '')")
    expect(legend).to_contain_text("step19")


def test_points_that_come_while_the_history_is_read_stay(
    server: RunningServer, agent: ScriptedAgent, task: Task, page: Page
) -> None:
    agent.points(1.0, (0, 0.0, {"early": 1.0, "loss": 1.0}))
    late = Late(page, r"/metrics\?")
    view = shown(page, server, task)
    late.until_made()
    agent.points(2.0, (5, 0.5, {"loss": 0.5}))
    legend = view.get_by_role("img", name="loss").locator(".u-legend")
    expect(legend).to_contain_text("step5")
    late.release()
    expect(view.get_by_role("img", name="early")).to_be_visible()
    drawn(page)
    expect(legend).to_contain_text("step5")


def test_a_heartbeat_that_comes_while_the_history_is_read_stays(
    server: RunningServer, agent: ScriptedAgent, task: Task, page: Page
) -> None:
    agent.points(1.0, *history(range(600), time.time() - 45))
    samples, curves = Late(page, r"/clients/[^/]+/history"), Late(page, r"/metrics\?")
    view = shown(page, server, task)
    samples.until_made()
    curves.until_made()
    agent.beat(resources=used(87.0))
    task.update(title="Heard of")
    expect(view.get_by_role("heading", name="Heard of")).to_be_visible()
    samples.release()
    curves.release()
    legend = view.get_by_role("img", name="GPU use").locator(".u-legend")
    expect(legend).to_contain_text("GPU 087")


def test_a_heartbeat_from_before_its_machine_was_followed_is_shown(
    server: RunningServer, agent: ScriptedAgent, task: Task, page: Page
) -> None:
    agent.beat(resources=used(11.0))
    agent.points(1.0, *history(range(600), time.time() - 45))
    line = Line(page)
    line.hold("client:")
    view = shown(page, server, task)
    legend = view.get_by_role("img", name="GPU use").locator(".u-legend")
    expect(legend).to_contain_text("GPU 011")
    agent.beat(resources=used(87.0))
    line.release("client:")
    expect(legend).to_contain_text("GPU 087")


def test_a_connection_that_is_gone_without_a_word_is_left(
    server: RunningServer, task: Task, page: Page
) -> None:
    page.clock.install()
    line = Line(page)
    view = shown(page, server, task)
    expect(view.get_by_role("button", name="Pause")).to_be_visible()
    line.silence()
    page.clock.run_for(75_000)
    expect(page.get_by_text(AWAY)).to_be_visible()
