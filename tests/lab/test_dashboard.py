"""The farm's own page in a real browser: who logs in, what they see and do, what it outlives."""

import re
from collections.abc import Iterator
from typing import Literal

import pytest
from playwright.sync_api import Locator, Page, expect

from aifarm import Farm, Task
from aifarm.local.farm import LocalFarm
from aifarm.sdk.config import read_token
from integration.running import SLOW_MODEL
from lab.axe import serious
from lab.conftest import PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

expect.set_options(timeout=PATIENCE)

VIEWS = ("tasks", "queue", "clients", "packages", "data", "tokens", "health")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFarm]:
    with LocalFarm(tmp_path_factory.mktemp("farm"), agents=1) as local:
        yield local


@pytest.fixture(scope="module")
def farm(local: LocalFarm) -> Iterator[Farm]:
    with local.connect() as farm:
        yield farm


@pytest.fixture
def task(farm: Farm) -> Iterator[Task]:
    """One that trains until it is stopped, of the farm's first administrator."""
    package = farm.publish(SLOW_MODEL, name="slow")
    task = farm.submit(package=package, epochs=5000, title="Seen in a browser")
    next(seen for seen in task.watch() if seen.progress)
    yield task
    task.stop()
    task.wait(timeout=60)


def log_in(page: Page, token: str) -> None:
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()


def enter(page: Page, local: LocalFarm, view: str = "", token: str | None = None) -> None:
    """Comes to a view's address, and logs in there; as an administrator, or with `token`."""
    page.goto(f"{local.url}/{view}")
    log_in(page, token or read_token(local.token_file))
    expect(page.get_by_role("navigation", name="Pages")).to_be_visible()


def refused(page: Page, *statuses: int) -> None:
    """Chromium tells its console of each refusal; these, and no other, were meant."""
    faults: list[str] = page.faults  # type: ignore[attr-defined]
    assert all(any(f"status of {status}" in fault for status in statuses) for fault in faults)
    faults.clear()


def state(page: Page) -> Locator:
    return page.locator(".af-task .af-badge").first


def test_a_task_is_found_watched_paused_resumed_and_stopped(
    local: LocalFarm, page: Page, task: Task
) -> None:
    enter(page, local)
    page.get_by_role("link", name="Seen in a browser").first.click()
    expect(page).to_have_url(f"{local.url}/#/tasks/{task.id}")
    expect(page).to_have_title("Seen in a browser · Tasks · AI Farm")
    expect(page.locator(".af-task .uplot").first).to_be_visible()
    step = page.locator(".u-legend .u-value").first
    expect(step).to_have_text(re.compile(r"[1-9]"))
    expect(step).not_to_have_text(step.inner_text())
    page.get_by_role("button", name="Pause").click()
    expect(state(page)).to_have_text("paused")
    page.get_by_role("button", name="Resume").click()
    expect(state(page)).to_have_text("running")
    assert serious(page) == []
    page.get_by_role("button", name="Stop").click()
    expect(state(page)).to_have_text("stopped")


def test_each_view_has_an_address_to_come_back_to(local: LocalFarm, page: Page, task: Task) -> None:
    enter(page, local, f"#/tasks/{task.id}")
    heading = page.get_by_role("heading", name="Seen in a browser")
    expect(heading).to_be_visible()
    page.get_by_role("link", name="Machines").click()
    page.locator(".af-machine").get_by_role("link", name="agent-1").click()
    expect(page).to_have_title("agent-1 · Machines · AI Farm")
    page.go_back()
    expect(page.get_by_role("heading", name="Machines")).to_be_visible()
    page.go_back()
    expect(heading).to_be_visible()
    page.go_forward()
    expect(page).to_have_title("Machines · AI Farm")

    with page.context.expect_page() as opened:
        page.locator(".af-machine").get_by_role("link", name="agent-1").click(modifiers=["Control"])
    expect(page).to_have_title("Machines · AI Farm")
    expect(opened.value.get_by_role("heading", name="agent-1")).to_be_visible()

    page.goto(f"{local.url}/#/nothing")
    expect(page.get_by_text("Nothing is at this address.")).to_be_visible()


def test_a_log_in_ends_and_begins_again_at_the_same_place(
    local: LocalFarm, farm: Farm, page: Page
) -> None:
    page.goto(f"{local.url}/#/queue")
    log_in(page, "aifarm_mistyped")
    expect(page.get_by_role("alert")).to_contain_text("The farm does not know this token")
    refused(page, 401)
    ann = farm.create_token("ann", "researcher")
    log_in(page, str(ann.token))
    expect(page.get_by_text("ann (researcher)")).to_be_visible()
    expect(page.get_by_role("heading", name="Queue")).to_be_visible()
    farm.revoke_token(ann.id)
    expect(page.get_by_role("status")).to_contain_text("Your log-in has ended.")
    assert serious(page) == []
    log_in(page, read_token(local.token_file))
    expect(page.get_by_role("heading", name="Queue")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    page.reload()
    expect(page.get_by_label("Token")).to_be_visible()
    page.faults.clear()  # type: ignore[attr-defined]  # the closed socket, and the 401 after it


@pytest.mark.parametrize("role", ["viewer", "researcher"])
def test_nobody_is_offered_what_the_farm_would_refuse(
    local: LocalFarm, farm: Farm, page: Page, task: Task, role: Literal["viewer", "researcher"]
) -> None:
    token = str(farm.create_token(f"{role}-looks", role).token)
    enter(page, local, f"#/tasks/{task.id}", token)
    expect(state(page)).to_have_text("running")
    expect(page.get_by_role("button", name=re.compile("Pause|Stop|Retry"))).to_have_count(0)
    expect(page.get_by_role("link", name="Tokens")).to_have_count(0)
    page.goto(f"{local.url}/#/packages/slow/{task.info.version}")
    expect(page.get_by_role("heading", name="slow")).to_be_visible()
    expect(page.get_by_role("button", name="Delete")).to_have_count(0)
    page.goto(f"{local.url}/#/tokens")
    expect(page.get_by_text("Nothing is at this address.")).to_be_visible()


def test_an_administrator_makes_a_token_and_revokes_it(local: LocalFarm, page: Page) -> None:
    enter(page, local, "#/tokens")
    page.get_by_role("button", name="Make a token").click()
    expect(page.get_by_role("alert")).to_contain_text("Give it a name")
    page.get_by_label("Name").fill("bo")
    page.get_by_label("Role").select_option("viewer")
    page.get_by_label("Expires").select_option("after a week")
    page.get_by_role("button", name="Make a token").click()
    secret = page.get_by_role("textbox", name="Token")
    expect(secret).to_have_value(re.compile("^aifarm_"))
    token = secret.input_value()
    row = page.get_by_role("row").filter(has=page.get_by_text("bo", exact=True))
    expect(row).to_contain_text("viewer")
    assert page.request.get(f"{local.url}/api/v2/token", headers=bearer(token)).ok
    row.get_by_role("button", name="Revoke").click()
    question = page.get_by_role("dialog")
    expect(question).to_contain_text("Revoke the token bo?")
    question.get_by_role("button", name="Cancel").click()
    expect(question).to_have_count(0)
    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row.get_by_role("button", name="Revoke")).to_have_count(0)
    assert not page.request.get(f"{local.url}/api/v2/token", headers=bearer(token)).ok


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_package_says_what_it_declares_and_is_deleted(
    local: LocalFarm, farm: Farm, page: Page
) -> None:
    farm.publish(SLOW_MODEL, name="unused", version="1")
    farm.publish(f"{SLOW_MODEL}\n# again", name="unused", version="2")
    enter(page, local, "#/packages")
    page.get_by_role("row", name=re.compile("^unused")).get_by_role("link", name="2").click()
    expect(page).to_have_title("unused 2 · Packages · AI Farm")
    expect(page.get_by_role("row", name="width 2")).to_be_visible()
    expect(page.get_by_label("Python call")).to_have_value('farm.submit("unused", version="2")')
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "unused-2.zip"
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("row", name=re.compile("^unused 1"))).to_be_visible()


def test_the_page_waits_for_a_server_that_restarts(
    local: LocalFarm, page: Page, task: Task
) -> None:
    enter(page, local, f"#/tasks/{task.id}")
    expect(state(page)).to_have_text("running")
    assert local.server is not None
    local.server.terminate()
    local.server.wait(timeout=60)
    away = page.locator(".af-connection").filter(has_text="The farm does not answer")
    expect(away).to_be_visible()
    local.start_server()
    expect(away).to_be_hidden()
    expect(state(page)).to_have_text("running")
    step = page.locator(".u-legend .u-value").first
    expect(step).not_to_have_text(step.inner_text())
    page.faults.clear()  # type: ignore[attr-defined]  # nothing answered meanwhile


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_can_be_read_by_everybody_on_any_screen(
    local: LocalFarm, page: Page, task: Task, scheme: str
) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(local.url)
    expect(page.get_by_label("Token")).to_be_visible()
    assert serious(page) == []
    log_in(page, read_token(local.token_file))
    pages = [*VIEWS, f"tasks/{task.id}", "clients/agent-1", f"packages/slow/{task.info.version}"]
    for view in pages:
        page.goto(f"{local.url}/#/{view}")
        expect(page.get_by_role("heading").first).to_be_visible()
        expect(page.get_by_text(re.compile("^(Loading|Looking)…"))).to_have_count(0)
        assert serious(page) == [], view
        page.set_viewport_size({"width": 375, "height": 700})
        expect(page.locator("html"), view).to_have_js_property("scrollWidth", 375)
        page.set_viewport_size({"width": 1300, "height": 900})
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is (scheme == "light")


def test_a_farm_where_nothing_runs_says_why(local: LocalFarm, farm: Farm, page: Page) -> None:
    package = farm.publish(SLOW_MODEL, name="slow")
    task = farm.submit(package=package, min_cpu_cores=1000, title="Too large")
    enter(page, local, "#/health")
    expect(page.get_by_text("The server is ready.")).to_be_visible()
    expect(page.get_by_text("The machine is connected.")).to_be_visible()
    expect(page.get_by_text("1 task waits.")).to_be_visible()
    expect(page.get_by_text("Too large: No client of this farm is large enough")).to_be_visible()
    page.get_by_role("link", name="Show it").click()
    expect(page.get_by_role("heading", name="Too large")).to_be_visible()
    task.stop()


def test_a_machine_shows_what_it_used(local: LocalFarm, page: Page) -> None:
    enter(page, local, "#/clients/agent-1")
    expect(page.locator(".af-chart .uplot").first).to_be_visible()
    page.get_by_label("the last").select_option("hour")
    expect(page.locator(".af-chart .uplot").first).to_be_visible()
