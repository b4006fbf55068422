"""What a Glob names: said by tasks, used by the agent and by the server alike."""

from collections.abc import Iterable
from fnmatch import fnmatchcase


def named(path: str, globs: Iterable[str]) -> bool:
    """Whether one of the globs names the path."""
    return any(matches(path, glob) for glob in globs)


def matches(path: str, glob: str) -> bool:
    """Whether `glob` names the path, or a folder that it is in. `*` stays within a component, `**`
    is any number of them."""
    pattern = [part for part in glob.split("/") if part not in ("", ".")]
    reached = {0}
    for part in path.split("/"):
        for at in range(len(pattern)):
            if at in reached and pattern[at] == "**":
                reached.add(at + 1)
        if len(pattern) in reached:
            return True
        reached = {
            at if pattern[at] == "**" else at + 1
            for at in reached
            if pattern[at] == "**" or fnmatchcase(part, pattern[at])
        }
    return len(pattern) in reached
