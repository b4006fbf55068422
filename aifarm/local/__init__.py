"""A farm on this machine, for whoever wants one: `aifarm dev`, the demo, a Jupyter server."""
