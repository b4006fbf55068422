"""The agent: the program on a workstation that runs tasks of the farm.

`session` decides and does no I/O; `outbox` remembers what the server has not acknowledged;
`supervisor` runs the workers; `transfers` moves packages and checkpoints; `runtime` joins them.
"""

__version__ = "0.1.0"
