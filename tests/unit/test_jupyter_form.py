"""The submission form, as a kernel has it: what is typed, what it means, and what the farm says."""

import asyncio
import threading
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, get_type_hints

import pytest
from ipywidgets.widgets.widget import _instances

from aifarm.sdk import InvalidRequest, NotFound, Task
from aifarm.sdk.notebook import Notebook
from aifarm.sdk.submission import Submission
from aifarm.wire import rest
from aifarm.wire.types import Requirements
from aifarm_jupyter import beside
from aifarm_jupyter.beside import Latest
from aifarm_jupyter.fields import CONFIG, FIELDS, gathered, spread
from aifarm_jupyter.form import SubmitForm
from aifarm_jupyter.submission import as_python, submit

NOW = datetime(2030, 1, 1, tzinfo=UTC)
CELLS = [
    "from torch import nn",
    "class Net(nn.Module): ...",
    "def build_model(cfg): return Net()",
    "def build_data(cfg): ...",
    "def helper(): ...",
]

WHOLE: dict[str, Any] = {
    "name": "digits",
    "version": "v2",
    "epochs": 3,
    "batch_size": 64,
    "learning_rate": 0.01,
    "config": {
        "hidden": 128,
        "net": "resnet",
        "deep": {"a": [1, 2]},
        "text": "32",
        "seed": 7,
        "precision": "bf16",
        "checkpoint_steps": 100,
        "checkpoint_seconds": 60.0,
        "max_seconds": 3600.0,
        "hold_seconds": 0.0,
    },
    "best": {"accuracy": "max"},
    "min_gpu_memory": 4000,
    "min_cpu_cores": 2,
    "min_ram": 1024,
    "n_clients": 2,
    "processes_per_client": "gpu",
    "distributed": True,
    "share_gpu": True,
    "environment": "py311",
    "title": "A title",
    "project": "thesis",
    "tags": ["baseline", "wide"],
    "notes": "two\nlines",
    "priority": -5,
    "from_checkpoint": "abc:best",
    "max_retries": 2,
    "args": ["--name", "two words"],
    "resume_args": ["--resume", "last.pt"],
    "outputs": ["results/*.csv", "a folder/x"],
    "progress_from": r"step (?P<step>\d+)",
    "env": {"KEY": "a=b"},
    "data": {"train": "https://example.org/train.npy"},
    "mounts": {"data": "/srv/data"},
}


def package(name: str, version: str, hour: int) -> rest.PackageFull:
    at = NOW.replace(hour=hour)
    return rest.PackageFull(name, version, "declarative", "0" * 64, 1, "ada", "/models", at)


def task(task_id: str = "t1") -> Task:
    info = rest.TaskFull(
        id=task_id, type="training", name="digits", version="v2", url=None, package_sha256=None,
        status="pending", desired="running", attempt=0, cause=None, message=None, progress=0,
        metrics={}, config={}, requirements=Requirements(), distributed=False, n_clients=1,
        processes_per_client=1, priority=0, share_gpu=False, max_retries=0, submitter="ada",
        clients=[], checkpoint_id=None, created_at=NOW, updated_at=NOW, started_at=None,
        ended_at=None,
    )  # fmt: skip
    return Task(None, info)  # type: ignore[arg-type]  # nothing is asked of the farm


class FakeFarm:
    """Answers from what it was given, and remembers what it was asked to do."""

    def __init__(self, *published: rest.PackageFull) -> None:
        self.published = list(published)
        self.calls: list[tuple[Any, ...]] = []
        self.refusal: Exception | None = None
        self.answer = rest.Check(True, 1, ["ws1"], ["ws1"], [], "It would start now.", [])

    def packages(self) -> list[rest.PackageFull]:
        return self.published

    def clients(self) -> list[Any]:
        named = [SimpleNamespace(name="py311"), SimpleNamespace(name="conda")]
        return [SimpleNamespace(info=SimpleNamespace(environments=named))]

    def package(self, name: str, version: str) -> rest.PackageFull:
        found = next(one for one in self.published if (one.name, one.version) == (name, version))
        manifest = {"defaults": {"epochs": 42, "width": 64}}
        return rest.PackageFull(
            *[getattr(found, one) for one in found.__struct_fields__[:-1]], manifest
        )

    def check(self, **options: Any) -> rest.Check:
        if self.refusal is not None:
            raise self.refusal
        return self.answer

    def submit(self, *args: Any, **options: Any) -> Task:
        if self.refusal is not None:
            raise self.refusal
        if args:
            options["name"] = args[0]
        self.calls.append(("submit", options))
        return task()

    def publish_cells(self, *functions: str, **options: Any) -> rest.PackageFull:
        self.calls.append(
            ("publish_cells", functions, {"version": None, "verify": True, **options})
        )
        return package(options["name"], "new", 1)


@pytest.fixture
def farm() -> FakeFarm:
    return FakeFarm(
        package("digits", "v1", 1), package("other", "x", 2), package("digits", "v2", 3)
    )


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Notebook, "running", classmethod(lambda cls: cls(CELLS, {})))


def form(farm: FakeFarm, **more: Any) -> SubmitForm:
    return SubmitForm(farm, **more)  # type: ignore[arg-type]


def complaints(form: SubmitForm) -> set[str]:
    return {name for name, line in form._complaints.items() if line.value}


# ---------------------------------------------------------------- fields


def test_the_form_has_a_field_for_everything_that_can_be_submitted() -> None:
    taken = {one.name for one in FIELDS if not one.name.startswith(CONFIG)}
    of_sources = {"package", "version", "url", "requirements"}
    assert taken == get_type_hints(Submission).keys() - of_sources


def test_every_value_can_be_typed_and_is_read_as_itself() -> None:
    found = spread(WHOLE)
    typed = {one.name: one.kind.write(found[one.name]) for one in FIELDS}
    read = {one.name: one.kind.read(typed[one.name]) for one in FIELDS}
    assert {"name": "digits", "version": "v2", **gathered(read)} == WHOLE


@pytest.mark.parametrize(
    "value", [" ", "", "1e3", "true", "null", '"quoted"', "two\nlines", 1, None]
)
def test_a_setting_keeps_its_type(value: object) -> None:
    kind = {one.name: one for one in FIELDS}["config"].kind
    assert kind.read(kind.write({"x": value})) == {"x": value}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("epochs", "many", "'many' is not a whole number"),
        ("learning_rate", "nan", "is not a finite number"),
        ("config", "hidden", "'hidden' is not NAME=VALUE"),
        ("config", "x=NaN", "NaN is not a finite number"),
        ("args", "it's", "That is no command line"),
    ],
)
def test_what_means_nothing_is_told_in_a_sentence(name: str, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        {one.name: one for one in FIELDS}[name].kind.read(text)


# ---------------------------------------------------------------- the form


def test_its_value_is_what_submit_takes_and_setting_it_fills_the_fields(farm: FakeFarm) -> None:
    made = form(farm)
    assert made.value == {"name": "digits", "version": "v2"}
    made.value = WHOLE
    assert made.value == WHOLE
    assert made._inputs["tags"].value == "baseline wide"
    made.value = {"name": "digits", "version": "v1", "requirements": {"min_ram": 7}}
    assert made.value == {"name": "digits", "version": "v1", "min_ram": 7}


def test_its_value_can_be_observed(farm: FakeFarm) -> None:
    made, seen = form(farm), []
    made.observe(lambda change: seen.append(change.new), "value")
    made._inputs["epochs"].value = "5"
    assert seen == [{"name": "digits", "version": "v2", "epochs": 5}]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"name": "digits", "epoch": 1}, "The form has no field epoch"),
        ({"name": "nothing"}, "There is no package nothing"),
        ({"name": "digits", "version": "v9"}, "has no version v9: v2, v1"),
    ],
)
def test_a_value_that_it_cannot_show_is_refused_and_changes_nothing(
    farm: FakeFarm, value: dict[str, object], words: str
) -> None:
    made = form(farm)
    with pytest.raises(ValueError, match=words):
        made.value = value
    assert made.value == {"name": "digits", "version": "v2"}


def test_versions_stand_the_newest_first_and_the_package_published_last_is_chosen(
    farm: FakeFarm,
) -> None:
    published = form(farm)._sources["package"]
    assert [name for name in published._name.options] == ["digits", "other"]
    assert [value for _, value in published._version.options] == ["v2", "v1"]


def test_what_a_package_declares_stands_where_nothing_is_filled_in(farm: FakeFarm) -> None:
    made = form(farm)
    assert made._inputs["epochs"].placeholder == "42"
    assert made._inputs["config"].placeholder == "width=64"
    assert made._inputs["batch_size"].placeholder == "32"


def test_environments_of_the_machines_are_offered(farm: FakeFarm) -> None:
    assert form(farm)._inputs["environment"].options == ("conda", "py311")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"name": "far off", "url": "https://example.org/m"}, "The name has to be letters"),
        ({"name": "far", "url": "example.org/m"}, "The url has to be an address"),
    ],
)
def test_what_is_wrong_with_where_the_code_is_stands_there(
    farm: FakeFarm, value: dict[str, str], words: str
) -> None:
    made = form(farm, value=value)
    assert words in made._sources["url"]._complaint.value
    assert made.value == {}


def test_looking_again_tells_of_no_package_but_the_chosen_one(farm: FakeFarm) -> None:
    made = form(farm, value={"name": "digits", "version": "v1"})
    heard: list[dict[str, Any]] = []
    made.observe(lambda change: heard.append(change.new), "value")
    farm.published.append(package("newest", "v1", 4))
    made._again.click()
    assert made.value == {"name": "digits", "version": "v1"}
    assert heard == []
    farm.published = [package("newest", "v1", 4)]
    made._again.click()
    assert heard == [{"name": "newest", "version": "v1"}]


async def test_a_farm_that_does_not_answer_keeps_no_kernel_waiting(
    farm: FakeFarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering = threading.Event()

    def packages() -> list[rest.PackageFull]:
        assert answering.wait(30)
        return farm.published

    monkeypatch.setattr(farm, "packages", packages)
    made, chosen = form(farm), asyncio.Event()
    made.observe(lambda _: chosen.set(), "value")
    answering.set()  # what blocked here would never come so far
    await chosen.wait()
    assert made.value == {"name": "digits", "version": "v2"}


def test_typing_and_answers_of_the_farm_leave_no_widgets_behind(farm: FakeFarm) -> None:
    made = form(farm)
    before = set(_instances)
    for text in ("many", "1", "2"):
        made._inputs["epochs"].value = text
    assert set(_instances) == before


def test_without_a_package_it_says_what_to_do_and_looks_again() -> None:
    farm = FakeFarm()
    made = form(farm)
    assert made.value == {}
    assert made._submit.disabled
    published = made._sources["package"]
    assert "No package is published yet" in published._nothing.value
    assert published._choice.layout.display == "none"
    assert {one.layout.display for one in made._sources["cells"].children} == {None}
    farm.published.append(package("digits", "v1", 1))
    made._again.click()
    assert made.value == {"name": "digits", "version": "v1"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("epochs", "many"),
        ("epochs", "0"),
        ("tags", "x" * 65),
        ("mounts", "data=srv"),
        ("min_ram", "-1"),
    ],
)
def test_what_is_wrong_is_told_at_its_field_and_nothing_can_be_submitted(
    farm: FakeFarm, name: str, text: str
) -> None:
    made = form(farm)
    made._inputs[name].value = text
    assert complaints(made) == {name}
    assert made.value == {}
    assert made._submit.disabled
    made._inputs[name].value = ""
    assert complaints(made) == set()
    assert not made._submit.disabled


def test_a_setting_is_said_once(farm: FakeFarm) -> None:
    made = form(farm)
    made._inputs["config"].value = "seed=1"
    made._inputs["config.seed"].value = "2"
    assert complaints(made) == {"config"}


@pytest.mark.parametrize(
    ("field", "where"),
    [
        ("config.hidden", "config"),
        ("config.seed", "config.seed"),
        ("requirements.min_ram", "min_ram"),
        ("tags[0]", "tags"),
    ],
)
def test_what_the_farm_refuses_is_told_at_the_field_that_it_names(
    farm: FakeFarm, field: str, where: str
) -> None:
    farm.refusal = InvalidRequest("No.", {"field": field})
    assert complaints(form(farm)) == {where}


def test_the_machines_that_fit_are_named_and_what_the_others_lack(farm: FakeFarm) -> None:
    missing = [rest.Missing("ws2", "it has <4> GiB", True), rest.Missing("ws3", "it is busy")]
    farm.answer = rest.Check(False, 2, [], ["ws3"], missing, "It would wait.", ["Ask for less."])
    shown = form(farm)._fits.value
    for words in ("It would wait.", "number 2", "Ask for less.", "does not fit", "fits, not now"):
        assert words in shown
    assert "&lt;4&gt;" in shown


def test_submitting_gives_the_task_to_whoever_waits_for_it(farm: FakeFarm) -> None:
    heard: list[Task] = []
    made = form(farm, value=WHOLE, on_submit=heard.append)
    made._submit.click()
    assert farm.calls == [("submit", WHOLE)]
    assert made.task == task()
    assert heard == [made.task]
    assert "Submitted:" in made._told.value


def test_a_submission_that_fails_says_why_and_can_be_tried_again(farm: FakeFarm) -> None:
    made = form(farm)
    farm.refusal = NotFound("There is no package digits v2 on this farm.")
    made._submit.click()
    assert "There is no package digits v2" in made._told.value
    assert made.task is None
    farm.refusal = None
    made._submit.click()
    assert made.task is not None


# ---------------------------------------------------------------- the notebook's code


@pytest.mark.usefixtures("notebook")
def test_the_notebooks_code_is_listed_and_published_before_the_task(farm: FakeFarm) -> None:
    made = form(
        farm, value={"name": "mine", "functions": ["build_model", "build_data"], "epochs": 2}
    )
    cells = made._sources["cells"]
    assert list(cells._boxes) == ["build_model", "build_data", "Net", "helper"]
    assert [box.value for box in cells._boxes.values()] == [True, True, False, False]
    cells._boxes["helper"].value = True
    made._submit.click()
    (published, functions, options), (submitted, sent) = farm.calls
    assert (published, functions) == ("publish_cells", ("build_model", "build_data", "helper"))
    assert options == {"name": "mine", "version": None, "verify": True}
    assert (submitted, sent["package"].name, sent["epochs"]) == ("submit", "mine", 2)


@pytest.mark.usefixtures("notebook")
def test_looking_again_keeps_what_was_chosen_and_no_widget_that_it_replaced(
    farm: FakeFarm,
) -> None:
    made = form(farm, value={"name": "mine", "functions": ["build_model", "build_data", "helper"]})
    before = len(_instances)
    made._again.click()
    assert made.value["functions"] == ["build_model", "build_data", "helper"]
    assert len(_instances) == before


@pytest.mark.usefixtures("notebook")
def test_what_cannot_travel_is_named_where_it_is_chosen(
    farm: FakeFarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [*CELLS, "def loss(out, batch): return scale * out"]
    monkeypatch.setattr(Notebook, "running", classmethod(lambda cls: cls(broken, {})))
    made = form(farm, value={"name": "mine", "functions": ["build_model", "build_data", "loss"]})
    cells = made._sources["cells"]
    assert "`scale`, which loss uses (In [6] line 1)" in cells._problems.value
    assert made.value == {}
    cells._boxes["loss"].value = False
    assert made.value["functions"] == ["build_model", "build_data"]


def test_a_notebook_without_the_two_functions_is_shown_what_they_look_like(
    farm: FakeFarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Notebook, "running", classmethod(lambda cls: cls(["x = 1"], {})))
    made = form(farm)
    made._source.value = "cells"
    assert "build_model and build_data" in made._sources["cells"]._problems.value
    assert "def build_model(cfg)" in made._sources["cells"]._problems.value


def test_outside_a_notebook_its_code_is_no_choice(farm: FakeFarm) -> None:
    made = form(farm)
    made._source.value = "cells"
    assert "No notebook runs here" in made._sources["cells"]._problems.value
    made._source.value = "package"
    assert made.value == {"name": "digits", "version": "v2"}


# ---------------------------------------------------------------- the same in Python


@pytest.mark.parametrize(
    "value",
    [
        WHOLE,
        {"name": "digits", "version": "v2"},
        {"name": "far", "url": "https://example.org/model", "epochs": 1},
        {"name": "mine", "functions": ["build_model", "build_data"], "epochs": 2},
        {"name": "mine", "functions": ["build_model"], "version": "1", "verify": False},
    ],
)
def test_the_call_to_copy_does_what_the_form_does(value: dict[str, Any]) -> None:
    by_form, by_hand = FakeFarm(), FakeFarm()
    submit(by_form, value)  # type: ignore[arg-type]
    exec(as_python(value), {"farm": by_hand})
    assert by_hand.calls == by_form.calls


# ---------------------------------------------------------------- asking beside the kernel


async def test_an_answer_that_was_overtaken_is_never_told() -> None:
    slow, begun, told = threading.Event(), asyncio.Event(), asyncio.Event()
    answers: list[str] = []
    loop = asyncio.get_running_loop()

    def ask(question: str) -> str:
        if question == "slow":
            loop.call_soon_threadsafe(begun.set)
            slow.wait(30)
        return question

    def tell(answer: str) -> None:
        answers.append(answer)
        told.set()

    latest = Latest(ask, tell)
    latest.about("slow")
    await begun.wait()
    latest.about("fast")
    await told.wait()
    slow.set()
    await loop.shutdown_default_executor()  # every thread has said what it had to say
    await asyncio.sleep(0)
    assert answers == ["fast"]


async def test_only_the_last_of_what_is_typed_quickly_is_asked() -> None:
    asked: list[int] = []
    told = asyncio.Event()
    latest: Latest[int, None] = Latest(asked.append, lambda _: told.set(), quiet=0.05)
    for number in range(5):
        latest.about(number)
    await told.wait()
    assert asked == [4]


async def test_the_same_is_asked_again_for_a_while_since_farms_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(beside, "AGAIN", 0)
    answers: list[int] = []
    enough = asyncio.Event()

    def tell(answer: int) -> None:
        answers.append(answer)
        if len(answers) == 3:
            enough.set()

    latest: Latest[None, int] = Latest(lambda _: len(answers), tell, times=3)
    latest.about(None)
    await enough.wait()
    assert answers == [0, 1, 2]


async def test_the_kernels_thread_is_free_while_the_farm_thinks() -> None:
    answering, done = threading.Event(), asyncio.Event()
    beside.beside(lambda: answering.wait(30), lambda _: done.set())
    answering.set()  # what blocked here would never come so far
    await done.wait()
