"""The documentation's pictures: `python -m tests.docs.pictures URL USER` clicks once in a running demo's playground,
and looks at the person in its console."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image
from tests.docs.pages import ROOT
from tests.support.browser import Page, chromium
from tests.support.system import wait_until

WIDTH, HEIGHT = 1180, 700
SIZE = (944, 560)
SLOWER = 0.1
"""How fast tiles move while they are photographed, which takes a tenth of a second."""
MOVING_FRAMES, FRAME_MS, HOLD_MS = 20, 70, 2600
TARGET = ROOT / "docs" / "playground.webp"
CONSOLE = ROOT / "docs" / "console.webp"
TILE = '[data-part="foryou"] .tile'


def photograph(page: Page, directory: Path, number: int) -> Image.Image:
    """What is in view now."""
    path = directory / f"{number:03}.png"
    page.screenshot(path)
    return Image.open(path).convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)


def await_rest(page: Page) -> None:
    """Until nothing moves."""
    wait_until(lambda: page.evaluate("document.getAnimations().length") == 0, "it is at rest")


def click_once(page: Page, url: str, user: str, directory: Path) -> list[Image.Image]:
    """Click on the third tile of this person: before, while the list moves, after."""
    page.open(f"{url}/play?user={user}")
    wait_until(lambda: len(page.texts(TILE)) >= 12, "a list")
    await_rest(page)
    page.send("Animation.enable")
    page.send("Animation.setPlaybackRate", playbackRate=SLOWER)
    pictures = [photograph(page, directory, 0)]
    page.click(f"{TILE}:nth-child(3) .open")
    page.await_text("#journeys", "in the list")
    pictures += [photograph(page, directory, number) for number in range(1, MOVING_FRAMES)]
    page.send("Animation.setPlaybackRate", playbackRate=1)
    await_rest(page)
    return [*pictures, photograph(page, directory, MOVING_FRAMES)]


def look_at_person(page: Page, url: str, user: str, directory: Path) -> Image.Image:
    """The console's page of a person, with their list."""
    page.open(f"{url}/console#/person/u/{user}")
    wait_until(lambda: len(page.texts(".view table .bar")) >= 10, "their list")
    return photograph(page, directory, MOVING_FRAMES + 1)


def make(url: str, user: str) -> None:
    """Make docs/playground.webp and docs/console.webp."""
    with tempfile.TemporaryDirectory() as name, chromium(Path(name)) as browser:
        directory = Path(name)
        with browser.page(WIDTH, HEIGHT) as page:
            look_at_person(page, url, user, directory).save(CONSOLE, quality=60, method=6)
        with browser.page(WIDTH, HEIGHT, moving=True) as page:
            first, *others = click_once(page, url, user, directory)
    durations = [HOLD_MS, *[FRAME_MS] * (len(others) - 1), HOLD_MS]
    first.save(TARGET, save_all=True, append_images=others, duration=durations, loop=0, quality=50, method=6)
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    make(*sys.argv[1:3])
