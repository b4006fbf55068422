"""`python -m aifarm.cli` is `aifarm`."""

from aifarm.cli import main

main()
