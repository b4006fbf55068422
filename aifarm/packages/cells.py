"""A notebook's cells as statements: what each one binds, and what it looks up when."""

import ast
import symtable
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

NOTEBOOK_ONLY = {"IPython", "ipykernel", "ipywidgets", "anywidget", "google.colab"}
"""Modules whose values live in a notebook and nowhere else."""

MUTATORS = {
    *("add", "append", "clear", "discard", "extend", "insert", "load_state_dict", "pop"),
    *("popitem", "remove", "reverse", "setdefault", "sort", "update"),
}
"""Methods that change what they are called on, besides torch's, which end with `_`."""

# Scopes that run as part of the statement that they stand in.
_COMPREHENSIONS = {"listcomp", "setcomp", "dictcomp", "genexpr"}
_AT_ONCE = {"class", "type parameters"}

# How a name came about, where that cannot be done again elsewhere.
_MADE = {
    ast.For: "was made by a for loop",
    ast.AsyncFor: "was made by a for loop",
    ast.While: "was made by a while loop",
    ast.With: "was made in a with block",
    ast.AsyncWith: "was made in a with block",
    ast.AugAssign: "was made from its own earlier value",
    ast.Delete: "was deleted",
    ast.If: "was made in an if block that does more than define",
    ast.Try: "was made in a try block that does more than define",
}
_OWN_VALUE = "was made from its own earlier value"

_Block = ast.If | ast.Try
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_Import = ast.Import | ast.ImportFrom
_Value = ast.Assign | ast.AnnAssign


class Statement(Struct, frozen=True, eq=False):
    """One statement at the top level of cell number `cell`, which begins on its line `line`.

    `lines` are its text with the comment right above it. It `binds` names; it looks up those of
    `now` when it runs, those of `later` when what it defines is called. `refusal` says of
    its names why it cannot run again elsewhere; "" where it can.
    """

    cell: int
    line: int
    lines: tuple[str, ...]
    node: ast.stmt
    binds: frozenset[str]
    now: frozenset[str]
    later: frozenset[str]
    refusal: str

    @property
    def place(self) -> str:
        return f"In [{self.cell}] line {self.node.lineno}"

    @property
    def is_import(self) -> bool:
        return isinstance(self.node, _Import)

    @property
    def is_root(self) -> bool:
        """Whether it binds the first of a module's names, as `import a.b` does."""
        return isinstance(self.node, ast.Import) and self.node.names[0].asname is None

    @property
    def is_star(self) -> bool:
        return isinstance(self.node, ast.ImportFrom) and self.node.names[0].name == "*"

    def same(self, other: "Statement") -> bool:
        """Whether both say the same, in whatever cell."""
        return ast.dump(self.node) == ast.dump(other.node)

    def line_of(self, name: str) -> int:
        """The cell's line where `name` is first used."""
        lines = [
            node.lineno
            for node in ast.walk(self.node)
            if isinstance(node, ast.Name) and node.id == name
        ]
        return min(lines, default=self.node.lineno)

    def changes(self) -> Iterator[tuple[str, int]]:
        """Names whose values it changes in place, each with the line."""
        if isinstance(self.node, _Definition | _Import):
            return
        for node in _walk(self.node):
            for target in _targets(node):
                if isinstance(target, ast.Attribute | ast.Subscript) and (name := _root(target)):
                    yield name, target.lineno

    def set_by_functions(self) -> Iterator[str]:
        """Names that its functions declare global, to assign them."""
        for node in ast.walk(self.node):
            if isinstance(node, ast.Global):
                yield from node.names


def read(cells: Sequence[str]) -> list[Statement]:
    """The statements of `cells` in the order in which they ran; what does not parse never ran.

    Cells count from 1. An import of several names is several statements.
    """
    found: list[Statement] = []
    for number, source in enumerate(cells, 1):
        source = source.replace("\r\n", "\n").replace("\r", "\n")  # as ast counts lines
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        text = source.split("\n")
        for position, node in enumerate(tree.body):
            above = (tree.body[position - 1].end_lineno or 0) if position else 0
            line, lines = _text(source, text, node, above)
            found += (_statement(number, line, lines, part) for part in _parts(node))
    return found


def _statement(cell: int, line: int, lines: tuple[str, ...], node: ast.stmt) -> Statement:
    try:
        table = symtable.symtable(ast.unparse(node), "<cell>", "exec")
    except SyntaxError:  # a top-level await, say: it ran in a notebook, and runs nowhere else
        nothing: frozenset[str] = frozenset()
        stored = frozenset(_stored(node))
        refusal = "was made by what runs in a notebook only"
        return Statement(cell, line, lines, node, stored, nothing, nothing, refusal)
    now, later = set[str](), set[str]()
    _look_ups(table, True, now, later)
    binds = {symbol.get_name() for symbol in table.get_symbols() if _is_bound(symbol)}
    if isinstance(node, ast.Delete):
        binds = {target.id for target in node.targets if isinstance(target, ast.Name)}
    return Statement(
        cell=cell,
        line=line,
        lines=lines,
        node=node,
        binds=frozenset(binds - {"*"}),
        now=frozenset(now),
        later=frozenset(later - now),
        refusal=_refusal(node, binds & now),
    )


def _look_ups(table: symtable.SymbolTable, runs: bool, now: set[str], later: set[str]) -> None:
    """Sorts the module's names that a scope looks up by when it does: as the statement `runs`, or
    once something is called."""
    module = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (module or symbol.is_global()):
            (now if runs else later).add(symbol.get_name())
    for child in table.get_children():
        at_once = child.get_type() in _AT_ONCE or child.get_name() in _COMPREHENSIONS
        _look_ups(child, runs and at_once, now, later)


def _is_bound(symbol: symtable.Symbol) -> bool:
    return symbol.is_assigned() or symbol.is_imported()


def _refusal(node: ast.stmt, own: Iterable[str]) -> str:
    """Why `node` cannot run again elsewhere; `own`: those of its names that it looks up itself."""
    if isinstance(node, _Block):
        for part in _body(node):
            if not isinstance(part, ast.Pass) and _refusal(part, ()):
                return _MADE[type(node)]
        tests = [node.test] if isinstance(node, ast.If) else []
        return next((reason for test in tests if (reason := _value_refusal(test))), "")
    if isinstance(node, _Import):
        module = node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name
        if isinstance(node, ast.ImportFrom) and node.level:
            return "comes from a relative import"
        only = next((one for one in NOTEBOOK_ONLY if f"{module}.".startswith(f"{one}.")), None)
        return f"comes from {only}, which works in a notebook only" if only else ""
    if isinstance(node, _Definition):
        return _OWN_VALUE if any(own) else ""
    if isinstance(node, _Value):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if node.value is None:
            return "has an annotation, but no value"
        if any(own):
            return _OWN_VALUE
        if not all(_only_names(target) for target in targets):
            return "was made together with a part of something else"
        return _value_refusal(node.value)
    return _MADE.get(type(node), "was made by a statement that does more than define")


def _value_refusal(value: ast.expr) -> str:
    for node in ast.walk(value):
        match node:
            case ast.Name(id="get_ipython"):
                return "was made by a command of the notebook (`%` or `!`)"
            case ast.Name(id="input" | "open" as name):
                return f"was made by {name}(), which finds something else elsewhere"
            case ast.NamedExpr() | ast.Await() | ast.Yield() | ast.YieldFrom():
                return "was made by an expression that does more than compute"
    return ""


def _body(block: _Block) -> Iterator[ast.stmt]:
    yield from block.body
    yield from block.orelse
    if isinstance(block, ast.Try):
        yield from block.finalbody
        for handler in block.handlers:
            yield from handler.body


def _parts(node: ast.stmt) -> Iterator[ast.stmt]:
    """An import as one statement for each of its names, anything else as it is."""
    if not isinstance(node, _Import):
        yield node
        return
    for alias in node.names:
        part: ast.stmt = ast.Import([alias])
        if isinstance(node, ast.ImportFrom):
            part = ast.ImportFrom(node.module, [alias], node.level)
        yield ast.copy_location(part, node)


def _text(source: str, text: list[str], node: ast.stmt, above: int) -> tuple[int, tuple[str, ...]]:
    """Its first line, and its lines with the comment right above them, which begins below the
    line `above`. What shares a line with other statements is cut out."""
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    last = node.end_lineno or first
    rest = text[last - 1].encode()[node.end_col_offset or 0 :].decode().strip()
    if node.col_offset or (rest and not rest.startswith("#")):
        return first, tuple((ast.get_source_segment(source, node) or "").split("\n"))
    while first - 1 > above and text[first - 2].startswith("#"):
        first -= 1
    return first, tuple(text[first - 1 : last])


def _only_names(target: ast.expr) -> bool:
    if isinstance(target, ast.Tuple | ast.List):
        return all(_only_names(one) for one in target.elts)
    return isinstance(target.value if isinstance(target, ast.Starred) else target, ast.Name)


def _targets(node: ast.AST) -> list[ast.expr]:
    """What `node` assigns to, deletes, or calls a method on that changes it."""
    match node:
        case ast.Assign() | ast.Delete():
            return node.targets
        case ast.AugAssign() | ast.AnnAssign():
            return [node.target]
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr=method) as called)):
            if method in MUTATORS or (method.endswith("_") and method[0] != "_"):
                return [called]
    return []


def _root(expression: ast.expr) -> str | None:
    """The name that `a.b[c].d` begins with."""
    while isinstance(expression, ast.Attribute | ast.Subscript):
        expression = expression.value
    return expression.id if isinstance(expression, ast.Name) else None


def _stored(node: ast.AST) -> Iterator[str]:
    for part in _walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            yield part.id


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """`node` and what is in it, without the insides of functions and classes."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, _Definition | ast.Lambda):
            yield from _walk(child)
