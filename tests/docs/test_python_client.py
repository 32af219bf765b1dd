"""The web application of docs/python-client.md, on a running Eddyline."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from tests.docs.pages import ROOT, blocks
from tests.docs.shell import Shell

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("docs"), pytest.mark.slow(30)]


def test_the_web_application_of_the_page_learns_from_a_view(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = (one for one in blocks(ROOT / "docs" / "python-client.md") if one.info == "python fastapi")
    monkeypatch.setenv("EDDYLINE_URL", shell.url)
    monkeypatch.delenv("EDDYLINE_API_KEY", raising=False)
    names: dict[str, Any] = {"__name__": "shop"}
    exec(compile(block.text, block.where, "exec", dont_inherit=True), names)  # as it stands on the page
    app = names["app"]

    async def visit() -> None:
        shop = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop.test")
        async with names["lifespan"](app), shop as visitor, asyncio.timeout(90):

            async def listed() -> list[dict[str, Any]]:
                """The home page's items: it has none where the list takes a busy machine more than its two seconds."""
                while True:
                    items: list[dict[str, Any]] = (await visitor.get("/?user=barbara")).json()["items"]
                    if items:
                        return items

            seen = next(item["item_id"] for item in await listed() if not item.get("repeat"))
            page = (await visitor.get(f"/products/{seen}", params={"user": "barbara"})).json()
            assert page["similar"]["items"]
            new = {seen}
            while seen in new:  # until the next list knows what was viewed
                new = {item["item_id"] for item in await listed() if not item.get("repeat")}

    asyncio.run(visit())
