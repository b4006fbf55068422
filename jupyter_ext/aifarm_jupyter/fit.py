"""What would become of a submission, in words: where it would start, and what the others lack."""

from collections.abc import Iterable
from html import escape

from aifarm.wire import rest


def fit(check: rest.Check) -> str:
    """The farm's answer to a dry run, in HTML."""
    if check.would_start:
        head = f"Would start now on one of: <b>{escape(', '.join(check.fits))}</b>."
    else:
        head = escape(check.summary)
        if check.position:
            head += f" It would be number {check.position} in the queue."
    notes = [*check.hints, *([check.pace] if check.pace else [])]
    rows = [
        *((name, "free", "") for name in check.fits),
        *_missing(check, never=False),
        *_missing(check, never=True),
    ]
    return (
        f'<div role="status" style="margin:0.5em 0"><div>{head}</div>'
        + "".join(f"<div>{escape(note)}</div>" for note in notes)
        + (_table(rows) if check.misses else "")
        + "</div>"
    )


def _missing(check: rest.Check, never: bool) -> Iterable[tuple[str, str, str]]:
    for one in check.misses:
        if one.client not in check.fits and one.never == never:
            yield one.client, "does not fit" if never else "fits, not now", one.reason


def _table(rows: Iterable[tuple[str, str, str]]) -> str:
    cells = "".join(
        f'<tr><th scope="row" style="text-align:left;padding-right:1em">{escape(name)}</th>'
        f'<td style="padding-right:1em;color:{COLOURS[state]}">{state}</td>'
        f"<td>{escape(reason)}</td></tr>"
        for name, state, reason in rows
    )
    return f'<table style="line-height:1.6">{cells}</table>'


# Lab's own, for its light and its dark themes.
COLOURS = {
    "free": "var(--jp-success-color0,#0b6e4f)",
    "fits, not now": "var(--jp-warn-color0,#6b5a00)",
    "does not fit": "var(--jp-ui-font-color2,#57626f)",
}
