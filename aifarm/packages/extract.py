"""Functions and classes of a notebook as one Python file: by their source, with all they use.

Pure: cells in, text out. Nothing is run, and what cannot be made again elsewhere is refused with
the cell and the line that use it.
"""

import ast
import builtins
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from aifarm.packages.cells import Statement, read
from aifarm.packages.manifest import PackageInvalid

MODULE_NAMES = {"__name__", "__file__", "__doc__", "__builtins__", "__annotations__"}
NOTEBOOK_NAMES = {"get_ipython", "display", "input", "globals", "In", "Out", "_", "__", "___"}
"""What a notebook's code can look up, and a training process cannot, or not to the same end."""


class Problem(Struct, frozen=True):
    """Why `name` cannot travel; `cell` (counted from 1) and `line` use it, None where the caller
    asked for it."""

    name: str
    cell: int | None
    line: int | None
    sentence: str


class CannotTravel(PackageInvalid):
    """Cells that cannot become a package; the message has each of the `problems`."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(" ".join(problem.sentence for problem in problems))
        self.problems = tuple(problems)


class Place(Struct, frozen=True):
    """`first` (a line of the file, from 1) and the `count` - 1 after it are the cell's from `line`
    on."""

    first: int
    count: int
    cell: int
    line: int


class Source(Struct, frozen=True):
    """The `text` of the file; `values` are the names that it assigns at its top level."""

    text: str
    values: tuple[str, ...]
    places: tuple[Place, ...]

    def place(self, line: int) -> tuple[int, int] | None:
        """The cell and the line in it that a line of the text was taken from."""
        for place in self.places:
            if place.first <= line < place.first + place.count:
                return place.cell, place.line + line - place.first
        return None


def extract(cells: Sequence[str], wanted: Iterable[str]) -> Source:
    """The file that defines the names `wanted` as `cells` did, which ran in this order.

    The same definitions give the same text, whatever else the notebook holds and how often it
    ran. Raises CannotTravel.
    """
    trace = _Trace(read(cells))
    for name in wanted:
        trace.need(name, None)
    if trace.problems:
        raise CannotTravel([*trace.problems.values()])
    return trace.source()


def defined(cells: Sequence[str]) -> dict[str, list[str]]:
    """What each name was that the cells bound, one after the other: "function", "class", "import",
    "value", or "" where that cannot be made again elsewhere."""
    found = defaultdict[str, list[str]](list)
    for statement in read(cells):
        for name in statement.binds:
            found[name].append("" if statement.refusal else _what(statement))
    return dict(found)


def _what(statement: Statement) -> str:
    match statement.node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return "function"
        case ast.ClassDef():
            return "class"
        case ast.Import() | ast.ImportFrom():
            return "import"
    return "value"


class _Trace:
    """Follows names through the statements, which are spoken of by their number."""

    def __init__(self, statements: list[Statement]) -> None:
        self._statements = statements
        self._bindings = defaultdict[str, list[int]](list)
        self._changes = defaultdict[str, list[tuple[int, str]]](list)
        self._globals: dict[str, str] = {}
        self._stars: list[int] = []
        for number, statement in enumerate(statements):
            for name in statement.binds:
                self._bindings[name].append(number)
            for name, line in statement.changes():
                self._changes[name].append((number, f"In [{statement.cell}] line {line}"))
            for name in statement.set_by_functions():
                self._globals[name] = statement.place
            if statement.is_star and not statement.refusal:
                self._stars.append(number)
        self._taken: set[int] = set()
        self.problems: dict[str, Problem] = {}

    # ------------------------------------------------------------ following

    def need(self, name: str, user: int | None) -> None:
        """Takes along what defines `name`, which the statement `user` looks up."""
        winner = self._winner(name)
        if winner is None:
            self._need_unbound(name, user)
            return
        statement = self._statements[winner]
        if reason := self._refusal(name, winner):
            self._refuse(name, user, reason)
            return
        if winner in self._taken:
            return
        self._taken.add(winner)
        if statement.is_root:
            self._take_submodules(name)
        for used in sorted((statement.now - statement.binds) | statement.later):
            self.need(used, winner)
        for used in sorted(statement.now - statement.binds):
            self._check_unchanged(used, winner)

    def _need_unbound(self, name: str, user: int | None) -> None:
        if name in NOTEBOOK_NAMES:
            self._refuse(name, user, "has no place in a training process: leave it out")
        elif user is None:
            self._refuse(name, None, "is defined by no cell that ran: run the one that does")
        elif not (hasattr(builtins, name) or name in MODULE_NAMES):
            if not self._stars:
                how = "define it in one, or pass it through the config"
                self._refuse(name, user, f"comes from no cell that ran: {how}")
            self._taken.update(self._stars)

    def _winner(self, name: str) -> int | None:
        """The statement that last bound `name`."""
        return self._bindings[name][-1] if self._bindings.get(name) else None

    def _refusal(self, name: str, winner: int) -> str:
        statement = self._statements[winner]
        if statement.refusal:
            how = "make it by a function, an import, or one assignment"
            return f"{statement.refusal} ({statement.place}): {how}"
        if name in self._globals:
            return f"is set by a function, as global ({self._globals[name]}): return it instead"
        later = [place for number, place in self._changes[name] if number > winner]
        if later and not statement.is_import:
            return f"was changed after it was made ({later[0]}): make it in one assignment"
        return ""

    def _take_submodules(self, name: str) -> None:
        """`import a.b` and `import a.c` both bind a, and both are needed."""
        self._taken.update(n for n in self._bindings[name] if self._statements[n].is_root)

    def _check_unchanged(self, name: str, user: int) -> None:
        """What `user` looked up when it ran must still be what the name means."""
        before = [number for number in self._bindings.get(name, ()) if number < user]
        winner = self._winner(name)
        if not before or winner is None:
            return
        then, now = self._statements[before[-1]], self._statements[winner]
        if not (then.same(now) or (then.is_import and now.is_import)):
            cell = self._statements[user].cell
            reason = f"was defined anew since ({now.place}): run In [{cell}] again"
            self._refuse(name, user, reason)

    def _refuse(self, name: str, user: int | None, reason: str) -> None:
        if user is None:
            problem = Problem(name, None, None, f"`{name}` {reason}.")
        else:
            statement = self._statements[user]
            line = statement.line_of(name)
            by = min(statement.binds, default="a cell")
            where = f"which {by} uses (In [{statement.cell}] line {line}),"
            problem = Problem(name, statement.cell, line, f"`{name}`, {where} {reason}.")
        self.problems.setdefault(name, problem)

    # ------------------------------------------------------------ writing

    def source(self) -> Source:
        lines: list[str] = []
        places: list[Place] = []
        values: set[str] = set()
        before: Statement | None = None
        for statement, written in [*self._imports(), *self._definitions()]:
            lines += [""] * _blank(before, statement)
            before = statement
            places.append(Place(len(lines) + 1, len(written), statement.cell, statement.line))
            lines += written
            if _what(statement) == "value":
                values |= statement.binds
        return Source("\n".join(lines).strip("\n") + "\n", tuple(sorted(values)), tuple(places))

    def _imports(self) -> Iterator[tuple[Statement, tuple[str, ...]]]:
        """One line for each import of a cell, with the names that are needed, once."""
        grouped: dict[tuple[int, int, str | None], list[Statement]] = {}
        for number, statement in enumerate(self._statements):
            module = getattr(statement.node, "module", None)
            future = module == "__future__"  # what a cell imports from there counts for all later
            if future or (number in self._taken and statement.is_import):
                line = 0 if future else statement.node.lineno
                key = (0 if future else statement.cell, line, module)
                grouped.setdefault(key, []).append(statement)
        known: set[str] = set()
        for _, parts in sorted(grouped.items(), key=lambda item: item[0][:2]):
            new = {ast.unparse(part.node): part.node for part in parts}
            nodes = [node for text, node in new.items() if text not in known]
            known |= new.keys()
            aliases = [alias for node in nodes for alias in node.names]  # type: ignore[attr-defined]
            if aliases:
                node = parts[0].node
                whole: ast.stmt = ast.Import(aliases)
                if isinstance(node, ast.ImportFrom):
                    whole = ast.ImportFrom(node.module, aliases, node.level)
                yield parts[0], (ast.unparse(whole),)

    def _definitions(self) -> Iterator[tuple[Statement, tuple[str, ...]]]:
        """As they ran, but what one needs to run comes before it."""
        done: list[int] = []
        seen: set[int] = set()

        def put(number: int) -> None:
            if number not in seen:
                seen.add(number)
                for first in self._needed_by(number):
                    put(first)
                    ready(first, set())
                done.append(number)

        def ready(number: int, met: set[int]) -> None:
            """What may be called needs what its body looks up."""
            for later in self._winners(self._statements[number].later):
                if later not in met:
                    met.add(later)
                    put(later)
                    ready(later, met)

        for number in sorted(self._taken):
            put(number)
        for number in done:
            if not self._statements[number].is_import:
                yield self._statements[number], self._statements[number].lines

    def _needed_by(self, number: int) -> list[int]:
        """What must have run before: what it looks up, and what bound its names for a time."""
        statement = self._statements[number]
        earlier = {
            other
            for name in statement.binds
            if self._winner(name) == number
            for other in self._bindings[name]
            if other in self._taken and other < number
        }
        return sorted(earlier | {*self._winners(statement.now - statement.binds)})

    def _winners(self, names: Iterable[str]) -> list[int]:
        found = {self._winner(name) for name in names}
        return sorted(number for number in found if number is not None)


def _blank(before: Statement | None, statement: Statement) -> int:
    """Blank lines between two statements: two around functions and classes, one below imports."""
    kinds = {_what(one) for one in (before, statement) if one is not None}
    if before is None or kinds in ({"import"}, {"value"}):
        return 0
    return 1 if kinds == {"import", "value"} else 2
