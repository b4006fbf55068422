"""The reference says what is so: of routes, of shapes, and of the rules between fields."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifarm.web import page
from aifarm.web.asyncapi import asyncapi
from aifarm.web.http import Route
from aifarm.web.openapi import openapi
from aifarm.web.routes import BASES, ROUTES
from aifarm.wire.codec import WireError, decode_body
from aifarm.wire.examples import EXAMPLES
from aifarm.wire.requests import CreateTask, CreateToken
from aifarm.wire.rules import RULES

OPENAPI, ASYNCAPI = openapi(ROUTES, BASES), asyncapi()
OPERATIONS = [
    (path, method, operation)
    for path, methods in OPENAPI["paths"].items()
    for method, operation in methods.items()
]
CONTRACT = Path(__file__).parents[1] / "data" / "contract"


def parts(value: Any) -> Iterator[Any]:
    yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        yield from parts(one)


def validator(document: dict[str, Any], name: str) -> Any:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


@pytest.mark.parametrize("document", [OPENAPI, ASYNCAPI], ids=["openapi", "asyncapi"])
def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for part in parts(document):
        if isinstance(part, dict) and isinstance(part.get("$ref"), str):
            found: Any = document
            for key in part["$ref"].removeprefix("#/").split("/"):
                found = found[key]


@pytest.mark.parametrize("document", [OPENAPI, ASYNCAPI], ids=["openapi", "asyncapi"])
def test_every_shape_is_a_valid_schema(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        )


def test_every_route_is_printed_once_under_its_first_address() -> None:
    printed = {(path, method) for path, method, _ in OPERATIONS}
    for route in ROUTES:
        path = route.path
        for first, *others in BASES.values():
            for alias in others:
                path = re.sub(f"^{alias}/", f"{first}/", path)
        assert (path, route.method.lower()) in printed
    assert len({operation["operationId"] for *_, operation in OPERATIONS}) == len(OPERATIONS)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_route_says_what_it_does_and_what_it_answers(route: Route) -> None:
    summary = (route.function.__doc__ or "").partition("\n\n")[0].strip()
    assert re.match(r"[A-Z].*\.", summary, re.DOTALL), "its function's docstring is a sentence"
    assert (route.answer is None) == (route.status == 204)


@pytest.mark.parametrize("shape", EXAMPLES, ids=lambda shape: shape.__name__)
def test_an_example_is_valid_in_both_readings(shape: type[msgspec.Struct]) -> None:
    validator(OPENAPI, shape.__name__).validate(EXAMPLES[shape])
    decode_body(json.dumps(EXAMPLES[shape]).encode(), shape)


def test_the_contract_is_valid_by_the_reference() -> None:
    shapes = {
        "create_task": "CreateTask",
        "client_details": "ClientDetails",
        "task_list": "TaskList",
        "error": "ErrorEnvelope",
    }
    for name, shape in shapes.items():
        body = json.loads((CONTRACT / "rest" / f"{name}.json").read_text())
        validator(OPENAPI, shape).validate(body)
    for path in (CONTRACT / "agent").glob("*.json"):
        message = ASYNCAPI["components"]["messages"][path.stem]
        name = message["payload"]["$ref"].rpartition("/")[2]
        validator(ASYNCAPI, name).validate(json.loads(path.read_text()))


TASKS = st.fixed_dictionaries(
    {"name": st.just("model")},
    optional={
        "url": st.sampled_from([None, "http://host/models/m/1", "/models/m/1", "ftp://host", ""]),
        "version": st.sampled_from([None, "1.0", "", "a b"]),
        "distributed": st.booleans(),
        "n_clients": st.sampled_from([1, 2, 3.0, 2.5, 0]),
        "batch_size": st.sampled_from([None, 32, 32.0, 0]),
        "learning_rate": st.sampled_from([None, 0.1, 1]),
        "config": st.dictionaries(st.sampled_from(["batch_size", "learning_rate", "x"]), st.none()),
    },
)
TOKENS = st.fixed_dictionaries(
    {"name": st.just("ada"), "role": st.sampled_from(["agent", "admin", "king"])},
    optional={"client_id": st.sampled_from([None, "ws1", ""])},
)


@given(st.tuples(st.just(CreateTask), TASKS) | st.tuples(st.just(CreateToken), TOKENS))
def test_the_server_takes_what_the_schema_allows_and_nothing_else(
    asked: tuple[type[msgspec.Struct], dict[str, Any]],
) -> None:
    shape, body = asked
    try:
        decode_body(json.dumps(body).encode(), shape)
        taken = True
    except WireError:
        taken = False
    assert taken == validator(OPENAPI, shape.__name__).is_valid(body)


def test_a_broken_rule_names_the_field_and_what_was_expected() -> None:
    body = b'{"name": "m", "version": "1", "n_clients": 2}'
    with pytest.raises(WireError) as refused:
        decode_body(body, CreateTask)
    rule = RULES[CreateTask][0]
    assert (refused.value.message, refused.value.field, refused.value.expected) == (
        rule.message,
        rule.field,
        rule.expected,
    )


class Page(HTMLParser):
    """Ids, links and tags of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(page.html(OPENAPI))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.ids += [value for name, value in attributes if name == "id" and value]
        self.links += [value for name, value in attributes if name in ("href", "src") and value]


def test_the_page_leads_only_to_itself_and_runs_nothing() -> None:
    shown = Page()
    assert {link.removeprefix("#") for link in shown.links} <= set(shown.ids)
    assert len(shown.ids) == len(set(shown.ids))
    assert not shown.tags & {"script", "link", "img", "iframe", "object"}
    assert {operation["operationId"] for *_, operation in OPERATIONS} <= set(shown.ids)


def test_the_page_shows_what_is_written_and_not_what_it_could_mean() -> None:
    document = {**OPENAPI, "info": {**OPENAPI["info"], "description": "<script>`a<b`</script>"}}
    assert "&lt;script&gt;<code>a&lt;b</code>&lt;/script&gt;" in page.html(document)
