"""REST, sockets and pages over the facade. `ROUTES` is data; `bind` builds handlers for a host."""
