"""Every page as it looks, to be looked at: `python -m tests.docs.screenshots URL FOLDER USER ITEM` visits a running
Eddyline, in the light and the dark, wide and narrow, and says what axe-core finds. The repository doesn't keep them."""

from __future__ import annotations

import sys
import tempfile
from itertools import product
from pathlib import Path

from tests.support.accessibility import accessibility_faults
from tests.support.browser import Page, chromium
from tests.support.system import wait_until

SIZES = {"wide": (1280, 900), "narrow": (390, 844)}
TALLEST = 4000


def addresses(user: str, item: str) -> dict[str, str]:
    """Each page's name and path."""
    console = ("overview", "live", f"person/u/{user}", f"item/{item}", f"lists/u/{user}", "experiments", "quality")
    paths = {"home": "/", "play": f"/play?user={user}"}
    for path in (*console, "dead-letters", "catalogue"):
        paths[path.split("/")[0]] = f"/console#/{path}"
    return paths


def await_rest(page: Page) -> None:
    """Until half a second has changed nothing of what is shown."""
    still = """new Promise((resolve) => {
      const watch = new MutationObserver(() => { clearTimeout(timer); timer = setTimeout(resolve, 500); });
      let timer = setTimeout(resolve, 500);
      watch.observe(document.body, { subtree: true, childList: true });
      setTimeout(resolve, 4000);
    })"""
    page.evaluate(still)
    wait_until(lambda: page.evaluate("document.getAnimations().length") == 0, "it is at rest")


def look(page: Page, url: str, file: Path, width: int, height: int) -> list[str]:
    """Make a picture of the whole page; what is wrong with it."""
    page.open("about:blank")
    page.open(url)
    await_rest(page)
    faults = [*accessibility_faults(page), *page.errors]
    if page.evaluate("document.documentElement.scrollWidth") > width:
        faults.append("it is wider than the window")
    page.errors.clear()
    tall = min(TALLEST, page.evaluate("document.documentElement.scrollHeight"))
    page.resize(width, max(height, tall))
    page.screenshot(file)
    page.resize(width, height)
    return faults


def make(url: str, folder: str, user: str, item: str) -> None:
    """Make a picture of each page, scheme and size."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, chromium(Path(name)) as browser:
        for (size, (width, height)), scheme in product(SIZES.items(), ("light", "dark")):
            with browser.page(width, height, dark=scheme == "dark") as page:
                for title, path in addresses(user, item).items():
                    for fault in look(page, f"{url}{path}", target / f"{title}-{size}-{scheme}.png", width, height):
                        print(title, size, scheme, fault)


if __name__ == "__main__":
    make(*sys.argv[1:5])
