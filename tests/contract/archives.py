"""What Schemathesis sends where a route takes a package."""

import schemathesis
from hypothesis import strategies as st

from aifarm.packages import pack_source
from integration.running import MODEL

schemathesis.openapi.media_type(
    "application/zip", st.binary() | st.just(pack_source(MODEL, "model", "1.0"))
)
