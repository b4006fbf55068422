"""Bytes to messages and back, with one sentence for bytes that are neither.

Client messages may carry their fields flat, as in the contract's examples, or under `data`, as
in its general form. Unknown fields are ignored on the socket (rolling upgrades); REST bodies
refuse them, since their Structs forbid it.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from aifarm.wire.agent import FromClient, FromServer, TaskState
from aifarm.wire.headers import HEADERS
from aifarm.wire.rules import RULES

S = TypeVar("S", bound=Struct)

MAX_DEPTH = 32
"""Nesting accepted in one body or message; deeper ones only serve attacks."""

encode = msgspec.json.Encoder().encode


class WireError(ValueError):
    """`message` is one sentence; `field` the path of what is wrong, "" where it is the whole;
    `expected` what should stand there."""

    def __init__(self, message: str, field: str = "", expected: str = "") -> None:
        # What was sent may be quoted in it: one line of it, and not all of a megabyte.
        self.message = " ".join(message.split())[:500]
        super().__init__(self.message)
        self.field = field[:200]
        self.expected = expected or "valid JSON"


class _General(Struct):
    """The part of a message that tells whether its fields stand flat or under `data`."""

    type: str
    client_id: Raw | UnsetType = UNSET
    timestamp: Raw | UnsetType = UNSET
    data: Raw | UnsetType = UNSET


_general: msgspec.json.Decoder[_General] = msgspec.json.Decoder(_General)
_from_client: msgspec.json.Decoder[FromClient] = msgspec.json.Decoder(FromClient)
_from_server: msgspec.json.Decoder[FromServer] = msgspec.json.Decoder(FromServer)


def decode_client(frame: bytes | str) -> FromClient:
    """A client's message. Raises WireError."""
    try:
        general = _general.decode(frame)
        if isinstance(general.data, Raw):
            fields: dict[str, Any] = msgspec.json.decode(frame)
            nested = fields.pop("data")
            if not isinstance(nested, dict):
                raise WireError("`data` is not an object.", "data", "object")
            message: FromClient = msgspec.convert({**nested, **fields}, FromClient)
        else:
            message = _from_client.decode(frame)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise explain(error, FromClient) from None
    # What is kept of other messages has a shape; unknown fields are ignored, however deep.
    if isinstance(message, TaskState) and _deeper(message.provenance, MAX_DEPTH - 1):
        words = f"It nests deeper than {MAX_DEPTH} levels."
        raise WireError(words, "provenance", f"at most {MAX_DEPTH} levels")
    return message


def decode_server(frame: bytes | str) -> FromServer:
    """A server's message. Raises WireError."""
    try:
        return _from_server.decode(frame)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise explain(error) from None


def decode_body(body: bytes, shape: type[S]) -> S:
    """A REST body as `shape`, its RULES kept. Raises WireError, also for what JSON leaves open:
    keys that stand twice, NUL in a text, and nesting deeper than MAX_DEPTH."""
    if depth(body) > MAX_DEPTH:
        words = f"The body nests deeper than {MAX_DEPTH} levels."
        raise WireError(words, expected=f"at most {MAX_DEPTH} levels")
    if _NUL.search(body):
        raise WireError("The body has NUL in a text.", expected="text without NUL")
    try:
        decoded = _decoded(body, shape)
        json.loads(body, object_pairs_hook=_each_once)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise explain(error, shape) from None
    for rule in RULES.get(shape, ()):
        if not rule.holds(decoded):
            raise WireError(rule.message, rule.field, rule.expected)
    return decoded


def _each_once(pairs: list[tuple[str, Any]]) -> None:
    seen = set()
    for name, _ in pairs:
        if name in seen:
            raise WireError(f"{name!r} stands twice in one object.", name, "each name once")
        seen.add(name)


def _decoded(body: bytes, shape: type[S]) -> S:
    """JSON has one kind of number: where an integer is wanted, 5.0 is one."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        refusal = error
    if _NOT_WHOLE.match(str(refusal)) is None:
        raise refusal
    value = msgspec.json.decode(body)
    while _made_whole(value, refusal):
        try:
            return msgspec.convert(value, shape)
        except msgspec.ValidationError as error:
            refusal = error
    raise refusal


def _made_whole(value: Any, refusal: msgspec.ValidationError) -> bool:
    """Whether the float that was refused is a whole number, and is an int in `value` now."""
    found = _NOT_WHOLE.match(str(refusal))
    if found is None:
        return False
    *parents, name = found[1].split(".")
    for parent in parents:
        value = value[parent]
    whole = value[name].is_integer()
    if whole:
        value[name] = int(value[name])
    return bool(whole)


_NOT_WHOLE = re.compile(r"Expected `int.*`, got `float` - at `\$\.([\w.]+)`$")


def decode_query(values: Mapping[str, Sequence[str]], shape: type[S]) -> S:
    """A query's text values as `shape`: only a list takes several of a parameter. Raises
    WireError naming the parameter."""
    lists = _lists(shape)
    asked = {name: found if name in lists else found[0] for name, found in values.items()}
    for name, found in values.items():
        if len(found) > 1 and name not in lists:
            raise WireError(f"The parameter {name!r} stands there twice.", name, "one value")
    try:
        query = msgspec.convert(asked, shape, strict=False)
        for name, value in asked.items():
            found = getattr(query, name)
            # Text that is read as null, or as seconds since the epoch, is neither to us.
            if found is None or (isinstance(found, datetime) and value[4:5] != "-"):
                raise WireError(f"{value!r} is no value for {name}: leave it out.", name)
        return query
    except msgspec.ValidationError as error:
        wrong = explain(error, shape)
        if wrong.expected != NO_SUCH_FIELD:
            raise wrong from None
        known = ", ".join(field.name for field in msgspec.structs.fields(shape))
        words = f"it takes {known}" if known else "it takes none"
        words = f"Unknown parameter {wrong.field!r}: {words}."
        raise WireError(words, wrong.field, known or "no parameter") from None


@cache
def _lists(shape: type[Struct]) -> frozenset[str]:
    """Names of the fields that are lists."""
    fields = msgspec.inspect.type_info(shape).fields  # type: ignore[attr-defined]
    return frozenset(
        field.name for field in fields if isinstance(field.type, msgspec.inspect.ListType)
    )


def check_headers(given: Mapping[str, str], names: Iterable[str]) -> None:
    """Whether the HEADERS of these names are what they may be. Raises WireError naming the one."""
    for name in names:
        text, header = given.get(name), HEADERS[name]
        if text is None and not header.required:
            continue
        try:
            msgspec.convert(text, header.shape)
        except msgspec.ValidationError as error:
            wrong = explain(error)
            what = wrong.message if text is not None else "it is missing"
            words = f"The header {name} is not valid: {what}."
            raise WireError(words, name, wrong.expected) from None


_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKETS = re.compile(rb"[^\[\]{}]+")


def depth(body: bytes) -> int:
    """Deepest nesting of arrays and objects in JSON text, valid or not."""
    level = deepest = 0
    for char in _BRACKETS.sub(b"", _STRING.sub(b"", body)):
        level += 1 if char in b"[{" else -1
        deepest = max(deepest, level)
    return deepest


def _deeper(value: Any, levels: int) -> bool:
    """Whether arrays and objects nest deeper in `value` than that."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(one, levels - 1) for one in inner)


NO_SUCH_FIELD = "no such field"
_EXPECTED = re.compile(r"^Expected (.*?)(?:, got `\w+`)?$")
_MISSING = re.compile(r"missing required field `(\w+)`$")
_UNKNOWN = re.compile(r"unknown field `(.*)`$", re.DOTALL)


def explain(error: Exception, shape: Any = None) -> WireError:
    """msgspec's sentence, with the path it names split off: "… - at `$.task_id`".

    `shape` is what was decoded to: the values that a field allows are read from it.
    """
    if isinstance(error, RecursionError):
        return WireError("The JSON nests too deeply.", expected=f"at most {MAX_DEPTH} levels")
    if not isinstance(error, msgspec.ValidationError):
        return WireError(f"Not valid JSON: {error}")
    text, _, path = str(error).partition(" - at `")
    field = path.rstrip("`").removeprefix("$").removeprefix(".")
    expected = "another value"
    if missing := _MISSING.search(text):
        field, expected = _under(field, missing[1]), "a value"
    elif unknown := _UNKNOWN.search(text):
        return WireError(text, _under(field, unknown[1]), NO_SUCH_FIELD)
    elif sentence := _EXPECTED.match(text):
        expected = sentence[1].replace("`", "")
    elif text.startswith("Invalid"):
        expected = _choices(shape, field) or expected
    elif "out of range" in text:
        expected = "a number of 64 bits"
    return WireError(f"{text} - at `{field}`" if field else text, field, expected)


def _under(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name


def _choices(shape: Any, field: str) -> str:
    """What a field of `shape` may be, where that is a list of words."""
    found = [msgspec.inspect.type_info(shape)] if shape is not None else []
    found = [one for kind in found for one in _alternatives(kind)]
    for name, index, _ in (part.partition("[") for part in field.split(".")):
        inner = [
            part.type
            for kind in found
            for part in getattr(kind, "fields", ())
            if part.encode_name == name
        ]
        tags = [
            getattr(kind, "tag", None) for kind in found if getattr(kind, "tag_field", None) == name
        ]
        if tags:
            return ", ".join(map(str, tags))
        found = [one for kind in inner for one in _alternatives(kind)]
        if index:
            items = [kind.item_type for kind in found if isinstance(kind, msgspec.inspect.ListType)]
            found = [one for kind in items for one in _alternatives(kind)]
    words = [str(word) for kind in found for word in getattr(kind, "values", ())]
    return ", ".join(words)


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return getattr(kind, "types", (kind,))
