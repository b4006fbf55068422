"""The farm as a pure value machine: no I/O, no clock, no randomness, no SQL.

`lifecycle.step` moves one task, `placement.plan` chooses clients, `farm.Farm` holds all tasks and
clients and applies events to them. Time is a field of each event; ids come from outside.
"""
