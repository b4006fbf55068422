"""The call that does the same as a form, to copy into a cell or a script."""

from pathlib import Path

import anywidget
import traitlets


class Snippet(anywidget.AnyWidget):
    """Python to read, with a button that copies it."""

    _esm = Path(__file__).with_name("snippet.js").read_text()
    text = traitlets.Unicode().tag(sync=True)
