"""The files around the code say the same thing as pyproject.toml, and as the code."""

import json
import re
import runpy
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import grimp
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
PINS = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


def pinned(name: str) -> str | None:
    """The version that constraints.txt allows of `name`."""
    versions = {canonicalize_name(pin.name): str(pin.specifier) for pin in PINS}
    pin = versions.get(canonicalize_name(name))
    return pin.removeprefix("==") if pin else None


def requested(extras: set[str]) -> Iterator[Requirement]:
    """What pyproject.toml asks for with `extras`, those that they name included."""
    waiting, seen = [*extras], {*extras}
    yield from map(Requirement, PROJECT["dependencies"])
    while waiting:
        for requirement in map(Requirement, PROJECT["optional-dependencies"][waiting.pop()]):
            if requirement.name == PROJECT["name"]:
                waiting += requirement.extras - seen
                seen |= requirement.extras
            else:
                yield requirement


def installed(requirement: Requirement) -> Iterator[str]:
    """Names of everything that an installed `requirement` brings on this machine."""
    waiting, seen = [requirement], set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if (name, frozenset(wanted.extras)) in seen:
            continue
        seen.add((name, frozenset(wanted.extras)))
        yield name
        for needed in map(Requirement, metadata.requires(name) or []):
            environments = [{"extra": extra} for extra in ("", *wanted.extras)]
            if needed.marker is None or any(map(needed.marker.evaluate, environments)):
                waiting.append(needed)


def test_everything_is_in_all_and_test() -> None:
    every_extra = set(PROJECT["optional-dependencies"])
    assert {str(one) for one in requested({"all", "test"})} == {
        str(one) for one in requested(every_extra)
    }


def test_conda_gets_the_same_python_and_the_same_packages() -> None:
    conda = [entry for entry in ENVIRONMENT["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in ENVIRONMENT["dependencies"] if isinstance(entry, dict)]
    assert conda == [f"python{PROJECT['requires-python']}", "pip"]
    assert pip == ["-c constraints.txt", "-e .[all,test]"]


def test_the_makefile_asks_for_the_same_python() -> None:
    major, minor = re.findall(r"\d+", PROJECT["requires-python"])
    makefile = (ROOT / "Makefile").read_text()
    assert f"sys.version_info < ({major}, {minor})" in makefile
    assert f"Python {major}.{minor} or newer" in makefile


@pytest.mark.parametrize(
    "requirement",
    [*requested({"all", "test"}), *map(Requirement, PYPROJECT["build-system"]["requires"])],
    ids=str,
)
def test_a_direct_dependency_is_pinned_within_its_range(requirement: Requirement) -> None:
    version = pinned(requirement.name)
    assert version, f"constraints.txt lacks {requirement.name}: make constraints"
    assert requirement.specifier.contains(version)


def test_everything_installed_is_pinned() -> None:
    ours = set(installed(Requirement("aifarm[all,test]"))) - {"aifarm"}
    # Another build of torch brings packages of its own, e.g. CUDA's.
    of_torch = set(installed(Requirement("torch")))
    assert not {name for name in ours - of_torch if pinned(name) is None}


def test_pins_are_exact_releases_from_any_index() -> None:
    assert PINS[0].name == "torch"
    for pin in PINS:
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(pin.specifier)), f"{pin} names a build"
        assert pin.url is None


@pytest.mark.parametrize("name", ["Makefile", "constraints.txt", "environment.yml", ".ci/run"])
def test_nothing_names_a_package_index(name: str) -> None:
    assert not re.search(r"://|index-url|find-links", (ROOT / name).read_text())


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("aifarm.wire", {"msgspec"}),
        ("aifarm.core", {"msgspec"}),
        ("aifarm.app", {"msgspec"}),
        ("aifarm.packages", {"msgspec", "pathspec"}),
        ("aifarm.train", {"safetensors", "tensorboard", "torch", "transformers"}),
    ],
)
def test_who_stands_on_what_of_others(package: str, allowed: set[str]) -> None:
    """Besides ours and Python's own; import-linter's contracts say the rest."""
    graph = grimp.build_graph("aifarm", include_external_packages=True)
    others = {
        imported
        for module in {package} | graph.find_descendants(package)
        for imported in graph.find_modules_directly_imported_by(module)
        if graph.is_module_squashed(imported) and imported not in sys.stdlib_module_names
    }
    assert others <= allowed


def code(page: Path) -> dict[str, str]:
    """The files that a page shows, by name."""
    marked = r"<!-- file: (\S+) -->\n```python\n(.*?)```"
    return dict(re.findall(marked, page.read_text(), re.DOTALL))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_in_a_page_is_marked_and_compiles(page: Path) -> None:
    files = code(page)
    assert len(files) == page.read_text().count("```python")
    for name, source in files.items():
        compile(source, name, "exec")


def test_ones_own_model_takes_less_than_twenty_lines() -> None:
    files = code(ROOT / "README.md")
    assert sum(len(files[name].splitlines()) for name in ("model.py", "submit.py")) < 20


def test_the_index_leads_to_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    for page in ROOT.glob("docs/*/*.md"):
        path = page.relative_to(ROOT / "docs")
        assert f"]({path})" in index or f"]({path.parent})" in index


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!\w+:|#)([^)#]+)[^)]*\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_make_target_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)) <= targets


def test_the_blocking_sdk_is_as_it_is_written_from_the_asynchronous_one() -> None:
    for path, text in runpy.run_path(str(ROOT / "tools" / "blocking.py"))["written"]().items():
        assert path.read_text() == text, f"{path.name} is out of date: make sdk"


def test_generated_pages_are_as_the_code_draws_them() -> None:
    for path, text in runpy.run_path(str(ROOT / "docs" / "generate.py"))["pages"]().items():
        assert path.read_text() == text, f"{path.name} is out of date: make docs"


def test_jupyterlabs_part_says_the_same_version() -> None:
    """Diagnostics compare it with the Jupyter server's."""
    package = ROOT / "jupyter_ext/aifarm_jupyter/labextension/package.json"
    assert json.loads(package.read_text())["version"] == PROJECT["version"]
