"""The documentation as the tests see it: its pages, their fenced blocks, headings and links."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```[ ]*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (?P<text>.+)$", re.MULTILINE)
EXPERIMENTS = "toml experiments"
KEYS = "toml keys"
"""A block of an experiments file, not of the settings."""
SKIP = re.compile(r'\bskip="(?P<reason>[^"]*)"')


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: `info` is what stands after the opening fence."""

    page: Path
    line: int
    info: str
    text: str

    @property
    def language(self) -> str:
        """The first word of the info string."""
        return self.info.split()[0] if self.info.split() else ""

    @property
    def skip(self) -> str | None:
        """Why it can't run in a test; None where it can."""
        found = SKIP.search(self.info)
        return found["reason"] if found else None

    @property
    def where(self) -> str:
        """E.g. docs/events.md:12."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True, slots=True)
class Step:
    """A shell block that runs, and the answer shown under it (None: nothing is shown)."""

    shell: Block
    answer: Block | None


def pages() -> list[Path]:
    """Return every page, the tutorial first: it starts from an empty Eddyline, and the others ask for its items."""
    owned = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "deploy/README.md", "examples/README.md")
    others = sorted(page for page in (ROOT / "docs").glob("*.md") if page != TUTORIAL)
    return [TUTORIAL, *(ROOT / name for name in owned), *others]


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return tuple(
        Block(page, text.count("\n", 0, found.start()) + 1, found["info"].strip(), dedent(found["text"]))
        for found in FENCE.finditer(text)
    )


def steps(page: Path) -> Iterator[Step]:
    """What a reader of the page types, with what the page says comes back."""
    listed = blocks(page)
    for index, block in enumerate(listed):
        if block.language == "sh" and block.skip is None:
            following = listed[index + 1] if index + 1 < len(listed) else None
            yield Step(block, following if following and following.language == "json" else None)


def links(page: Path) -> list[str]:
    """The targets of the page's links."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [found["target"] for found in LINK.finditer(text)]


@cache
def anchors(page: Path) -> frozenset[str]:
    """The fragments that a link to the page may have, as GitHub makes them from headings."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in HEADING.finditer(FENCE.sub("", page.read_text(encoding="utf-8"))):
        slug = _slug(heading["text"])
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return frozenset(found)


def _slug(heading: str) -> str:
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
