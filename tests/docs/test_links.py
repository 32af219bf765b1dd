"""Links inside the documentation lead somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.docs.pages import ROOT, anchors, links, pages


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, fragment = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name} links to {target}: no such file"
        assert there.is_relative_to(ROOT), f"{page.name} links to {target}: outside the project"
        if fragment:
            assert fragment in anchors(there), f"{page.name} links to {target}: no such heading"


def test_every_page_of_docs_is_listed_in_its_index() -> None:
    index = ROOT / "docs" / "index.md"
    listed = {target.partition("#")[0] for target in links(index)}
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"} <= listed
