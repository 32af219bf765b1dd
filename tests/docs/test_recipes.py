"""The recipes of docs/sources.md, each with a sample of what the other system sends."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from tests.docs.pages import ROOT, blocks
from tests.support.fakes import NOW, FakeProducer, FakeStore, TinyEncoder, record

from eddyline.adapters.telemetry import Metrics
from eddyline.embedder.handler import Embedder
from eddyline.errors import InvalidEvent
from eddyline.feeds.entry import to_item
from eddyline.feeds.formats import parse_feed
from eddyline.model.events import Content, Interaction, validate_event
from eddyline.model.trackers import ga4_messages, our_events, segment_messages, webhook_messages
from eddyline.settings import EventSettings, FeedSettings, Settings

PAGE = ROOT / "docs" / "sources.md"
ORDER = {
    "id": 820982911946154508,
    "email": "ada@example.org",
    "created_at": "2026-07-01T10:00:00-04:00",
    "currency": "EUR",
    "customer": {"id": 115310627314723954, "email": "ada@example.org"},
    "line_items": [
        {"id": 1, "product_id": 632910392, "variant_id": 808950810, "title": "Boots", "price": "89.00", "quantity": 1},
        {"id": 2, "product_id": None, "title": "A tip", "price": "2.00"},
        {"id": 3, "product_id": 921728736, "title": "Hat", "price": "19.50"},
    ],
}
PRODUCTS = {
    "products": [
        {
            "id": 632910392,
            "title": "Boots",
            "handle": "boots",
            "body_html": "<p>Warm.</p>",
            "vendor": "Eddy",
            "product_type": "Shoes",
            "tags": "winter, sale",
            "variants": [{"price": "99.00", "available": False}, {"price": "89.00", "available": True}],
            "images": [],
        }
    ]
}
WORDPRESS = """<?xml version="1.0" encoding="UTF-8"?><rss version="2.0"
xmlns:content="http://purl.org/rss/1.0/modules/content/" xmlns:dc="http://purl.org/dc/elements/1.1/">
<channel><title>Blog</title><link>https://blog.example</link><generator>https://wordpress.org/?v=6.8</generator>
<item><title>Slow rye &#8211; again</title><link>https://blog.example/slow-rye/</link>
<dc:creator><![CDATA[Ada]]></dc:creator><pubDate>Wed, 01 Jul 2026 08:00:00 +0000</pubDate>
<category><![CDATA[Bread]]></category><guid isPermaLink="false">https://blog.example/?p=17</guid>
<description><![CDATA[<p>It takes a day. [&#8230;]</p>]]></description>
<content:encoded><![CDATA[<!-- wp:paragraph --><p>It takes a day.</p><!-- /wp:paragraph -->
<figure class="wp-block-image"><img src="https://blog.example/rye.jpg" alt=""/></figure>]]></content:encoded></item>
</channel></rss>"""
DEBEZIUM = {
    "schema": {"type": "struct", "fields": [{"type": "string", "optional": False, "field": "item_id"}]},
    "payload": {"item_id": "17", "title": "Boots", "description": None, "price": 89.0},
}


def settings_of(name: str) -> Settings:
    """The settings that a recipe shows."""
    found = [one for one in blocks(PAGE) if one.language == "toml" and f'"{name}"' in one.text]
    return Settings(**tomllib.loads(found[-1].text))


def items(feed: FeedSettings, body: bytes, content_type: str) -> list[Content]:
    parsed = parse_feed(body, {"content-type": content_type}, feed.url, feed.format, 100, 100_000)
    return [to_item(entry, feed, parsed.kind, feed.url, NOW) for entry in parsed.entries]


def test_shopify() -> None:
    settings = settings_of("shop")
    [sent] = webhook_messages(ORDER, "shopify-order")
    bought = [validate_event(Interaction, event) for event in our_events(sent, settings.events)]
    assert [(one.type, one.item_id, one.value) for one in bought] == [
        ("purchase", "632910392", 89.0),
        ("purchase", "921728736", 19.5),
    ]
    assert {one.user_id for one in bought} == {"115310627314723954"}
    [again] = webhook_messages(ORDER, "shopify-order")
    assert our_events(again, settings.events) == our_events(sent, settings.events), "Shopify sends again what it doubts"
    [boots] = items(settings.feed[0], orjson.dumps(PRODUCTS), "application/json")
    assert (boots.item_id, boots.price, boots.available) == ("632910392", 89.0, True), "by the ids of the orders"


def test_wordpress() -> None:
    [rye] = items(settings_of("blog").feed[0], WORDPRESS.encode(), "application/rss+xml")
    assert (rye.item_id, rye.title, rye.category) == ("https://blog.example/?p=17", "Slow rye – again", "Bread")
    assert (rye.image_url, rye.attributes) == ("https://blog.example/rye.jpg", {"author": "Ada"})


@pytest.mark.parametrize("body", [DEBEZIUM, DEBEZIUM["payload"]], ids=["with its schema", "without"])
def test_debezium(body: Mapping[str, Any]) -> None:
    embedder = Embedder(FakeStore(), TinyEncoder(), FakeProducer(), Metrics())
    embedder.parse(record("content", b"17", orjson.dumps(body)))
    embedder.parse(record("content", b"17", None))
    for key in (b'{"id":17}', b"18"):
        with pytest.raises(InvalidEvent):
            embedder.parse(record("content", key, orjson.dumps(body)))


def test_a_destination_of_segment_and_of_rudderstack() -> None:
    segment = {
        "anonymousId": "507f191e810c19729de860ea",
        "channel": "browser",
        "context": {"library": {"name": "analytics.js"}},
        "event": "Product Added",
        "messageId": "ajs-next-1",
        "properties": {"product_id": "rye", "price": 4.5, "quantity": 1},
        "receivedAt": "2026-07-01T08:00:01.000Z",
        "sentAt": "2026-07-01T08:00:00.500Z",
        "timestamp": "2026-07-01T08:00:00.400Z",
        "type": "track",
        "userId": None,
    }
    rudder = {
        **segment,
        "originalTimestamp": "2026-07-01T10:00:00.000+02:00",
        "rudderId": "r-1",
        "event": "Product List Viewed",
        "properties": {"list_id": "home", "products": [{"product_id": "rye", "position": 1}]},
    }
    added, seen = (our_events(one, EventSettings()) for one in segment_messages([segment, rudder], None, NOW))
    assert (added[0]["type"], added[0]["event_id"], added[0]["timestamp"]) == (
        "cart",
        "ajs-next-1:rye",
        "2026-07-01T08:00:00.400Z",
    )
    assert (seen[0]["type"], seen[0]["items"]) == ("impression", [{"item_id": "rye", "rank": 1}])


def test_a_tag_of_tag_managers_server_container() -> None:
    event = {
        "client_id": "366009224.1700",
        "event_name": "purchase",
        "ga_session_id": "1782900000",
        "page_location": "https://shop.example/thanks",
        "user_agent": "Mozilla/5.0",
        "x-ga-measurement_id": "G-1",
        "transaction_id": "T-9",
        "currency": "EUR",
        "value": 24,
        "items": [{"item_id": "rye", "item_name": "Rye", "price": 4.5, "quantity": 2, "index": 1}],
    }
    [bought] = our_events(ga4_messages(event, NOW)[0], EventSettings())
    assert (bought["type"], bought["item_id"], bought["event_id"]) == ("purchase", "rye", "T-9:rye")
    assert (bought["anonymous_id"], bought["session_id"]) == ("366009224.1700", "366009224.1700.1782900000")
