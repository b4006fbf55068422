"""The OpenAPI document as one page for people: no script, nothing loaded from elsewhere."""

import json
import re
from collections.abc import Iterable
from html import escape

from aifarm.web.openapi import REF, Document
from aifarm.wire.rest import ErrorEnvelope

ERROR = {"$ref": REF.format(name=ErrorEnvelope.__name__)}

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5a6675; --paper: #fff; --side: #f5f7f9;
  --line: #dfe4ea; --accent: #0b6e4f; --code: #f0f3f6;
  --get: #0b6e4f; --post: #1f5fbf; --put: #96580a; --patch: #6b46b8; --delete: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e8ee; --soft: #9aa7b5; --paper: #12171d;
  --side: #171d24; --line: #2b343e; --accent: #5fd0a5; --code: #1d252e;
  --get: #5fd0a5; --post: #7db1ff; --put: #e8b25c; --patch: #bda0ff; --delete: #ff8f86; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0; color: var(--ink); background: var(--paper); display: grid;
  grid-template-columns: 15rem minmax(0, 1fr); font: 16px/1.55 system-ui, sans-serif; }
nav { position: sticky; top: 0; height: 100vh; overflow-y: auto; padding: 1.75rem 1.25rem;
  background: var(--side); border-right: 1px solid var(--line); }
nav b { display: block; font-size: 1.15rem; }
nav small { color: var(--soft); }
nav ul { list-style: none; margin: 1.5rem 0 0; padding: 0; }
nav li { margin: .1rem 0; }
nav a { display: flex; justify-content: space-between; padding: .2rem .5rem; border-radius: .3rem;
  color: inherit; text-decoration: none; text-transform: capitalize; }
nav a:hover { background: var(--line); }
nav a span { color: var(--soft); font-variant-numeric: tabular-nums; }
main { max-width: 62rem; padding: 1.75rem 2.5rem 6rem; }
h1 { margin: 0 0 .75rem; font-size: 1.9rem; line-height: 1.2; }
h2 { margin: 3rem 0 0; font-size: 1.4rem; text-transform: capitalize; }
h3 a { text-transform: none; }
h3 { margin: 1.4rem 0 .4rem; font-size: .8rem; letter-spacing: .06em; color: var(--soft);
  text-transform: uppercase; }
p { margin: .5rem 0; max-width: 46rem; }
a { color: var(--accent); }
code, pre { font: .875em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
p code, td code, li code { background: var(--code); border-radius: .25rem; padding: .1em .3em; }
pre { background: var(--code); border-radius: .4rem; padding: .8rem 1rem; overflow-x: auto;
  margin: .4rem 0; }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .5rem 0; }
summary { display: grid; grid-template-columns: 4.2rem minmax(0, 1fr) auto; gap: 0 .75rem;
  align-items: baseline; padding: .55rem .9rem; cursor: pointer; list-style: none; }
summary::-webkit-details-marker { display: none; }
summary:hover, details[open] > summary { background: var(--side); border-radius: .5rem; }
summary code { font-weight: 600; overflow-wrap: anywhere; }
summary em { grid-column: 2 / -1; color: var(--soft); font-style: normal; font-size: .92rem; }
summary i { color: var(--soft); font-style: normal; font-size: .82rem; white-space: nowrap; }
.shape summary { grid-template-columns: minmax(0, 1fr); }
.shape summary em { grid-column: 1; }
.verb { font: 700 .78rem ui-monospace, Menlo, Consolas, monospace; color: var(--verb); }
.get { --verb: var(--get); } .post { --verb: var(--post); } .put { --verb: var(--put); }
.patch { --verb: var(--patch); } .delete { --verb: var(--delete); }
details > div { padding: .2rem 1.1rem 1.1rem; border-top: 1px solid var(--line); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
td, th { text-align: left; vertical-align: top; padding: .35rem .8rem .35rem 0;
  border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 500; }
td:first-child { white-space: nowrap; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: .3rem; }
.skip { position: absolute; left: -99rem; } .skip:focus { left: 1rem; top: 1rem; }
@media (max-width: 52rem) { body { grid-template-columns: minmax(0, 1fr); }
  nav { position: static; height: auto; border: 0; border-bottom: 1px solid var(--line); }
  nav ul { display: flex; flex-wrap: wrap; margin-top: .75rem; }
  nav a span { margin-left: .4rem; } main { padding: 1.25rem 1rem 4rem; } }
"""

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} API {version}</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#start">Skip to the text</a>
<nav aria-label="Chapters"><b>{title} API</b><small>version {version}</small>
<ul>{chapters}</ul></nav>
<main id="start">
<h1>{title} API</h1>
{about}
{sections}
<h2 id="errors">Errors</h2>
{errors}
<h2 id="shapes">Shapes</h2>
<p>What bodies and answers are made of.</p>
{shapes}
</main>
</body>
</html>
"""

OPERATION = """\
<details class="{verb}" id="{id}"><summary><span class="verb">{VERB}</span><code>{path}</code>\
<i>{scope}</i><em>{summary}</em></summary><div>
{about}{parameters}{body}{answers}
<h3>Example</h3><pre><code>{curl}</code></pre>
</div></details>
"""

SHAPE = """\
<details class="shape"><summary><code>{name}</code><em>{about}</em></summary>
<div><span id="shape-{name}"></span>{fields}</div></details>
"""


def html(document: Document) -> str:
    """The whole page. `document` is what `openapi.openapi` gives."""
    by_tag: dict[str, list[str]] = {tag["name"]: [] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_tag[operation["tags"][0]].append(_operation(document, path, method, operation))
    schemas = document["components"]["schemas"]
    counts = {tag: len(found) for tag, found in by_tag.items()}
    counts |= {"errors": len(document["components"]["responses"]), "shapes": len(schemas)}
    return PAGE.format(
        style=STYLE,
        title=escape(document["info"]["title"]),
        version=escape(document["info"]["version"]),
        about=_prose(document["info"]["description"]),
        chapters="".join(
            f'<li><a href="#{tag}">{tag} <span>{count}</span></a></li>'
            for tag, count in counts.items()
        ),
        sections="".join(
            f'<h2 id="{tag["name"]}">{tag["name"]}</h2>{_prose(tag["description"])}'
            + "".join(by_tag[tag["name"]])
            for tag in document["tags"]
        ),
        errors=_table(
            ("status", "when"),
            (
                (f"<code>{status}</code>", _inline(answer["description"]))
                for status, answer in document["components"]["responses"].items()
            ),
        ),
        shapes="".join(
            SHAPE.format(
                name=name,
                about=_inline(schema.get("description", "")),
                fields=_fields(schema),
            )
            for name, schema in schemas.items()
        ),
    )


def _operation(document: Document, path: str, method: str, operation: Document) -> str:
    components = document["components"]
    parameters = [_resolved(components, one) for one in operation.get("parameters", ())]
    scopes = [scope for one in operation["security"] for scope in one["token"]]
    return OPERATION.format(
        id=operation["operationId"],
        verb=method,
        VERB=method.upper(),
        path=escape(path),
        scope=f"needs {escape(scopes[0])}" if scopes else "needs no token",
        summary=_inline(operation["summary"]),
        about=_prose(operation["description"]),
        parameters=_parameters(parameters),
        body=_body(components, operation),
        answers=_answers(components, operation),
        curl=escape(_curl(path, method, operation, parameters)),
    )


def _resolved(components: Document, one: Document) -> Document:
    if "$ref" not in one:
        return one
    kind, name = one["$ref"].split("/")[-2:]
    found: Document = components[kind][name]
    return found


def _parameters(parameters: Iterable[Document]) -> str:
    rows = [
        (
            f"<code>{escape(one['name'])}</code>",
            one["in"] + (", required" if one.get("required") and one["in"] != "path" else ""),
            _kind(one["schema"]),
            _inline(one.get("description", "")) or _default(one["schema"]),
        )
        for one in parameters
    ]
    return f"<h3>Parameters</h3>{_table(('name', 'where', 'type', ''), rows)}" if rows else ""


def _body(components: Document, operation: Document) -> str:
    if "requestBody" not in operation:
        return ""
    ((media, content),) = operation["requestBody"]["content"].items()
    if "schema" not in content:
        return f"<h3>Body</h3><p>The bytes, as <code>{escape(media)}</code>.</p>"
    name = content["schema"]["$ref"].rpartition("/")[2]
    shape = components["schemas"][name]
    about = _prose(shape.get("description", ""))
    return f"<h3>Body: {_kind(content['schema'])}</h3>{about}{_fields(shape)}"


def _answers(components: Document, operation: Document) -> str:
    rows, refusals = [], []
    for status, answer in operation["responses"].items():
        if status in components["responses"]:
            refusals.append(f'<a href="#errors"><code>{status}</code></a>')
            continue
        shapes = (
            _kind(content["schema"]) if content.get("schema") else f"<code>{escape(media)}</code>"
            for media, content in answer.get("content", {}).items()
        )
        words = _inline(answer["description"])
        rows.append((f"<code>{status}</code>", " or ".join(shapes), words))
    rows.append((" ".join(refusals), _kind(ERROR), "Refused."))
    return f"<h3>Answers</h3>{_table(('status', 'shape', 'when'), rows)}"


def _fields(schema: Document) -> str:
    required = schema.get("required", ())
    rows = [
        (
            f"<code>{escape(name)}</code>",
            _kind(field),
            "required" if name in required else _default(field),
        )
        for name, field in schema.get("properties", {}).items()
    ]
    return _table(("field", "type", ""), rows)


def _default(field: Document) -> str:
    value = field.get("default")
    if value in (None, "", {}, []):
        return ""
    return f"default <code>{escape(json.dumps(value))}</code>"


def _kind(field: Document) -> str:
    """A schema in words."""
    if "$ref" in field:
        name = escape(field["$ref"].rpartition("/")[2])
        return f'<a href="#shape-{name}">{name}</a>'
    if "anyOf" in field:
        return " or ".join(_kind(one) for one in field["anyOf"])
    if "enum" in field:
        return " or ".join(f"<code>{escape(json.dumps(one))}</code>" for one in field["enum"])
    kind = escape(field.get("format") or field.get("type") or "any JSON")
    if kind == "array":
        return f"list of {_kind(field['items'])}" if field.get("items") else "list"
    if kind == "object" and isinstance(field.get("additionalProperties"), dict):
        return f"object of {_kind(field['additionalProperties'])}"
    return kind + _range(field)


def _range(field: Document) -> str:
    low = field.get("minimum", field.get("exclusiveMinimum"))
    high = field.get("maximum")
    if low is None or high is None:
        return ""
    above = "above " if "exclusiveMinimum" in field else ""
    return f", {above}{low:,} to {int(high):,}"


def _curl(path: str, method: str, operation: Document, parameters: list[Document]) -> str:
    words = ["curl"]
    if operation["security"]:
        words.append('-H "Authorization: Bearer $AIFARM_TOKEN"')
    words += [
        f'-H "{one["name"]}: ${re.sub(r"[^A-Z]", "_", one["name"].upper())}"'
        for one in parameters
        if one["in"] == "header" and one.get("required")
    ]
    if method != "get":
        words.append(f"-X {method.upper()}")
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        words.append(f"-H 'Content-Type: {media}'")
        example = content.get("example")
        body = json.dumps(example, indent=2).replace("\n", "\n  ")
        words.append(f"-d '{body}'" if example else "--data-binary @FILE")
    address = re.sub(r"\{(\w+)\}", lambda name: f"${name[1].upper()}", path)
    return " \\\n  ".join([f'{words[0]} "$AIFARM_URL{address}"', *words[1:]])


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    heads = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    lines = "".join(f"<tr>{''.join(f'<td>{c}</td>' for c in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{heads}</tr>{lines}</table></div>'


def _prose(text: str) -> str:
    paragraphs = (one.strip() for one in text.split("\n\n"))
    return "".join(f"<p>{_inline(one)}</p>" for one in paragraphs if one)


def _inline(text: str) -> str:
    """Escaped, with `code` and **bold** as they are meant."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))
    return re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", marked)
