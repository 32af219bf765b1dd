"""axe-core on a page as it is shown: what keeps people out of it, by the rules of WCAG 2.2, A and AA."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from tests.support.browser import Page

STANDARDS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
GRAVE = ("serious", "critical")


@cache
def _axe() -> str:
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


def accessibility_faults(page: Page, *rules: str, within: str = "html") -> list[str]:
    """Serious and critical faults of what the page shows now, each with the first elements that have it; by all rules
    of the standards, or by these alone; in this part of the page."""
    chosen = {"type": "rule", "values": rules} if rules else {"type": "tag", "values": STANDARDS}
    options = {"runOnly": chosen, "resultTypes": ["violations"]}
    if not page.evaluate("Boolean(window.axe)"):
        page.evaluate(f"{_axe()}; true")  # by the protocol, which no page's policy applies to
    found = page.evaluate(f"axe.run({json.dumps(within)}, {json.dumps(options)}).then(({{violations}}) => violations)")
    return [
        f"{one['id']} ({one['help']}): " + " ".join(str(node["target"]) for node in one["nodes"][:4])
        for one in found
        if one["impact"] in GRAVE
    ]
