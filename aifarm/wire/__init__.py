"""What crosses a process boundary, once: agent messages, REST bodies, live feed.

`agent` and `rest` hold the documented contract and its extensions; `codec` turns bytes into
these values and says in one sentence what is wrong with bytes that are not.
"""
