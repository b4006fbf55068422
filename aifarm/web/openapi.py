"""The REST API as an OpenAPI 3.1 document, drawn from ROUTES and the wire Structs.

Nothing is described here that stands elsewhere: shapes are the Structs', rules across fields are
`wire.rules`, and what an address does is told by its function's docstring.
"""

import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct, json

import aifarm
from aifarm.app.errors import STATUS
from aifarm.app.scopes import SCOPES, Scope
from aifarm.web.handler import VERSIONS, version_of
from aifarm.web.http import Route
from aifarm.wire.examples import EXAMPLES
from aifarm.wire.headers import HEADERS
from aifarm.wire.query import Query
from aifarm.wire.rest import ErrorEnvelope
from aifarm.wire.rules import RULES

Document = dict[str, Any]

REF = "#/components/schemas/{name}"

ABOUT = """\
One farm: its tasks, its clients (the workstations), and what they measure.

**Versions.** Addresses under `/api` are version 1, which is frozen; they answer under `/api/v1` and
`/v1` too. Version 2 shows more, under `/api/v2` and `/v2`. An answer names its version in
`X-API-Version`.

**Identity.** Every request carries `Authorization: Bearer TOKEN`; `aifarm token create` makes one.
A token's role has scopes, and each address names the scope that it needs.

**Units.** Memory in MiB, progress in percent (0 to 100), times in ISO 8601 UTC, durations in
seconds. In version 1 a number that is not known is 0; in version 2 it is null.

**Errors** come in one envelope, with a code, a sentence that says what to do, and details: mostly
the `field` to blame and what was `expected`. Nothing that was refused has changed anything.
"""

PARAMETERS = {
    "task_id": "A task's id.",
    "client_id": "A client's id, as its agent names it.",
    "checkpoint_id": "The id of one of the task's checkpoints.",
    "upload_id": "The id that the beginning of an upload answered.",
    "token_id": "A token's id; its secret is not asked for.",
    "sha256": "The sha256 of data, in hexadecimal digits.",
    "number": "The number of a part, from 0.",
    "name": "A package's name.",
    "version": "A package's version.",
    "path": "A file's path under the task's working folder.",
}

_COUNT = {"type": "integer", "minimum": 0}
ANSWER_HEADERS: dict[str, Document] = {
    "X-API-Version": {
        "description": "Version of the API that answered.",
        "required": True,
        "schema": {"enum": ["1.0", "2.0"]},
    },
    "X-RateLimit-Limit": {"description": "Requests in one window of 60 s.", "schema": _COUNT},
    "X-RateLimit-Remaining": {"description": "What is left of them.", "schema": _COUNT},
    "X-RateLimit-Reset": {
        "description": "When the next window begins, in seconds since the epoch.",
        "schema": _COUNT,
    },
    "X-Total-Count": {"description": "Entries of the whole list.", "schema": _COUNT},
    "X-Page-Count": {"description": "Pages of the whole list.", "schema": _COUNT},
    "Link": {
        "description": "Where the first, previous, next and last page are, the filters kept.",
        "schema": {"type": "string"},
    },
    "Retry-After": {"description": "Seconds to wait before the next try.", "schema": _COUNT},
    "ETag": {"description": "The content's sha256.", "schema": {"type": "string"}},
    "Content-Range": {"description": "Which bytes these are.", "schema": {"type": "string"}},
}
_ALWAYS = ("X-API-Version", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")

SUCCESS = {
    200: "Done.",
    201: "Made.",
    204: "Done; there is nothing to say.",
    206: "The part that Range asked for.",
}

REFUSAL = {
    400: "What was sent is not valid: nothing of it was done.",
    401: "There is no token, or it is not valid (any more).",
    403: "The token may not do that.",
    404: "There is no such thing.",
    409: "It contradicts what is already so.",
    413: "The body is larger than the farm takes.",
    429: "Too many requests; Retry-After says how long to wait.",
    503: "The farm cannot do that now; try again soon.",
}


def openapi(routes: Iterable[Route], bases: dict[int, tuple[str, ...]]) -> Document:
    """`bases`: where each version answers; only the first of each is printed."""
    aliases = tuple(f"{base}/" for others in bases.values() for base in others[1:])
    shown = [route for route in routes if not route.path.startswith(aliases)]
    paths: dict[str, Document] = {}
    for route in shown:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "AI Farm",
            "version": aifarm.__version__,
            "summary": "PyTorch training on a lab's workstations.",
            "description": ABOUT,
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in _tags(shown)],
        "paths": paths,
        "components": {
            "schemas": schemas(_shapes(shown)),
            "headers": ANSWER_HEADERS,
            "parameters": {
                name: {
                    "name": name,
                    "in": "header",
                    "description": header.about,
                    "required": header.required,
                    "schema": json.schema(header.shape),
                }
                for name, header in HEADERS.items()
            },
            "responses": {str(status): _refusal(status) for status in REFUSAL},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of `aifarm token create`. Roles and their scopes: "
                    + "; ".join(f"{role}: {', '.join(sorted(s))}" for role, s in SCOPES.items())
                    + ".",
                }
            },
        },
    }


def schemas(shapes: Iterable[Any]) -> dict[str, Document]:
    """JSON Schemas of these types and all they are made of, with the rules across their fields."""
    rules = {shape.__name__: [rule.schema for rule in RULES[shape]] for shape in RULES}
    _, found = json.schema_components(list(shapes), ref_template=REF)
    for name, schema in found.items():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
        if name in rules:
            schema["allOf"] = rules[name]
    return dict(sorted(found.items()))


def _shapes(routes: Iterable[Route]) -> list[type[Struct]]:
    named = {shape for route in routes for shape in (route.body, route.answer)}
    shapes = {shape for shape in named if isinstance(shape, type)} | {ErrorEnvelope}
    return sorted(shapes, key=lambda shape: shape.__name__)


def _tags(routes: Iterable[Route]) -> Iterator[tuple[str, str]]:
    """Each module of functions is a chapter; its docstring says what of."""
    for module in dict.fromkeys(route.function.__module__ for route in routes):
        yield _tag(module), (inspect.getdoc(sys.modules[module]) or "").partition("\n\n")[0]


def _tag(module: str) -> str:
    return module.rpartition(".")[2]


def _operation(route: Route) -> Document:
    summary, told = _sentence(inspect.getdoc(route.function) or "")
    asked = (inspect.getdoc(route.query) or "") if route.query is not Query else ""
    operation: Document = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_"),
        "tags": [_tag(route.function.__module__)],
        "summary": summary,
        "description": "\n\n".join(text for text in (told, asked) if text),
        "security": [{"token": [route.scope.value]}] if route.scope else [],
    }
    if parameters := [*_path(route), *_query(route), *_headers(route), *_version(route)]:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {
            "required": isinstance(route.body, str) or bool(_shape(route.body)["required"]),
            "content": _content(route.body),
        }
    operation["responses"] = {
        str(status): answer for status, answer in sorted(_responses(route).items())
    }
    return operation


def _sentence(text: str) -> tuple[str, str]:
    """The first sentence in one line, and what follows it."""
    found = re.match(r"(.+?[.!?])(?:\s+|$)(.*)", text, re.DOTALL)
    first, rest = (found[1], found[2]) if found else (text, "")
    return " ".join(first.split()), rest


def _path(route: Route) -> Iterator[Document]:
    for name in re.findall(r"\{(\w+)\}", route.path):
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": PARAMETERS[name],
            "schema": {"type": "string", "minLength": 1},
        }


def _version(route: Route) -> Iterator[Document]:
    version = version_of(route.path)
    if version is not None:
        yield {
            "name": "X-API-Version",
            "in": "header",
            "required": False,
            "description": "The version that the caller was written for: 400 where it is another.",
            "schema": {"enum": [said for said, meant in VERSIONS.items() if meant == version]},
        }


def _query(route: Route) -> Iterator[Document]:
    shape = _shape(route.query)
    for name, field in shape["properties"].items():
        yield {
            "name": name,
            "in": "query",
            "required": name in shape["required"],
            "schema": _stated(field),
        }


def _shape(struct: type[Struct]) -> Document:
    schema: Document = json.schema(struct)["$defs"][struct.__name__]
    return schema


def _stated(field: Document) -> Document:
    """Without null: what is not asked for is left out of a query."""
    kinds = [kind for kind in field.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1:
        default = {"default": field["default"]} if field.get("default") is not None else {}
        return {**kinds[0], **default}
    return field


def _headers(route: Route) -> Iterator[Document]:
    for name in route.headers:
        yield {"$ref": f"#/components/parameters/{name}"}


def _content(shape: type[Struct] | str) -> Document:
    if isinstance(shape, str):
        return {shape: {}}
    content: Document = {"schema": {"$ref": REF.format(name=shape.__name__)}}
    if shape in EXAMPLES:
        content["example"] = EXAMPLES[shape]
    return {"application/json": content}


def _responses(route: Route) -> dict[int, Document]:
    answers: dict[int, Document] = {}
    for status in (route.status, *route.also):
        headers = _answer_headers(route, status)
        answers[status] = {"description": SUCCESS[status], "headers": headers}
        if route.answer is not None:
            answers[status]["content"] = _content(route.answer)
    for status in _refusals(route):
        answers[status] = {"$ref": f"#/components/responses/{status}"}
    return answers


def _refusals(route: Route) -> Iterator[int]:
    yield from (400, 429, 503)
    if route.scope is not None:
        yield from (401, 403)
    if "{" in route.path or route.scope is Scope.SUBMIT:
        yield 404
    if route.method != "GET":
        yield 409
    if route.body is not None:
        yield 413


def _answer_headers(route: Route, status: int) -> Document:
    names = [*_ALWAYS]
    if "page" in route.query.__struct_fields__:
        names += ["X-Total-Count", "X-Page-Count", "Link"]
    if "Range" in route.headers:
        names.append("ETag")
    if status == 206:
        names.append("Content-Range")
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _refusal(status: int) -> Document:
    codes = " or ".join(f"`{code}`" for code, value in STATUS.items() if value == status)
    names = [*_ALWAYS, "Retry-After"] if status in (429, 503) else _ALWAYS
    return {
        "description": f"{codes}: {REFUSAL[status]}",
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
        "content": _content(ErrorEnvelope),
    }
