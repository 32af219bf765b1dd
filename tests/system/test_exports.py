"""Exports of other systems, from samples to lists by one command, from outside."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import orjson
import pytest
from tests.support.system import Eddyline, eddyline, run, wait_until

pytestmark = [pytest.mark.system, pytest.mark.slow(60)]

SHOPIFY = (
    "Handle,Title,Body (HTML),Vendor,Type,Tags,Published,Variant SKU,Variant Price,Image Src,Status\n"
    'boots,Winter boots,"<p>Warm, dry</p>",Eddy,Shoes,"winter, sale",true,B-40,99.00,,active\n'
    "boots,,,,,,,B-41,89.00,,\n"
)
MERCHANT_XML = """<?xml version="1.0"?>
<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel><title>Shop</title>
<item><g:id>lamp</g:id><g:title>A lamp &amp; its tent</g:title><g:link>https://shop.example/1</g:link>
<g:price>19.50 EUR</g:price><g:availability>in_stock</g:availability></item></channel></rss>"""
MERCHANT_TSV = (
    "id\ttitle\tdescription\tlink\timage link\tavailability\tprice\n"
    "mug\tA mug\tHolds tea\thttps://shop.example/2\thttps://shop.example/2.jpg\tin stock\t1.299,00 EUR\n"
)


def bigquery(item_id: str) -> str:
    return orjson.dumps(
        {
            "event_timestamp": str(int(time.time() * 1e6)),
            "event_name": "add_to_cart",
            "user_pseudo_id": "1.2",
            "items": [{"item_id": item_id, "price": 89.0}],
        }
    ).decode()


def segment(item_id: str) -> str:
    message = {"type": "track", "event": "Product Added", "messageId": "m-1", "anonymousId": "anon"}
    return orjson.dumps({**message, "properties": {"product_id": item_id}}).decode()


def is_listed(it: Eddyline, path: str, item_id: str) -> bool:
    return any(one["item_id"] == item_id for one in it.client.get(path).json()["items"])


def test_exports_in_a_folder_go_from_samples_to_lists_by_one_command(lean: dict[str, str], tmp_path: Path) -> None:
    files = {
        "products_export.csv": (SHOPIFY, "/v1/latest", "boots"),
        "merchant.xml": (MERCHANT_XML, "/v1/latest", "lamp"),
        "merchant.tsv": (MERCHANT_TSV, "/v1/latest", "mug"),
        "bigquery.json": (bigquery("lamp"), "/v1/trending", "lamp"),
        "archive.jsonl": (segment("mug"), "/v1/trending", "mug"),
    }
    exports = tmp_path / "exports"
    exports.mkdir()
    for name, (text, _, _) in files.items():
        (exports / name).write_text(text)
    with eddyline("up", "--data-dir", str(tmp_path / "data"), log=tmp_path / "log", env=lean) as it:
        it.await_ready()
        imported = run("import", str(exports), "--url", it.url, "--state", str(tmp_path / "state"))
        assert imported.returncode == 0, imported.stderr
        for name, (_, path, item_id) in files.items():
            wait_until(partial(is_listed, it, path, item_id), f"what {name} says is in a list")
        assert not is_listed(it, "/v1/trending", "boots"), "which nobody has chosen"
