"""The states in which a task stays for good."""

FINAL = frozenset({"completed", "failed", "stopped"})
