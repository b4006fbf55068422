"""What keeps people out of a page, as axe-core finds it."""

from pathlib import Path
from typing import Any

from playwright.sync_api import Page

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()

RUN = """
async (within) => {
  const { violations } = await axe.run(within ?? document, { resultTypes: ["violations"] });
  return violations;
}
"""


def serious(page: Page, within: str | None = None) -> list[str]:
    """The findings that are serious or critical, one line for each place: impact, rule, selector,
    and what is wrong there. `within` is a CSS selector; None looks at the whole page."""
    # Evaluated, not put in as a script: a strict Content-Security-Policy refuses that.
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    found: list[dict[str, Any]] = page.evaluate(RUN, within)
    return [
        f"{rule['impact']} {rule['id']} at {' '.join(map(str, place['target']))}:"
        f" {' '.join(place['failureSummary'].split())}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for place in rule["nodes"]
    ]
