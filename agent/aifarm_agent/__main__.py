"""`python -m aifarm_agent`: as the `aifarm-agent` command."""

from aifarm_agent.cli import main

main()
