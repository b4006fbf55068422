"""What the fields of one body ask of each other: checked when it is read, printed in its schema.

Each rule says the same twice, in Python and in JSON Schema, side by side.
"""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from aifarm.wire.requests import BulkTasks, CreateTask, CreateToken
from aifarm.wire.types import JSON

DOCUMENTED = ("batch_size", "learning_rate", "epochs")
"""Hyperparameters with a field of their own; all others stand under `config`."""


class Rule(Struct, frozen=True):
    """`message` and `expected` are for a body of which `holds` is false; `field` is to blame."""

    field: str
    message: str
    expected: str
    holds: Callable[[Any], bool]
    schema: dict[str, JSON]


def _given(name: str, kind: str) -> dict[str, JSON]:
    return {"required": [name], "properties": {name: {"type": kind}}}


def _once(name: str, kind: str) -> Rule:
    return Rule(
        field=f"config.{name}",
        message=f"{name} stands both in the body and in config; give it once.",
        expected="absent",
        holds=lambda body: getattr(body, name) is None or name not in body.config,
        schema={
            "if": _given(name, kind),
            "then": {"properties": {"config": {"not": {"required": [name]}}}},
        },
    )


def _of_agents(name: str) -> Rule:
    return Rule(
        field=name,
        message="Only an agent's token is bound to a client or a label.",
        expected="absent unless role is agent",
        holds=lambda body: getattr(body, name) is None or body.role == "agent",
        schema={
            "if": _given(name, "string"),
            "then": {"properties": {"role": {"const": "agent"}}},
        },
    )


RULES: dict[type[Struct], tuple[Rule, ...]] = {
    CreateTask: (
        Rule(
            field="distributed",
            message="n_clients above 1 needs distributed: true.",
            expected="true where n_clients is above 1",
            holds=lambda body: body.n_clients == 1 or body.distributed,
            schema={
                "if": {"required": ["n_clients"], "properties": {"n_clients": {"minimum": 2}}},
                "then": {
                    "required": ["distributed"],
                    "properties": {"distributed": {"const": True}},
                },
            },
        ),
        Rule(
            field="distributed",
            message="processes_per_client other than 1 needs distributed: true.",
            expected="true where processes_per_client is not 1",
            holds=lambda body: body.processes_per_client == 1 or body.distributed,
            schema={
                "if": {
                    "required": ["processes_per_client"],
                    "properties": {"processes_per_client": {"not": {"const": 1}}},
                },
                "then": {
                    "required": ["distributed"],
                    "properties": {"distributed": {"const": True}},
                },
            },
        ),
        Rule(
            field="version",
            message="Say which package: a url, or name and version.",
            expected="a published version of the package",
            holds=lambda body: body.url is not None or body.version is not None,
            schema={"anyOf": [_given("url", "string"), _given("version", "string")]},
        ),
        *(_once(name, "number") for name in DOCUMENTED),
    ),
    BulkTasks: (
        Rule(
            field="ids",
            message="Give either ids or a filter.",
            expected="one of the two",
            holds=lambda body: (body.ids is None) != (body.filter is None),
            schema={"oneOf": [_given("ids", "array"), _given("filter", "object")]},
        ),
        Rule(
            field="tags",
            message="Only tag and untag take tags.",
            expected="absent",
            holds=lambda body: not body.tags or body.action in ("tag", "untag"),
            schema={
                "if": {"required": ["tags"], "properties": {"tags": {"minItems": 1}}},
                "then": {"properties": {"action": {"enum": ["tag", "untag"]}}},
            },
        ),
    ),
    CreateToken: (_of_agents("client_id"), _of_agents("label")),
}
