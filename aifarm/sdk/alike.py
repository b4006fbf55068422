"""Whether what was made of a notebook's cells is what the notebook itself holds."""

import ast
import linecache
from collections.abc import Mapping
from types import CodeType, FunctionType
from typing import Any

from aifarm.packages import Source
from aifarm.sdk.errors import InvalidRequest

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def check_code(source: Source, names: Mapping[str, object]) -> None:
    """The functions and classes of `source` must be the ones that `names` have: a cell that failed
    in its middle has not defined the rest. Raises InvalidRequest."""
    for node in ast.parse(source.text).body:
        if not isinstance(node, _Definition) or not _differs(node, names.get(node.name)):
            continue
        place = source.place(node.lineno)
        where = f"In [{place[0]}] line {place[1]}" if place else "its cell"
        raise InvalidRequest(
            f"`{node.name}` is not in the notebook what {where} makes it: run that cell again."
        )


def check_values(source: Source, names: Mapping[str, object], made: Mapping[str, str]) -> None:
    """The values that `names` have must be those that were `made`, as Python text, where `source`
    assigns them. Raises InvalidRequest."""
    for name in source.values:
        if name in names and name in made and not _same(ast.literal_eval(made[name]), names[name]):
            raise InvalidRequest(
                f"`{name}` is {names[name]!r:.100} in the notebook, but its cell makes it "
                f"{made[name]:.100}: run that cell again, or make it in one assignment."
            )


def check_model(model: Any, made: Mapping[str, list[int]]) -> None:
    """The state of `model` must have the entries and shapes that were `made`. Raises
    InvalidRequest."""
    given = {name: list(value.shape) for name, value in model.state_dict().items()}
    different = [name for name in {**given, **made} if given.get(name) != made.get(name)]
    if different:
        name = different[0]
        raise InvalidRequest(
            f"The cells build another model than the one given: {name} is "
            f"{made.get(name, 'missing')} there, {given.get(name, 'missing')} here "
            f"({len(different)} entries differ). Run the cells again that define it, or give the "
            "settings that it was built with as defaults={...}."
        )


def _differs(node: _Definition, live: object) -> bool:
    """Whether `live` was made by another definition, as far as can be told: what a decorator made
    may be anything, and not everything says where it comes from."""
    if node.decorator_list:
        return False
    code = _code(live)
    if code is None:
        return not isinstance(live, type)
    text = "".join(linecache.getlines(code.co_filename))  # the kernel keeps its cells there
    made_by = [
        one
        for one in ast.walk(ast.parse(text))
        if isinstance(one, _Definition)
        and one.lineno <= code.co_firstlineno <= (one.end_lineno or one.lineno)
    ]
    return bool(made_by) and ast.dump(node) not in map(ast.dump, made_by)


def _code(live: object) -> CodeType | None:
    """Of a function, or of one that a class has."""
    functions = [live, *vars(live).values()] if isinstance(live, type) else [live]
    return next((one.__code__ for one in functions if isinstance(one, FunctionType)), None)


def _same(made: object, now: object) -> bool:
    try:
        return type(made) is type(now) and bool(made == now)
    except ValueError:  # an array in it: not plain, as what was made is
        return False
