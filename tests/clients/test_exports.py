"""Exports of other systems, each from a small sample to lines as they go in."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest

from eddyline.clients.sources import open_source
from eddyline.errors import InvalidInput
from eddyline.model.events import Content, Identify, Interaction, validate_event

SHOPIFY = (
    "Handle,Title,Body (HTML),Vendor,Type,Tags,Published,Option1 Name,Option1 Value,Variant SKU,"
    "Variant Inventory Tracker,Variant Inventory Qty,Variant Inventory Policy,Variant Price,Image Src,Status\n"
    'boots,Winter boots,"<p>Warm, dry</p>",Eddy,Shoes,"winter, sale",true,Size,40,B-40,shopify,0,deny,99.00,'
    "https://cdn.example/b.jpg,active\n"
    "boots,,,,,,,,41,B-41,shopify,3,deny,89.00,https://cdn.example/b2.jpg,\n"
    "hat,Hat,,Eddy,Hats,,true,Title,Default,H-1,shopify,0,deny,19.50,,active\n"
    "scarf,Scarf,,Eddy,Hats,,false,Title,Default,S-1,,,deny,dear,,draft\n"
)
MERCHANT = """<?xml version="1.0"?>
<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel><title>Shop</title>
<item><g:id>sku-1</g:id><g:title>Boots &amp; laces</g:title><g:link>https://shop.example/1</g:link>
<g:image_link>https://shop.example/1.jpg</g:image_link><g:price>99.00 EUR</g:price>
<g:sale_price>89.00 EUR</g:sale_price>
<g:availability>in_stock</g:availability><g:brand>Eddy</g:brand><g:product_type>Shoes &gt; Boots</g:product_type></item>
<item><g:id>sku-2</g:id><g:title>Hat</g:title><g:price>dear</g:price></item>
</channel></rss>"""
MERCHANT_TSV = (
    "id\ttitle\tdescription\tlink\timage link\tavailability\tprice\tbrand\n"
    "sku-1\tBoots\tWarm\thttps://shop.example/1\thttps://shop.example/1.jpg\tout of stock\t1.299,00 EUR\tEddy\n"
)


def ga4(name: str, **more: Any) -> dict[str, Any]:
    session = {"key": "ga_session_id", "value": {"string_value": None, "int_value": "17"}}
    return {
        "event_date": "20260701",
        "event_timestamp": "1782900000123456",
        "event_name": name,
        "event_params": [session],
        "user_id": None,
        "user_pseudo_id": "1.2",
        "items": [{"item_id": "sku-1", "item_name": "Boots", "price": 89.0}, {"item_id": "(not set)"}],
        **more,
    }


def track(event: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "track",
        "event": event,
        "messageId": "m-1",
        "anonymousId": "anon",
        "userId": None,
        "timestamp": "2026-07-01T00:00:00.000Z",
        "properties": properties,
    }


def lines(file: Path, *values: object) -> Path:
    file.write_bytes(b"".join(orjson.dumps(value) + b"\n" for value in values))
    return file


def test_shopifys_products_are_folded_from_their_variants(tmp_path: Path) -> None:
    (tmp_path / "products.csv").write_text(SHOPIFY)
    source = open_source(tmp_path / "products.csv")
    boots, hat = [line.value for line in source.items()]
    assert boots == {
        "item_id": "boots",
        "title": "Winter boots",
        "description": "<p>Warm, dry</p>",
        "category": "Shoes",
        "tags": ["winter", "sale"],
        "image_url": "https://cdn.example/b.jpg",
        "price": 89.0,
        "available": True,
        "attributes": {"brand": "Eddy"},
    }
    assert (hat["price"], hat["available"]) == (19.5, False)
    [refused] = source.refused()
    assert str(refused) == "products.csv:5: price: 'dear' is not a number"
    assert validate_event(Content, boots)


@pytest.mark.parametrize(
    ("name", "text"), [("feed.xml", MERCHANT), ("feed.txt", MERCHANT_TSV), ("feed.tsv", MERCHANT_TSV)]
)
def test_google_merchants_products(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    source = open_source(tmp_path / name)
    [item] = [line.value for line in source.items()]
    assert (item["item_id"], item["image_url"]) == ("sku-1", "https://shop.example/1.jpg")
    assert item["attributes"]["brand"] == "Eddy"
    if name == "feed.xml":
        assert (item["title"], item["price"], item["available"]) == ("Boots & laces", 89.0, True)
        assert (item["category"], item["tags"]) == ("Shoes", ["Boots"])
        assert [one.field for one in source.refused()] == ["price"]
    else:
        assert (item["price"], item["available"]) == (1299.0, False)
    assert validate_event(Content, item)


def test_a_document_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "feed.xml").write_text(MERCHANT[: MERCHANT.index("<item><g:id>sku-2") + 20])
    assert [line.value["item_id"] for line in open_source(tmp_path / "feed.xml").items()] == ["sku-1"]


def test_ga4s_export_to_bigquery(tmp_path: Path) -> None:
    file = lines(
        tmp_path / "events.json",
        ga4("view_item"),
        ga4("page_view", items=[]),
        ga4("purchase", ecommerce={"transaction_id": "o-7"}, user_id="ada"),
    )
    viewed, bought = [line.value for line in open_source(file).events()]
    assert viewed == {
        "type": "view",
        "anonymous_id": "1.2",
        "session_id": "1.2.17",
        "timestamp": 1782900000.123456,
        "item_id": "sku-1",
        "value": 89.0,
        "event_id": "ga4:1.2:1782900000123456:view_item:sku-1",
    }
    assert (bought["type"], bought["user_id"], bought["event_id"]) == ("purchase", "ada", "o-7:sku-1")
    assert validate_event(Interaction, viewed)


def test_archives_of_segment_and_rudderstack(tmp_path: Path) -> None:
    file = lines(
        tmp_path / "archive.jsonl",
        track("Product Viewed", product_id=17, price="9.50"),
        track("Order Completed", order_id="o-7", products=[{"product_id": "a", "price": 3}, {"sku": "b"}]),
        track("Checkout Started", products=[{"product_id": "a"}]),
        {**track(""), "type": "identify", "userId": "ada"},
        {"type": "alias", "messageId": "m-2", "previousId": "anon-2", "userId": "ada"},
        {"type": "page", "messageId": "m-3", "anonymousId": "anon"},
    )
    packed = tmp_path / "archive.json.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    events = [line.value for line in open_source(packed).events()]
    assert events == [line.value for line in open_source(file).events()]
    seen, first, second, known, alias = events
    assert (seen["type"], seen["item_id"], seen["value"], seen["event_id"]) == ("view", "17", 9.5, "m-1:17")
    assert [(one["type"], one["item_id"], one["event_id"]) for one in (first, second)] == [
        ("purchase", "a", "o-7:a"),
        ("purchase", "b", "o-7:b:1"),
    ]
    assert (known["type"], known["user_id"], known["anonymous_id"]) == ("identify", "ada", "anon")
    assert alias["anonymous_id"] == "anon-2"
    assert validate_event(Interaction, first)
    assert validate_event(Identify, known)


def test_a_format_can_be_named_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    file = lines(
        tmp_path / "x.jsonl", {"type": "track", "event": "Product Viewed", "properties": {"sku": "a"}, "userId": "u"}
    )
    assert [line.value["type"] for line in open_source(file, form="segment").events()] == ["view"]
    assert [line.value["type"] for line in open_source(file).events()] == ["track"], "not enough to recognise it"
    with pytest.raises(InvalidInput, match="there is no format 'magento': take auto, own, shopify"):
        open_source(file, form="magento")


def test_notes_beside_the_files_of_a_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Ask Ada.\n")
    lines(tmp_path / "items.jsonl", {"item_id": "a", "title": "A"})
    source = open_source(tmp_path)
    assert [line.value["item_id"] for line in source.items()] == ["a"]
    assert list(source.refused()) == []
