"""Events of other systems, over HTTP: one table of names, one event a product, and nothing twice."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest
from pydantic import ValidationError
from tests.services.serving import served
from tests.support.fakes import NOW, Clock, FakeProducer

from eddyline.adapters.telemetry import Metrics
from eddyline.collector.api import Collector
from eddyline.model.events import format_timestamp
from eddyline.settings import EVENT_MAPPINGS, EventSettings, ServerSettings

SETTINGS = EventSettings.model_validate(
    {
        "mappings": {
            "shop-order": {
                "type": "purchase",
                "products": "line_items",
                "event_id": "id",
                "user_id": "customer.id",
                "timestamp": "created_at",
            },
            "Recipe Cooked": {"type": "like", "item_id": ["recipe.id", "recipe.slug"]},
            "product_viewed": {"item_id": "variant"},
            "page": {"type": "view", "item_id": "article"},
        }
    }
)
VIEWED = {
    "type": "track",
    "event": "Article Viewed",
    "messageId": "m-1",
    "anonymousId": "anon",
    "properties": {"article_id": "i1"},
}
MICROS = int(NOW * 1e6)
SEGMENT, GA4 = "/v1/track/segment", "/v1/track/ga4"


class Place:
    """A running collector, and what it wrote."""

    def __init__(self, client: httpx.Client, producer: FakeProducer) -> None:
        self.client, self.producer = client, producer

    def post(self, body: Any, path: str, **headers: str) -> dict[str, Any]:
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        answer = self.client.post(
            path, content=content, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        return {"status": answer.status_code, **answer.json()}

    def events(self) -> list[Any]:
        return self.producer.values("interactions")


@pytest.fixture(scope="module")
def _running() -> Iterator[tuple[httpx.Client, FakeProducer]]:
    producer = FakeProducer()
    collector = Collector(producer, SETTINGS, ServerSettings(max_batch=100), Metrics(), Clock())
    with served(collector.router()) as client:
        yield client, producer


@pytest.fixture
def it(_running: tuple[httpx.Client, FakeProducer]) -> Iterator[Place]:
    yield Place(*_running)
    _running[1].sent.clear()


# -- Segment, RudderStack ----------------------------------------------------------------------------------------------


def test_segments_messages_become_events_and_what_has_no_meaning_is_counted_by_name(it: Place) -> None:
    order = {"order_id": "o-7", "products": [{"product_id": "a", "price": 3}, {"product_id": "b"}]}
    batch = [
        VIEWED,
        {**VIEWED, "event": "Order Completed", "userId": "ada", "properties": order},
        {**VIEWED, "type": "identify", "userId": "ada", "messageId": "m-2"},
        {**VIEWED, "event": "Cart Viewed"},
        {"type": "screen", "anonymousId": "anon"},
        {"type": "screen", "anonymousId": "anon"},
        "no message",
    ]
    answer = it.post({"batch": batch, "writeKey": "k"}, SEGMENT)
    assert (answer["accepted"], answer["rejected"]) == (4, [])
    assert answer["ids"] == ["m-1:i1", "o-7:a", "o-7:b:1", "m-2"]
    assert answer["ignored"] == {"Cart Viewed": 1, "screen": 2, "(not an object)": 1}
    again = it.post({"batch": batch}, f"{SEGMENT}/v1/batch")
    assert again["ids"] == answer["ids"], "a resend counts once"
    assert [one["type"] for one in it.events()[:4]] == ["view", "purchase", "purchase", "identify"]


def test_segments_calls_by_their_paths(it: Place) -> None:
    bare = {name: value for name, value in VIEWED.items() if name != "type"}
    assert it.post(bare, f"{SEGMENT}/v1/track")["accepted"] == 1
    answer = it.post({"anonymousId": "a"}, f"{SEGMENT}/v1/page")
    assert (answer["accepted"], answer["ids"], answer["ignored"]) == (0, [], {"page": 1})
    assert it.post([VIEWED, VIEWED], SEGMENT)["accepted"] == 2, "as webhooks of theirs send them"
    for body, path, field in (
        (bare, f"{SEGMENT}/v1/delete", "call"),
        (bare, f"{SEGMENT}/v1/batch", "batch"),
        ("bare", SEGMENT, "body"),
        ({"batch": 3}, SEGMENT, "batch"),
    ):
        answer = it.post(body, path)
        assert (answer["status"], answer["field"]) == (422, field)


def test_a_devices_wrong_clock_is_corrected_by_when_it_sent(it: Place) -> None:
    skewed = {**VIEWED, "timestamp": "2031-01-01T00:00:00Z", "sentAt": "2031-01-01T00:01:00Z"}
    assert it.post(skewed, SEGMENT)["accepted"] == 1
    assert it.events()[0]["timestamp"] == format_timestamp(NOW - 60)


# -- Google Analytics 4 ------------------------------------------------------------------------------------------------


def test_the_measurement_protocol(it: Place) -> None:
    tent, stove = {"item_id": "tent", "price": 99.5, "index": 0}, {"item_id": "stove", "price": "19", "index": 4}
    events = [
        {"name": "view_item", "params": {"items": [tent], "session_id": "17"}},
        {"name": "select_item", "params": {"items": [stove], "item_list_id": "home", "request_id": "r-1"}},
        {"name": "add_to_cart", "params": {"items": [tent]}},
        {"name": "add_to_cart", "params": {"items": [tent]}},
        {"name": "purchase", "params": {"transaction_id": "T-9", "items": [tent, stove]}},
        {"name": "select_content", "params": {"content_id": "guide", "content_type": "article"}},
        {"name": "login", "params": {"method": "mail"}},
        {"name": "search", "params": {"search_term": "tents"}},
        {"name": "scroll", "params": {}},
        {"name": "view_item", "params": {"items": [{"item_id": "(not set)"}]}},
    ]
    body = {"client_id": "1.2", "user_id": "ada", "timestamp_micros": str(MICROS - 5_000_000), "events": events}
    answer = it.post(body, GA4)
    assert answer["rejected"] == []
    assert answer["ignored"] == {"search": 1, "scroll": 1, "view_item": 1}
    at = f"ga4:1.2:{MICROS - 5_000_000}"
    assert answer["ids"] == [
        f"{at}:view_item:tent",
        f"{at}:select_item:stove",
        f"{at}:add_to_cart:tent",
        f"{at}:add_to_cart:1:tent",
        "T-9:tent",
        "T-9:stove:1",
        f"{at}:select_content:guide",
        f"{at}:login",
    ]
    viewed, clicked, *_, content, known = it.events()
    assert (viewed["type"], viewed["value"], viewed["session_id"]) == ("view", 99.5, "1.2.17")
    assert viewed["timestamp"] == format_timestamp(NOW - 5)
    assert (clicked["type"], clicked["value"], clicked["request_id"]) == ("click", 19.0, "r-1")
    assert (content["type"], content["item_id"]) == ("click", "guide")
    assert (known["type"], known["anonymous_id"], known["user_id"]) == ("identify", "1.2", "ada")
    assert it.post(body, GA4)["ids"] == answer["ids"], "a resend counts once"


def test_events_of_tag_manager_in_both_shapes(it: Place) -> None:
    server = {"event_name": "add_to_wishlist", "client_id": "1.2", "ga_session_id": 5, "items": [{"item_id": "tent"}]}
    layer = {"event": "purchase", "client_id": "1.2", "ecommerce": {"transaction_id": "T", "items": [{"item_id": 7}]}}
    answer = it.post([server, layer, 3], GA4)
    assert (answer["accepted"], answer["ignored"]) == (2, {"(not an object)": 1})
    saved, bought = it.events()
    assert (saved["type"], saved["session_id"], saved["timestamp"]) == ("save", "1.2.5", format_timestamp(NOW))
    assert (bought["type"], bought["item_id"], bought["event_id"]) == ("purchase", "7", "T:7")
    first, other = (it.post(server, GA4, Idempotency_Key=key)["ids"] for key in ("k", "k"))
    assert first == other, "what has no time of its own counts once under an Idempotency-Key"
    assert it.post({**server, "event_id": "e-1"}, GA4)["ids"] == ["e-1:tent"]


def test_lists_that_were_seen_are_impressions_with_their_positions(it: Place) -> None:
    listed = {"item_list_id": "home", "items": [{"item_id": "a", "index": 0}, {"item_id": "b", "index": 2}]}
    event = {"name": "view_item_list", "params": listed}
    [made] = it.post({"client_id": "1.2", "timestamp_micros": MICROS, "events": [event]}, GA4)["ids"]
    products = [{"product_id": "a", "position": 3}, {"product_id": "b"}]
    message = {**VIEWED, "event": "Product List Viewed", "properties": {"list_id": "shoes", "products": products}}
    assert it.post(message, SEGMENT)["accepted"] == 1
    ours = {"request_id": "r-1", "items": [{"item_id": "b", "index": 2}, {"item_id": "a", "index": 1}]}
    assert it.post({"client_id": "1.2", "event_name": "view_item_list", **ours}, GA4)["accepted"] == 1
    found = {"client_id": "1.2", "event_name": "view_search_results", "items": [{"item_id": "a"}]}
    assert it.post(found, GA4)["accepted"] == 1
    home, shoes, own, search = it.producer.values("impressions")
    assert home["items"] == [{"item_id": "a", "rank": 1}, {"item_id": "b", "rank": 3}]
    assert (home["surface"], home["request_id"]) == ("home", made)
    assert [one["rank"] for one in shoes["items"]] == [1, 2], "where not all have one, their order"
    assert (own["request_id"], own["positions"]) == ("r-1", [1, 2]), "of a list of our own"
    assert "items" not in own
    assert search["surface"] == "view_search_results"


@pytest.mark.parametrize(
    ("body", "field"), [("x", "body"), ({"events": 3}, "events"), ({"events": [{}] * 1001}, "events")]
)
def test_what_is_no_body_of_analytics_is_refused(it: Place, body: Any, field: str) -> None:
    answer = it.post(body, GA4)
    assert (answer["status"], answer["field"]) == (422, field)


def test_an_event_of_nobody_is_refused_by_its_place(it: Place) -> None:
    answer = it.post(
        {"events": [{"name": "view_item", "params": {"items": [{"item_id": "a"}, {"item_id": "b"}]}}]}, GA4
    )
    assert (answer["status"], [one["index"] for one in answer["rejected"]]) == (422, [0, 1])
    assert answer["rejected"][0]["field"] == "user_id"


# -- CloudEvents -------------------------------------------------------------------------------------------------------

CLICK = {"type": "click", "item_id": "a", "user_id": "ada"}
STRUCTURED = {"content_type": "application/cloudevents+json; charset=utf-8"}
BATCH = {"content_type": "application/cloudevents-batch+json"}


def envelope(data: Any, kind: str = "io.shop.clicked", number: int = 7) -> dict[str, Any]:
    at = format_timestamp(NOW - 9)
    return {"specversion": "1.0", "type": kind, "source": "/shop", "id": f"{number}", "time": at, "data": data}


def test_cloudevents_in_each_mode_are_one_event(it: Place) -> None:
    structured = it.post(envelope(CLICK), "/v1/events", **STRUCTURED)
    batch = it.post([envelope(CLICK)], "/v1/events", **BATCH)
    attributes = {f"ce_{name}": value for name, value in envelope(CLICK).items() if name != "data"}
    binary = it.post(CLICK, "/v1/events", content_type="application/json", **attributes)
    assert structured["ids"] == batch["ids"] == binary["ids"] == ["/shop#7"], "by which a resend counts once"
    made = {"v": 1, **CLICK, "event_id": "/shop#7", "timestamp": format_timestamp(NOW - 9), "context": {}}
    assert it.events() == [made] * 3
    packed = {**envelope(None), "data_base64": b64encode(orjson.dumps({**CLICK, "event_id": "own"})).decode()}
    assert it.post(packed, "/v1/events", **STRUCTURED)["ids"] == ["own"]


def test_a_batch_of_cloudevents_loses_only_what_is_wrong(it: Place) -> None:
    bad = {**envelope(CLICK), "id": None}
    members = [envelope(CLICK), bad, envelope([1]), 3, {**envelope(CLICK), "specversion": "0.3"}]
    cut = orjson.dumps(members)[:-1] + b',{"data": "\\ud83d"}]'
    answer = it.post(cut, "/v1/events", **BATCH)
    assert answer["accepted"] == 1
    refused = [(one["index"], one["field"]) for one in answer["rejected"]]
    assert refused == [(1, "id"), (2, "data"), (3, None), (4, "specversion"), (5, "data")]
    assert it.post(b"{}", "/v1/events", **BATCH)["status"] == 422
    assert it.post([], "/v1/events", **BATCH)["status"] == 422


def test_cloudevents_of_others_are_mapped_by_their_type_and_data(it: Place) -> None:
    members = [
        envelope({"user_id": "ada", "recipe": {"slug": "rye"}}, "recipe_cooked"),
        envelope({"anonymous_id": "anon", "item_id": "rye", "value": 4.5}, "rating", 8),
        envelope({"user_id": "ada"}, "recipe cooked", 9),
        envelope({"user_id": "ada"}, "io.shop.closed", 10),
    ]
    answer = it.post(members, "/v1/events", **BATCH)
    assert answer["ids"] == ["/shop#7:rye", "/shop#8:rye"]
    assert answer["ignored"] == {"recipe cooked": 1, "io.shop.closed": 1}
    liked, rated = it.events()
    assert (liked["type"], liked["user_id"], liked["timestamp"]) == ("like", "ada", format_timestamp(NOW - 9))
    assert (rated["type"], rated["anonymous_id"], rated["value"]) == ("rating", "anon", 4.5)


# -- webhooks, and the settings ----------------------------------------------------------------------------------------


def test_a_webhook_is_read_as_the_settings_say(it: Place) -> None:
    order = {
        "id": 820982911946154508,
        "created_at": "2026-07-01T10:00:00-04:00",
        "customer": {"id": 115310627314723954},
        "line_items": [{"product_id": 632910392, "price": "199.00"}, {"product_id": None, "title": "A gift card"}],
    }
    answer = it.post(order, "/v1/track/webhook/shop-order")
    assert answer["ids"] == ["820982911946154508:632910392"]
    [bought] = it.events()
    assert (bought["type"], bought["user_id"], bought["value"]) == ("purchase", "115310627314723954", 199.0)
    assert bought["timestamp"] == "2026-07-01T14:00:00Z"
    assert it.post([order], "/v1/track/webhook/shop%20refund")["ignored"] == {"shop refund": 1}
    assert it.post("x", "/v1/track/webhook/shop-order")["field"] == "body"


def test_the_table_is_extended_and_changed_by_the_settings(it: Place) -> None:
    message = {**VIEWED, "event": "Product Viewed", "properties": {"product_id": "p", "variant": "v"}}
    page = {**VIEWED, "type": "page", "properties": {"article": "slow-bread"}}
    assert it.post([message, page], SEGMENT)["ids"] == ["m-1:v", "m-1:slow-bread"]
    assert [one["type"] for one in it.events()] == ["view", "view"]
    assert SETTINGS.mappings["product viewed"].type == "view", "what isn't said stays"
    assert EVENT_MAPPINGS.keys() < SETTINGS.mappings.keys()


@pytest.mark.parametrize(
    ("mappings", "reason"),
    [
        ({"Cooked": {"type": "cooked"}}, "'cooked' becomes 'cooked', which is no type: take identify"),
        ({"Cooked": {"type": "erased"}}, "which is no type"),
        ({"Cooked": {"item_id": "x"}}, "type"),
        ({"Cooked": {"type": "like", "item": "x"}}, "item"),
        ({"Cooked": {"type": "like", "item_id": "a..b"}}, "item_id"),
        ({"Cooked": {"type": "like", "item_id": [""]}}, "item_id"),
        ({" _": {"type": "like"}}, "an event needs a name"),
        (3, "mappings"),
    ],
)
def test_a_wrong_mapping_is_refused_by_name(mappings: Any, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        EventSettings.model_validate({"mappings": mappings})


def test_every_mapping_has_a_type_that_there_is() -> None:
    types = {mapping.type for mapping in EVENT_MAPPINGS.values()}
    assert types <= EventSettings().weights.keys() | {"identify"}
